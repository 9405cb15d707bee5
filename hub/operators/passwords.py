"""Passwords, kept as Argon2id hashes (RFC 9106).

Invariants:
1. Hashing happens off the event loop, at most `AT_ONCE` at a time: a flood of sign-ins takes that many times 64 MiB and no
   more, and beyond `MAX_WAITING` it is refused.
2. An account that does not exist costs as much time as a wrong password.

The parameters are RFC 9106's second recommended option: 3 passes, 64 MiB, 4 lanes; 16 bytes of salt, 32 of hash. A hash made
with others is made anew when its owner signs in.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from functools import cached_property, partial
from typing import Final, TypeVar

import anyio
import anyio.to_thread
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.profiles import RFC_9106_LOW_MEMORY

from models.errors import LinkError, TocsinError

AT_ONCE: Final = 2
MAX_WAITING: Final = 16
MIN_CHARACTERS: Final = 12
MAX_CHARACTERS: Final = 256
_T = TypeVar("_T")


class BadPassword(TocsinError):
    """A password that must not be one."""


class SignInBusy(LinkError):
    """Too many passwords wait to be checked."""


class Passwords:
    """Makes and checks hashes. `hasher` is for tests, which have no time for 64 MiB."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)
        self._limiter: anyio.CapacityLimiter | None = None
        self._under_way = 0

    @cached_property
    def _nobody(self) -> str:
        return self._hasher.hash("a password that nobody has")

    def hash(self, name: str, password: str) -> str:
        """In PHC string format. Raises BadPassword: too short, too long, or the account's own name."""
        text = _normalized(password)
        if not MIN_CHARACTERS <= len(text) <= MAX_CHARACTERS:
            raise BadPassword(f"a password has {MIN_CHARACTERS} to {MAX_CHARACTERS} characters; this one has {len(text)}")
        if text.casefold() == name.casefold():
            raise BadPassword("a password must not be the account's own name")
        return self._hasher.hash(text)

    def matches(self, hashed: str | None, password: str) -> bool:
        """Whether it is the password behind `hashed`; None = no such account, which takes as long and never matches."""
        if len(password) > MAX_CHARACTERS * 4:
            return False
        try:
            self._hasher.verify(hashed or self._nobody, _normalized(password))
        except (VerificationError, InvalidHashError):
            return False
        return hashed is not None

    def outdated(self, hashed: str) -> bool:
        """Whether it was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(hashed)

    async def apart(self, work: Callable[..., _T], *arguments: object) -> _T:
        """`work`, which hashes, in a thread. Raises SignInBusy."""
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(AT_ONCE)  # belongs to the loop it is made on
        if self._under_way >= AT_ONCE + MAX_WAITING:
            raise SignInBusy("too many sign-ins at once", retry_after_s=2.0)
        self._under_way += 1
        try:
            return await anyio.to_thread.run_sync(partial(work, *arguments), limiter=self._limiter)
        finally:
            self._under_way -= 1


def _normalized(password: str) -> str:
    """The same characters, however the keyboard composed them."""
    return unicodedata.normalize("NFKC", password)
