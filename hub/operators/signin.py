"""Signing in and out: by name and password, or with the hub's admin token.

Invariants:
1. A refusal says the same, and takes as long, whether the name or the password was wrong.
2. An attempt beyond the pace (`throttle.py`) costs neither hashing nor a write.
3. Each sign-in begins a session under a new id and ends the one that the browser came with.
4. Failed attempts are in the audit log, at most `FAILURES` of them; how many more there were is told by the next entry. A name
   without an account is not written down: it may be a password in the wrong field.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Engine, update
from starlette.concurrency import run_in_threadpool

from hub.audit.log import record
from hub.operators.accounts import find_user
from hub.operators.passwords import Passwords
from hub.operators.rights import Principal
from hub.operators.sessions import ADMIN_ACTOR, Sessions
from hub.operators.throttle import Buckets, Pace, Throttle
from hub.state.database import reading
from hub.state.schema import users

FAILURES: Final = Pace(burst=20, refill_s=60.0)
_ANYONE: Final = ("", "")


@dataclass(frozen=True, slots=True)
class Outcome:
    """`secret`: of the session that was begun; None where nobody was signed in, for the next `wait_s` in any case."""

    secret: str | None = None
    wait_s: float = 0.0


class SignIn:
    """Lives on the event loop; hashing and the database are in threads."""

    def __init__(
        self,
        engine: Engine,
        sessions: Sessions,
        passwords: Passwords,
        admin_token: str,
        now_ns: Callable[[], int] = time.time_ns,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._engine = engine
        self._sessions = sessions
        self._passwords = passwords
        self._admin_token = admin_token.encode()
        self._now_ns = now_ns
        self._monotonic_ns = monotonic_ns
        self._throttle = Throttle()
        self._failures = Buckets(FAILURES)
        self._unwritten = 0

    async def by_password(self, name: str, password: str, address: str, old_secret: str) -> Outcome:
        """Raises SignInBusy, and the storage's own error."""
        wait_s = self._throttle.take(name, address, self._monotonic_ns())
        if wait_s:
            return Outcome(wait_s=wait_s)
        user = await run_in_threadpool(self._find, name)
        usable = user is not None and bool(user["enabled"])
        hashed = user["password_hash"] if user is not None and usable else None
        if not await self._passwords.apart(self._passwords.matches, hashed, password):
            await self._failed(None if user is None else f"user:{user['name']}", address)
            return Outcome()
        self._throttle.give_back(name, address)
        renewed = None
        if self._passwords.outdated(hashed or ""):
            renewed = await self._passwords.apart(self._passwords.hash, name, password)
        return Outcome(await run_in_threadpool(self._begin, name, hashed, renewed, address, old_secret))

    async def by_token(self, token: str, address: str, old_secret: str) -> Outcome:
        """With the admin token."""
        wait_s = self._throttle.take("", address, self._monotonic_ns())
        if wait_s:
            return Outcome(wait_s=wait_s)
        if not hmac.compare_digest(token.encode(), self._admin_token):
            await self._failed(ADMIN_ACTOR, address)
            return Outcome()
        self._throttle.give_back("", address)
        return Outcome(await run_in_threadpool(self._begin, None, None, None, address, old_secret))

    def end(self, principal: Principal, secret: str) -> None:
        """Sign out: this session is over, whoever has its id."""
        with self._engine.begin() as connection:
            if self._sessions.end(connection, secret):
                _note(connection, "user.sign-out", principal.actor, self._now_ns(), {})

    def any_accounts(self) -> bool:
        """Whether somebody could sign in by name."""
        with reading(self._engine).begin() as connection:
            return connection.execute(users.select().limit(1)).first() is not None

    def _find(self, name: str) -> Mapping[str, Any] | None:
        with reading(self._engine).begin() as connection:
            return find_user(connection, name)

    def _begin(self, name: str | None, hashed: str | None, renewed: str | None, address: str, old_secret: str) -> str | None:
        """None where the account has changed since its password was checked."""
        now_ns = self._now_ns()
        with self._engine.begin() as connection:
            if name is not None:
                user = find_user(connection, name)
                if user is None or not user["enabled"] or user["password_hash"] != hashed:
                    return None
                values = {"last_sign_in_ns": now_ns} | ({"password_hash": renewed} if renewed else {})
                connection.execute(update(users).where(users.c.name == name).values(values))
            if old_secret:
                self._sessions.end(connection, old_secret)
            secret = self._sessions.begin(connection, name, address, now_ns)
            _note(connection, "user.sign-in", ADMIN_ACTOR if name is None else f"user:{name}", now_ns, {"address": address})
        return secret

    async def _failed(self, whose: str | None, address: str) -> None:
        if self._failures.wait_ns(_ANYONE, self._monotonic_ns()):
            self._unwritten += 1
            return
        self._failures.take(_ANYONE, self._monotonic_ns())
        details = {"address": address} | ({"not_written": self._unwritten} if self._unwritten else {})
        self._unwritten = 0
        await run_in_threadpool(self._note_failure, whose or "an unknown name", details)

    def _note_failure(self, subject: str, details: dict[str, Any]) -> None:
        with self._engine.begin() as connection:
            record(
                connection,
                at_ns=self._now_ns(),
                actor="hub",
                action="user.sign-in-failed",
                subject=subject,
                details=details,
            )


def _note(connection: Connection, action: str, actor: str, now_ns: int, details: Mapping[str, str]) -> None:
    record(connection, at_ns=now_ns, actor=actor, action=action, subject=actor, details=details)
