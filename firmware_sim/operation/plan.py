"""What a scenario says of how its machines are run, and the errors for what makes no sense there.

[[assets]]
name = "pump-1"
age_days = 400
[assets.load]
pattern = "two-shift"
[assets.ambient]
day_k = 3
year_k = 6

[[maintenance]]
asset = "pump-1"
start_s = 86400
duration_s = 3600
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated, Final, get_args

import msgspec
from msgspec import Meta

from firmware_sim.faults.catalog import unknown
from firmware_sim.operation.climate import Climate
from firmware_sim.operation.operation import Operation
from firmware_sim.operation.schedule import RAMP_S, Pattern
from models.contract.clock import NS_PER_S
from models.errors import ConfigError

PATTERNS: Final[tuple[Pattern, ...]] = get_args(Pattern)
_Kelvin = Annotated[float, Meta(ge=0, le=30)]


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Config readers reject unknown keys: a misspelt key must not silently mean the default."""


class LoadPlan(_Strict, frozen=True, kw_only=True):
    """By what days and weeks a machine runs (`operation.schedule`), in the local time of the scenario's `start`."""

    pattern: str = "constant"


class AmbientPlan(_Strict, frozen=True, kw_only=True):
    """The air around it: how far it swings over a day, over a year, and with the weather, K."""

    day_k: _Kelvin = 0.0
    year_k: _Kelvin = 0.0
    weather_k: _Kelvin = 0.0


class MaintenancePlan(_Strict, frozen=True, kw_only=True):
    """The machine stands still, and what had worn is as new from the beginning of it on. It ends no fault of the scenario's."""

    asset: str
    start_s: Annotated[float, Meta(ge=0)]
    duration_s: Annotated[float, Meta(ge=4 * RAMP_S)] = 1800.0


def check_load(load: LoadPlan | None, at: str) -> None:
    """Raises ConfigError where there is no such pattern."""
    if load is not None and load.pattern not in PATTERNS:
        raise unknown(f"{at}.load.pattern", load.pattern, PATTERNS)


def check_maintenance(plans: Sequence[MaintenancePlan], assets: Iterable[str], where: str) -> None:
    """Raises ConfigError for an asset that is not there, or one that is maintained twice at once."""
    names, until_s = list(assets), dict[str, float]()
    for i, plan in enumerate(plans):
        at = f"{where}: maintenance[{i}]"
        if plan.asset not in names:
            raise unknown(f"{at}.asset", plan.asset, names)
        if plan.start_s < until_s.get(plan.asset, 0.0):
            raise ConfigError(
                f"{at}.start_s", f"a time after the maintenance of {plan.asset} before, to {until_s[plan.asset]:g}"
            )
        until_s[plan.asset] = plan.start_s + plan.duration_s


def operation_of(
    load: LoadPlan | None,
    ambient: AmbientPlan | None,
    maintenance: Iterable[MaintenancePlan],
    t0_ns: int,
    start: datetime | None,
    seeds: tuple[int, int],
) -> Operation:
    """`t0_ns`: event time of second 0. `start`: the scenario's, whose offset from UTC is the place's; None = UTC. `seeds`: of
    the machine and of the whole scenario."""
    offset = start.utcoffset() if start is not None else None
    local_t0_s = t0_ns / NS_PER_S + (offset.total_seconds() if offset is not None else 0.0)
    return Operation(
        pattern=None if load is None else _pattern(load.pattern),
        climate=None if ambient is None else Climate(ambient.day_k, ambient.year_k, ambient.weather_k),
        off=tuple((plan.start_s, plan.start_s + plan.duration_s) for plan in maintenance),
        local_t0_s=local_t0_s,
        seed=seeds[0],
        weather_seed=seeds[1],
    )


def _pattern(name: str) -> Pattern:
    return next(pattern for pattern in PATTERNS if pattern == name)
