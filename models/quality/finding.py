"""What a check has to say of a channel in one window."""

from __future__ import annotations

from typing import NamedTuple

from models.contract.items import FaultKind


class Finding(NamedTuple):
    """`channel`: "" = all of the asset. `detail`: figures with units, for people.

    `since_ns`: event time from which the channel is not to be trusted, where that is before this window; 0 = its start.
    `told`: False while it is a suspicion only: the window trains and commissions nothing, but no fault opens yet.
    """

    channel: str
    kind: FaultKind
    detail: str = ""
    since_ns: int = 0
    told: bool = True


def amount(value: float, unit: str) -> str:
    """A figure as a person would write it down: "0.45 bar"."""
    return f"{value:.4g} {unit}".rstrip()
