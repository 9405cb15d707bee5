"""What a fleet of light devices is, and what befalls it: the tables `[fleet]` and `[[fleet.events]]` of a scenario.

[fleet]
devices = 1000
checkin_s = 10

[[fleet.events]]
kind = "hub_unreachable"
start_s = 120
end_s = 300
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from firmware_sim.faults.catalog import unknown
from firmware_sim.load.draws import Draws
from models.contract.config import load_profile
from models.contract.names import Name
from models.contract.profile import BUILTIN_DIR, Fraction, Positive
from models.errors import ConfigError

MAX_DEVICES: Final = 100_000
Seconds = Annotated[float, Meta(ge=0)]
Pace = Annotated[float, Meta(ge=0.1, le=86_400)]
Whose = Literal["device", "link"]


@dataclass(frozen=True, slots=True)
class EventKind:
    """Whose trouble it is; whether it lasts; whether `severity` says how many envelopes or windows, and `bundle` which."""

    whose: Whose
    lasts: bool
    text: str
    graded: bool = False
    of_bundle: bool = False


EVENT_KINDS: Final[Mapping[str, EventKind]] = {
    "reboot": EventKind("device", False, "a brown-out: a new boot at once, nothing stored is lost"),
    "crash": EventKind("device", False, "the agent starts again, in the same boot"),
    "wipe": EventKind("device", False, "the outbox is gone, the key is not: a new epoch"),
    "power_cut": EventKind("device", True, "off, and a new boot at the end"),
    "clone": EventKind("device", True, "a copy of the card runs beside it: one identity, two writers"),
    "full_disk": EventKind("device", True, "nothing can be stored: held in memory, and what that has no room for is evicted"),
    "bad_bundle": EventKind("device", True, "every new bundle rings in this share of the windows", graded=True, of_bundle=True),
    "refused_bundle": EventKind("device", True, "a new bundle fails its self-test there", of_bundle=True),
    "hub_unreachable": EventKind("link", True, "no connection comes about"),
    "half_open": EventKind("link", True, "the connection hangs in the middle of what is sent", graded=True),
    "late": EventKind("link", True, "an envelope is under way until the next one has come", graded=True),
    "duplicated": EventKind("link", True, "an envelope comes twice", graded=True),
    "damaged": EventKind("link", True, "a byte of an envelope is wrong", graded=True),
}


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Config readers reject unknown keys: a misspelt key must not silently mean the default."""


class FleetEvent(_Strict, frozen=True, kw_only=True):
    """One thing that goes wrong. `end_s`: None = until the end. `share`: of the devices that it befalls, at least one.

    `severity`: the share of envelopes, or of windows. `bundle`: which bundles, with `*` for anything.
    """

    kind: str
    start_s: Seconds
    end_s: Seconds | None = None
    share: Annotated[float, Meta(gt=0, le=1)] = 1.0
    severity: Annotated[float, Meta(gt=0, le=1)] = 1.0
    bundle: str = "*"


class FleetPlan(_Strict, frozen=True, kw_only=True):
    """Light devices, each with `assets` machines of `profile`.

    `sync_s`, `checkin_s`: seconds of the clock; everything else is event time. `backlog_s`: so long they have been at work
    when the scenario begins. `outbox_windows`: beyond so many that wait, the oldest are evicted. `alerts_per_day`,
    `sensor_faults_per_day`: of one device, by chance.
    """

    devices: Annotated[int, Meta(ge=1, le=MAX_DEVICES)] = 100
    profile: str = "pump"
    assets: Annotated[int, Meta(ge=1, le=64)] = 1
    site: Name = "simulated"
    sync_s: Pace = 3600.0
    checkin_s: Pace = 60.0
    health_s: Positive = 300.0
    backlog_s: Annotated[float, Meta(ge=0, le=30 * 86_400)] = 0.0
    outbox_windows: Annotated[int, Meta(ge=10)] = 100_000
    alerts_per_day: Seconds = 0.2
    sensor_faults_per_day: Seconds = 0.1
    refuses: Fraction = 0.0
    events: tuple[FleetEvent, ...] = ()


def check_fleet(plan: FleetPlan, where: str) -> None:
    """Raises ConfigError at `where.key` for what types cannot say."""
    known = sorted(path.stem for path in BUILTIN_DIR.glob("*.toml"))
    if plan.profile not in known:
        raise unknown(f"{where}.profile", plan.profile, known)
    load_profile(plan.profile)
    for i, event in enumerate(plan.events):
        _check_event(event, f"{where}.events[{i}]")


def _check_event(event: FleetEvent, at: str) -> None:
    kind = EVENT_KINDS.get(event.kind)
    if kind is None:
        raise unknown(f"{at}.kind", event.kind, EVENT_KINDS)
    if event.end_s is not None and not kind.lasts:
        raise ConfigError(f"{at}.end_s", f"no end: a {event.kind} is over at once")
    if event.end_s is not None and event.end_s <= event.start_s:
        raise ConfigError(f"{at}.end_s", f"a time after start_s, which is {event.start_s:g}")
    if event.severity != 1.0 and not kind.graded:
        raise ConfigError(f"{at}.severity", f"no severity: {event.kind} has no degrees")
    if event.bundle != "*" and not kind.of_bundle:
        raise ConfigError(f"{at}.bundle", f"no bundle: {event.kind} has nothing to do with them")


def device_name(prefix: str, number: int) -> str:
    """Of the light device of that number, from 0."""
    return f"{prefix}-{number + 1:05}"


def befallen(plan: FleetPlan, seed: int) -> list[tuple[int, ...]]:
    """For each event the numbers of its devices, ascending; the same for the same seed."""
    found = []
    for i, event in enumerate(plan.events):
        draws = Draws(seed, "event", i, event.kind)
        order = sorted((draws.bits(), number) for number in range(plan.devices))
        count = max(1, round(event.share * plan.devices))
        found.append(tuple(sorted(number for _, number in order[:count])))
    return found
