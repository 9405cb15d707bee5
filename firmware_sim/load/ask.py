"""What a light device asks the hub, and what an answer was worth: values between the device and whoever carries them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import msgspec

Kind = Literal["enrol", "ingest", "checkin", "fetch"]
How = Literal["whole", "damaged", "half", "repeated", "unreachable"]
UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)  # what decoding may raise
_MAX_REPLY_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Ask:
    """One request. `how`: damaged, cut off in the middle, sent before, or not to be sent at all, for no connection comes about.

    `n_items`: of an ingest. An answer to what is `repeated` or `half` is of no account to the device."""

    kind: Kind
    path: str
    body: bytes | None = None
    how: How = "whole"
    n_items: int = 0
    max_bytes: int = _MAX_REPLY_BYTES

    @property
    def method(self) -> str:
        return "GET" if self.body is None else "POST"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an answer was worth. `refused`: why the hub took nothing, in words that are the same each time, "" = it did.

    `detail`: what it said of that. `n_new`: items confirmed by it. `n_rejected`: items that it has put into quarantine."""

    refused: str = ""
    detail: str = ""
    n_new: int = 0
    n_rejected: int = 0


class _Problem(msgspec.Struct):
    detail: str = ""
    type: str = ""


class _Signed(msgspec.Struct):
    version: int


class _Root(msgspec.Struct):
    signed: _Signed


def refusal(status: int, data: bytes) -> Outcome:
    """What a problem says (RFC 9457), else the beginning of whatever it is."""
    try:
        problem = msgspec.json.decode(data, type=_Problem)
    except UNREADABLE:
        return Outcome(f"{status}", data[:100].decode("utf-8", "replace"))
    return Outcome(f"{status} {problem.type.rpartition(':')[2]}".strip(), problem.detail[:300])


def root_version(root: bytes) -> int:
    """Of a TUF root; its signatures are not looked at. Raises msgspec.MsgspecError."""
    return msgspec.json.decode(root, type=_Root).signed.version
