"""Two that speak under one name: a copied card, or an image that was put back, with the same key and the same outbox. Pure.

Each start of an agent on its outbox has a number, `starts`, that is on disk before anything is sent. So within an epoch a
*writer* is (starts, boot), and one device alone has one writer after the other:

1. Two boots with the same number of starts in one epoch are two writers, at once and for certain.
2. A writer that was overtaken by a later one and yet goes on, by its own monotonic clock, is a second writer. Once may be a
   message that came late; twice is a finding. What is merely sent again, or replayed by somebody, shows no progress; but of
   each device only the latest writers are kept, so whoever had listened for longer could bring about a finding.
3. One boot is one machine: agents that follow each other within it are one writer's. So copies of a state directory that run
   on the same machine are not told apart.

A finding names the boots and stands until an operator closes it (`standing.py`: resume).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from models.contract.checkin import CheckIn
from models.contract.clock import Stamp

_MAX_WRITERS: Final = 8
_TELLING: Final = 2  # signs of life of one that was overtaken


class Writer(msgspec.Struct, frozen=True):
    """`mono_ns`: the latest that it said. `n_after`: how often it went on after another had begun."""

    epoch: str
    starts: int
    boot_id: str
    mono_ns: int
    n_after: int = 0


class Cloned(msgspec.Struct, frozen=True):
    """That there are two. `boots`: of the two, the one heard of later last. `epoch`: in which both write."""

    since_ns: int
    last_ns: int
    epoch: str
    boots: tuple[str, str]


class Writers(msgspec.Struct, frozen=True):
    """Who has spoken, the one that began last at the end; and the finding, if there is one."""

    seen: tuple[Writer, ...] = ()
    cloned: Cloned | None = None


def stored_writers(stored: Any) -> Writers:
    """From `devices.writers`."""
    return Writers() if stored is None else msgspec.convert(stored, Writers)


def cloned_of(stored: Any) -> dict[str, Any] | None:
    """The finding in `devices.writers`, for people and scripts."""
    return None if stored is None else stored.get("cloned")


def cloned_text(device_id: str, cloned: Mapping[str, Any]) -> str:
    """What an operator should know of a finding, and do about it."""
    one, other = cloned["boots"]
    return (
        f"{device_id} is there twice: boots {one} and {other} both write in epoch {cloned['epoch']}. On the copy, remove"
        " state_dir and enrol it under an id of its own; on the other, `tocsin agent rotate-key`, which shuts the copy out."
        f" Then `tocsin hub device resume {device_id}`."
    )


def observe(before: Writers, epoch: str, starts: int, at: Stamp, now_ns: int) -> Writers:
    """What is known after a check-in of an agent in its `starts`-th start, at its own time `at`."""
    known = next((w for w in before.seen if (w.epoch, w.starts, w.boot_id) == (epoch, starts, at.boot_id)), None)
    if known is None:
        return _new(before, Writer(epoch, starts, at.boot_id, at.mono_ns), now_ns)
    if at.mono_ns <= known.mono_ns:
        return before
    overtaken = known.boot_id != before.seen[-1].boot_id
    heard = msgspec.structs.replace(known, mono_ns=at.mono_ns, n_after=known.n_after + overtaken)
    seen = tuple(heard if writer is known else writer for writer in before.seen)
    cloned = before.cloned
    if overtaken and heard.n_after >= _TELLING:
        cloned = found(cloned, epoch, (before.seen[-1].boot_id, at.boot_id), now_ns)
    return Writers(seen, cloned)


def observe_checkin(stored: Any, checkin: CheckIn, now_ns: int) -> tuple[Any, Cloned | None]:
    """`devices.writers` after `checkin`, and the finding if it is a new one."""
    before = stored_writers(stored)
    after = observe(before, checkin.epoch, checkin.starts, checkin.at, now_ns)
    return msgspec.to_builtins(after), after.cloned if before.cloned is None else None


def observe_items(stored: Any, epoch: str, boots: tuple[str, str], now_ns: int) -> tuple[Any, Cloned | None]:
    """The same after two boots were heard of, by different items under one number (`hub/ingest/boots.py`)."""
    before = stored_writers(stored)
    after = msgspec.structs.replace(before, cloned=found(before.cloned, epoch, boots, now_ns))
    return msgspec.to_builtins(after), after.cloned if before.cloned is None else None


def found(cloned: Cloned | None, epoch: str, boots: tuple[str, str], now_ns: int) -> Cloned:
    """The finding after one more sign of it."""
    return Cloned(cloned.since_ns if cloned else now_ns, now_ns, epoch, boots)


def _new(before: Writers, writer: Writer, now_ns: int) -> Writers:
    ours = [other for other in before.seen if other.epoch == writer.epoch]
    twin = next((other for other in ours if other.starts == writer.starts), None)
    cloned = found(before.cloned, writer.epoch, (twin.boot_id, writer.boot_id), now_ns) if twin else before.cloned
    if ours and writer.starts < max(other.starts for other in ours):  # it came late, or somebody began at an older state
        late = writer.boot_id != before.seen[-1].boot_id
        return Writers((msgspec.structs.replace(writer, n_after=int(late)), *_trimmed(before.seen)), cloned)
    return Writers((*_trimmed(before.seen), writer), cloned)


def _trimmed(seen: tuple[Writer, ...]) -> tuple[Writer, ...]:
    """With room for one more: the one that began longest ago goes, of those that nothing speaks against first."""
    if len(seen) < _MAX_WRITERS:
        return seen
    quiet = [n for n, writer in enumerate(seen[:-1]) if not writer.n_after]
    gone = quiet[0] if quiet else 0
    return seen[:gone] + seen[gone + 1 :]
