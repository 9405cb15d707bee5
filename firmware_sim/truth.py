"""Ground truth: what really was wrong, when, against which detection is measured. One JSON object a line."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import msgspec

from firmware_sim.faults.catalog import Culprit, culprit_of
from firmware_sim.faults.fault import Fault
from models.contract.clock import NS_PER_S
from models.files import write_durably


class TruthEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One fault of one asset. `kind`: whose fault it is. `start_ns`, `end_ns`: event time; None = not ended.
    `channel`: None = the machine, the line, or all of its channels."""

    asset: str
    channel: str | None
    fault: str
    kind: Culprit
    start_ns: int
    end_ns: int | None
    severity: float


def truth_of(asset: str, profile: str, faults: Iterable[Fault], t0_ns: int) -> list[TruthEvent]:
    """What was wrong with one asset. `t0_ns`: event time of second 0."""
    return [
        TruthEvent(
            asset=asset,
            channel=fault.channel,
            fault=fault.kind,
            kind=culprit_of(fault.kind, profile),
            start_ns=t0_ns + round(fault.start_s * NS_PER_S),
            end_ns=None if math.isinf(fault.end_s) else t0_ns + round(fault.end_s * NS_PER_S),
            severity=fault.severity,
        )
        for fault in faults
    ]


def write_truth(path: Path, events: Iterable[TruthEvent]) -> None:
    """All events, the earliest first. Raises OSError."""
    ordered = sorted(events, key=lambda event: (event.start_ns, event.asset, event.fault))
    write_durably(path, b"".join(msgspec.json.encode(event) + b"\n" for event in ordered))


def read_truth(path: Path) -> list[TruthEvent]:
    """Raises OSError, msgspec.ValidationError."""
    return [msgspec.json.decode(line, type=TruthEvent) for line in path.read_bytes().splitlines() if line]
