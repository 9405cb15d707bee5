"""A scenario: which machines there are, how their firmware speaks, and what goes wrong when. Everything follows from it.

    speed = 20                       # event seconds per second of the clock
    duration_s = 3600
    [[assets]]
    name = "pump-1"
    profile = "pump"
    link = "serial"
    format = "cobs"
    [[faults]]
    asset = "pump-1"
    kind = "bearing_wear"
    start_s = 1800

How a machine is run, aged and maintained: `operation.plan`.

Invariants:
1. The same file and seed give the same readings, and in virtual time the same bytes.
2. Every fault is known beforehand and labelled: what is injected by hand at run time is recorded the same way (`truth`).
"""

from __future__ import annotations

import math
import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from firmware_sim.assets.catalog import ASSETS, MACHINE_FAULTS
from firmware_sim.faults.catalog import (
    ALL_CHANNELS,
    FIRMWARE_FAULTS,
    MQTT_ONLY,
    SERIAL_ONLY,
    culprit_of,
    default_ramp_s,
    unknown,
)
from firmware_sim.faults.fault import Fault
from firmware_sim.firmware.catalog import ALL_FORMATS, FORMATS, LinkKind
from firmware_sim.load.plan import FleetPlan, check_fleet
from firmware_sim.operation.plan import AmbientPlan, LoadPlan, MaintenancePlan, check_load, check_maintenance
from firmware_sim.scenario_lines import line_of
from models.contract.config import load_profile, read_toml
from models.contract.names import Name
from models.contract.profile import Fraction, Positive
from models.errors import ConfigError

