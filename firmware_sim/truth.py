"""Ground truth: what really was wrong, when, and which assets were watched meanwhile, against which detection is measured.

One JSON object a line, told apart by `kind`: `observed` for an asset's span, `fleet` for what befell light devices, else whose
fault an event is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from firmware_sim.assets.catalog import MACHINE_FAULTS
from firmware_sim.faults.catalog import Culprit, culprit_of
from firmware_sim.faults.fault import Fault
from firmware_sim.load.plan import EVENT_KINDS, FleetPlan, Whose, befallen, device_name
from models.contract.clock import NS_PER_S
from models.errors import ConfigError
from models.files import write_durably


class TruthEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One fault of one asset, or its maintenance. `kind`: whose. `start_ns`, `end_ns`: event time; None = not ended.
    `channel`: None = the machine, the line, or all of its channels. `shows_in`: of a machine's fault, the channels."""

    asset: str
    channel: str | None
    fault: str
    kind: Culprit | Literal["maintenance"]
    start_ns: int
    end_ns: int | None
    severity: float
    shows_in: tuple[str, ...] = ()


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """From when to when an asset played, event time: what it takes to tell false alarms a month."""

    kind: Literal["observed"] = "observed"
    asset: str
    profile: str
    start_ns: int
    end_ns: int


class FleetTruth(msgspec.Struct, frozen=True, kw_only=True):
    """What befell light devices. `whose`: trouble it is. `bundle`: which bundles, with `*` for anything."""

    kind: Literal["fleet"] = "fleet"
    event: str
    whose: Whose
    devices: tuple[str, ...]
    start_ns: int
    end_ns: int | None
    severity: float = 1.0
    bundle: str = "*"


def fleet_truth(plan: FleetPlan, seed: int, t0_ns: int, prefix: str) -> list[FleetTruth]:
    """Of all events of a plan, the earliest first. `t0_ns`: event time of second 0."""
    found = [
        FleetTruth(
            event=event.kind,
            whose=EVENT_KINDS[event.kind].whose,
            devices=tuple(device_name(prefix, number) for number in chosen),
            start_ns=t0_ns + round(event.start_s * NS_PER_S),
            end_ns=None if event.end_s is None else t0_ns + round(event.end_s * NS_PER_S),
            severity=event.severity,
            bundle=event.bundle,
        )
        for event, chosen in zip(plan.events, befallen(plan, seed), strict=True)
    ]
    return sorted(found, key=lambda event: (event.start_ns, event.event))


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
            shows_in=MACHINE_FAULTS[profile].get(fault.kind, ()),
        )
        for fault in faults
    ]


def maintenance_of(asset: str, span_s: tuple[float, float], t0_ns: int) -> TruthEvent:
    """`span_s`: scenario times in which the asset was maintained, and stood still."""
    start_ns, end_ns = (t0_ns + round(edge * NS_PER_S) for edge in span_s)
    return TruthEvent(
        asset=asset, channel=None, fault="maintenance", kind="maintenance", start_ns=start_ns, end_ns=end_ns, severity=0.0
    )


def write_truth(
    path: Path, events: Iterable[TruthEvent], observed: Iterable[Observed] = (), fleet: Iterable[FleetTruth] = ()
) -> None:
    """The spans, then all events, the earliest first, then those of light devices. Raises OSError."""
    ordered = sorted(events, key=lambda event: (event.start_ns, event.asset, event.fault))
    write_durably(path, b"".join(msgspec.json.encode(line) + b"\n" for line in (*observed, *ordered, *fleet)))


def read_truth(path: Path) -> list[TruthEvent]:
    """The events. Raises OSError, ConfigError naming the line."""
    return [line for line in _lines(path) if isinstance(line, TruthEvent)]


def read_observed(path: Path) -> list[Observed]:
    """The spans; none in a file of an earlier version. Raises OSError, ConfigError naming the line."""
    return [line for line in _lines(path) if isinstance(line, Observed)]


def read_fleet_truth(path: Path) -> list[FleetTruth]:
    """What befell light devices. Raises OSError, ConfigError naming the line."""
    return [line for line in _lines(path) if isinstance(line, FleetTruth)]


def _lines(path: Path) -> Iterator[TruthEvent | Observed | FleetTruth]:
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        try:
            yield msgspec.json.decode(line, type=_Kind).decoded(line)
        except msgspec.DecodeError as error:
            raise ConfigError(f"{path}: line {number}", f"ground truth as `tocsin sim run --out` writes it: {error}") from None


class _Kind(msgspec.Struct):
    kind: str

    def decoded(self, line: bytes) -> TruthEvent | Observed | FleetTruth:
        if self.kind == "observed":
            return msgspec.json.decode(line, type=Observed)
        if self.kind == "fleet":
            return msgspec.json.decode(line, type=FleetTruth)
        return msgspec.json.decode(line, type=TruthEvent)
