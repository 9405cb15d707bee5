"""The seam between a decision and the world.

Threading contract:
- `act` is called from one thread only, one event at a time. It may block, but only as long as its configured time-out.
- What may go wrong out there (nobody answers, refused, timed out, exit code 1) is a returned Result, never an exception.
- What has timed out is over: it is never done later, when nobody expects it any more.
- `close` is called once, from another thread, at the end: it lets a running `act` end soon.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from agent.actions.event import Event
from models.contract.items import ActorKind


@dataclass(frozen=True, slots=True)
class Result:
    """`detail`: why it failed, or what is worth knowing where it did not; one line."""

    ok: bool
    detail: str = ""


class Actor(Protocol):
    """See the module's text for what may be called when. `target`: where it acts, without what is secret in it."""

    @property
    def kind(self) -> ActorKind: ...

    @property
    def target(self) -> str: ...

    def preview(self, event: Event) -> str:
        """What `act` would do, in one line."""
        ...

    def act(self, event: Event) -> Result: ...

    def close(self) -> None: ...