BUILTIN_DIR: Final = Path(__file__).resolve().parent / "scenarios"
_VIRTUAL_START: Final = datetime(2026, 1, 1, tzinfo=UTC)
Seconds = Annotated[float, Meta(ge=0)]


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Config readers reject unknown keys: a misspelt key must not silently mean the default."""


class AssetPlan(_Strict, frozen=True, kw_only=True):
    """One machine and its firmware. `format`: None = jsonl on serial lines, senml over MQTT, tcp for Modbus. `rate_hz`:
    samples per event second; None = the profile's. `samples_per_message`: for the formats that pack. `seed`: None = from the
    name and the scenario's. `load`, `ambient`: None = as is usual for the profile. `age_days`: since it was new; None = it is
    and stays as new."""

    name: Name
    profile: str = "pump"
    link: LinkKind = "serial"
    format: str | None = None
    rate_hz: Annotated[float, Meta(gt=0, le=20_000)] | None = None
    samples_per_message: Annotated[int, Meta(ge=1, le=500)] = 10
    seed: Annotated[int, Meta(ge=0)] | None = None
    load: LoadPlan | None = None
    ambient: AmbientPlan | None = None
    age_days: Annotated[float, Meta(ge=0, le=10_000)] | None = None

    @property
    def sampled_hz(self) -> float:
        return self.rate_hz or load_profile(self.profile).windowing.rate_hz

    @property
    def form(self) -> str:
        return self.format or ALL_FORMATS[self.link][0]


class FaultPlan(_Strict, frozen=True, kw_only=True):
    """One fault. `end_s`: None = until the end. `ramp_s`: None = as its kind sets in. `channel`: for sensor faults;
    a dropout or a slow rate may leave it out, and then takes all of them; a fast rate and a wrong clock always do."""

    asset: str
    kind: str
    start_s: Seconds
    end_s: Seconds | None = None
    severity: Fraction = 1.0
    ramp_s: Seconds | None = None
    channel: str | None = None


class Scenario(_Strict, frozen=True, kw_only=True):
    """See the module's text. `start`: event time of second 0; None = now, or 2026-01-01 in virtual time.
    `duration_s`: None = until stopped. `fleet`: light devices beside the machines (`load/plan.py`)."""

    assets: Annotated[tuple[AssetPlan, ...], Meta(min_length=1, max_length=1000)]
    faults: tuple[FaultPlan, ...] = ()
    maintenance: tuple[MaintenancePlan, ...] = ()
    title: str = ""
    seed: Annotated[int, Meta(ge=0)] = 1
    speed: Positive = 1.0
    duration_s: Positive | None = None
    start: datetime | None = None
    fleet: FleetPlan | None = None

    def seed_of(self, plan: AssetPlan) -> int:
        """An asset's seed, 0 … 2**31: its own, or one that follows from its name and the scenario's seed."""
        return plan.seed if plan.seed is not None else zlib.crc32(f"{self.seed}/{plan.name}".encode()) >> 1

    @property
    def virtual_start_ns(self) -> int:
        """Event time of second 0 in virtual time, Unix ns."""
        return datetime_ns(self.start or _VIRTUAL_START)


def load_scenario(name_or_path: str) -> Scenario:
    """The built-in scenario of that name, or the one in the TOML file at that path. Raises ConfigError."""
    path = Path(name_or_path)
    if path.suffix != ".toml" and path.name == name_or_path:
        path = BUILTIN_DIR / f"{name_or_path}.toml"
        if not path.is_file():
            raise unknown("scenario", name_or_path, builtin_names())
    try:
        scenario = read_toml(path, Scenario)
        check_scenario(scenario, str(path))
    except ConfigError as error:
        raise _with_line(error, path) from None
    return scenario


def _with_line(error: ConfigError, path: Path) -> ConfigError:
    """The same error, with the line in the file where it can be told."""
    file, _, place = error.where.partition(": ")
    line = line_of(path.read_text(encoding="utf-8"), place) if place and file == str(path) else None
    return error if line is None else ConfigError(f"{file}:{line}: {place}", error.expected)


def builtin_names() -> list[str]:
    return sorted(path.stem for path in BUILTIN_DIR.glob("*.toml"))


def check_scenario(scenario: Scenario, where: str) -> None:
    """Raises ConfigError at `where: key` for what types cannot say: names that do not exist, or fit not together."""
    names = [plan.name for plan in scenario.assets]
    for i, plan in enumerate(scenario.assets):
        at = f"{where}: assets[{i}]"
        if plan.name in names[:i]:
            raise ConfigError(f"{at}.name", f"a name of its own; {plan.name!r} is taken")
        if plan.profile not in ASSETS:
            raise unknown(f"{at}.profile", plan.profile, ASSETS)
        if plan.form not in ALL_FORMATS[plan.link]:
            raise unknown(f"{at}.format", plan.form, ALL_FORMATS[plan.link])
        check_load(plan.load, at)
    plans = dict(zip(names, scenario.assets, strict=True))
    for i, fault in enumerate(scenario.faults):
        at = f"{where}: faults[{i}]"
        if fault.asset not in plans:
            raise unknown(f"{at}.asset", fault.asset, names)
        check_fault(plans[fault.asset], fault.kind, fault.channel, at)
        if fault.end_s is not None and fault.end_s <= fault.start_s:
            raise ConfigError(f"{at}.end_s", f"a time after start_s, which is {fault.start_s:g}")
    check_maintenance(scenario.maintenance, names, where)
    if scenario.fleet is not None:
        check_fleet(scenario.fleet, f"{where}: fleet")


def check_fault(plan: AssetPlan, kind: str, channel: str | None, at: str) -> None:
    """Raises ConfigError where this asset has no such fault, or not on that channel, or not on its link."""
    profile = plan.profile
    kinds = [*MACHINE_FAULTS[profile]]
    try:
        culprit = culprit_of(kind, profile)
    except ConfigError as error:
        raise ConfigError(f"{at}.kind", error.expected) from None
    channels = load_profile(profile).channel_names
    if channel is not None and culprit != "sensor":
        raise ConfigError(f"{at}.channel", f"no channel: {kind} befalls the {culprit} (of a {profile}: {', '.join(kinds)})")
    if channel is not None and channel not in channels:
        raise unknown(f"{at}.channel", channel, channels)
    if channel is not None and kind in FIRMWARE_FAULTS:
        raise ConfigError(f"{at}.channel", f"no channel: {kind} befalls the firmware, and so all of them")
    if kind in SERIAL_ONLY and plan.link != "serial":
        raise ConfigError(f"{at}.kind", f"a fault of another kind of link; {kind} befalls serial lines only")
    if kind in MQTT_ONLY and plan.link != "mqtt":
        raise ConfigError(f"{at}.kind", f"a fault of another kind of link; {kind} befalls brokers only")
    if culprit == "link" and kind != "unplugged" and plan.form not in FORMATS.get(plan.link, ()):
        raise ConfigError(f"{at}.kind", f"unplugged: no other fault of the line can be played over {plan.form}")
    if channel is None and culprit == "sensor" and kind not in ALL_CHANNELS:
        raise ConfigError(f"{at}.channel", f"the channel that is {kind}: one of {', '.join(channels)}")


def planned_faults(scenario: Scenario, plan: AssetPlan) -> list[Fault]:
    """The faults that the scenario has for one asset."""
    return [
        Fault(
            kind=fault.kind,
            start_s=fault.start_s,
            end_s=math.inf if fault.end_s is None else fault.end_s,
            severity=fault.severity,
            ramp_s=default_ramp_s(fault.kind, culprit_of(fault.kind, plan.profile)) if fault.ramp_s is None else fault.ramp_s,
            channel=fault.channel,
        )
        for fault in scenario.faults
        if fault.asset == plan.name
    ]


def datetime_ns(moment: datetime) -> int:
    """Unix ns; without an offset it is UTC."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1_000_000) * 1000
