"""An office room with a fan coil on the building's water, and a duct for fresh air.

People come and go by the schedule, and warm and breathe; the fan runs fast for them and slowly at night; the room is heated to
21.5 °C while it is used and let fall to 18 °C, in the warm half of the year cooled to 24.5 °C and let rise. The water is the
warmer the colder it is outside. Heat and CO2: `room_physics`. The weather is the site's, the rest the room's own: size, walls,
people, coil.

A room remembers: what it is like now depends on days before. It is played forward from three days before second 0, a day at a
time; each midnight is kept, with the faults that had begun by then, so any time can be asked for and gives the same readings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from firmware_sim.assets.room_physics import OUTDOOR_PPM, STEP_S, WORKER_W, Building, Drive, State, step_through
from firmware_sim.assets.signals import Sensors
from firmware_sim.faults.fault import Fault, level_of
from firmware_sim.noise import NoiseField
from firmware_sim.operation.climate import Climate, weather
from firmware_sim.operation.operation import USUAL, Operation
from firmware_sim.operation.schedule import DAY_S
from models.contract.config import load_profile

_NOISE_STD: Final = {
    "temperature": 0.02,
    "co2": 6.0,
    "supply_temperature": 0.1,
    "return_temperature": 0.1,
    "valve": 0.25,
    "airflow": 6.0,
    "outdoor_temperature": 0.08,
}
_CLIMATE: Final = Climate(day_k=4.0, year_k=9.5, weather_k=7.0)
_MEAN_OUTDOOR_DEGC: Final = 10.0
_WARM_SEASON_DEGC: Final = 15.0  # of the year's part alone: that, the water is changed over by
_PREHEAT_S: Final = 5400.0
_SLOT_S: Final = 900.0  # how long a head count holds
_SPIN_UP_DAYS: Final = 3
_STEPS: Final = round(DAY_S / STEP_S)
_NIGHT: Final = 0.35  # of the fan's full speed
_FRESH_M3H_PER_HEAD: Final = 36.0  # EN 16798-1, category II
_FRESH_RECOVERED: Final = 0.75


class Room:
    """Faults, and the channels they show in (severity 1):

    valve_stuck     the valve stays where it is: no longer what the room needs, too warm or too cold within hours
    valve_leak      a third of the water passes a valve that is shut: what should be as warm as the room is not
    clogged_filter  half the airflow, and the valve opens for it
    fouled_coil     the water comes back nearly as it went: the valve opens, up to a room that is no longer kept
    damper_stuck    no fresh air but through the cracks: CO2 doubles while people are there
    """

    fault_channels: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "valve_stuck": ("valve", "temperature", "return_temperature"),
        "valve_leak": ("return_temperature", "temperature"),
        "clogged_filter": ("airflow", "valve"),
        "fouled_coil": ("return_temperature", "valve"),
        "damper_stuck": ("co2",),
    }
    wear_per_year: ClassVar[Mapping[str, float]] = {"clogged_filter": 0.5, "fouled_coil": 0.05}

    def __init__(self, seed: int, rate_hz: float, operation: Operation = USUAL) -> None:
        self.profile = load_profile("room")
        rng = np.random.default_rng([seed, 6])
        self._rate_hz = rate_hz
        self._operation = operation.usually("office", _CLIMATE)
        area_m2 = rng.uniform(45, 75)
        self._heads = area_m2 / 8
        # Of a floor, ISO 13790: 165 to 260 kJ/(m²K) in a medium to heavy building, which the air reaches through 15.5 and 22.8
        # W/(m²K) in series. The coil keeps 21.5 °C at -10 °C outside with a fifth of its water; the rest is for the morning.
        self._building = Building(
            volume_m3=3.0 * area_m2,
            c_air=18_000.0 * area_m2 * rng.normal(1, 0.08),
            c_mass=220_000.0 * area_m2 * rng.normal(1, 0.1),
            h_inner=9.2 * area_m2,
            h_air=0.35 * area_m2 * rng.normal(1, 0.1),
            h_wall=0.45 * area_m2 * rng.normal(1, 0.1),
            coil_ua=3.2 * area_m2 * rng.normal(1, 0.05),
            water_kg_s=0.0012 * area_m2 * rng.normal(1, 0.05),
        )
        self._sun_w = area_m2 * rng.uniform(4, 14)  # by where its windows look
        self._airflow_m3h = 14.0 * area_m2 * rng.normal(1, 0.04)
        self._supply_k = rng.normal(0, 0.8)
        self._count = NoiseField(seed * 7 + 51, 1)
        self._sensors = Sensors(self.profile.channels, _NOISE_STD, rate_hz, seed * 7 + 53)
        self._midnights: dict[tuple[int, tuple[Fault, ...]], State] = {}
        self._played: dict[tuple[int, tuple[Fault, ...]], NDArray[np.float64]] = {}

    def simulate(self, t_s: NDArray[np.float64], faults: Sequence[Fault] = ()) -> dict[str, NDArray[np.float64]]:
        """See `Asset.simulate`."""
        own = tuple(fault for fault in faults if fault.kind in self.fault_channels)
        days = np.floor(t_s / DAY_S).astype(np.int64)
        state = np.empty((6, len(t_s)))
        for day in np.unique(days).tolist():
            rows, course = days == day, self._day(day, own)
            at = (t_s[rows] - day * DAY_S) / STEP_S
            before = np.minimum(at.astype(np.int64), _STEPS - 1)
            state[:, rows] = (course[before] + (at - before)[:, None] * (course[before + 1] - course[before])).T
        air, _, back, co2, _, valve = state
        drive = self._drive(t_s, own)
        truth = {
            "temperature": air,
            "co2": co2,
            "supply_temperature": drive.supply,
            "return_temperature": back,
            "valve": 100 * valve,
            "airflow": self._airflow_m3h * drive.fan,
            "outdoor_temperature": drive.outdoor,
        }
        return self._sensors.measure(t_s, truth)

    def _day(self, day: int, faults: tuple[Fault, ...]) -> NDArray[np.float64]:
        """(steps + 1, 6) one day, from midnight to midnight of scenario time."""
        key = day, _begun(faults, day + 1)
        if key not in self._played:
            course = step_through(self._building, self._midnight(day, faults), self._drive(_grid(day), key[1]))
            if len(self._played) >= 4:
                self._played.pop(next(iter(self._played)))
            self._played[key] = course
            self._midnights[day + 1, key[1]] = State(*course[-1].tolist())
        return self._played[key]

    def _midnight(self, day: int, faults: tuple[Fault, ...]) -> State:
        """The state as `day` begins: from the latest midnight that is known."""
        known = day
        while known > -_SPIN_UP_DAYS and (known, _begun(faults, known)) not in self._midnights:
            known -= 1
        first = State(air=20.0, mass=19.0, back=21.0, co2=OUTDOOR_PPM, integral=0.2, valve=0.2)
        state = self._midnights.get((known, _begun(faults, known)), first)
        for each in range(known, day):
            course = step_through(self._building, state, self._drive(_grid(each), _begun(faults, each + 1)))
            state = self._midnights[each + 1, _begun(faults, each + 1)] = State(*course[-1].tolist())
        return state

    def _drive(self, t_s: NDArray[np.float64], faults: Sequence[Fault]) -> Drive:
        operation, climate = self._operation, self._operation.climate or _CLIMATE
        local_s, schedule = operation.local_s(t_s), operation.schedule
        outdoor = _MEAN_OUTDOOR_DEGC + climate.at(local_s, operation.weather_seed)
        warm = _MEAN_OUTDOOR_DEGC + climate.season(local_s) > _WARM_SEASON_DEGC
        used = np.maximum(schedule.running(local_s), schedule.running(local_s + _PREHEAT_S))
        slot = np.floor(t_s / _SLOT_S).astype(np.int64) + round(_SPIN_UP_DAYS * DAY_S / _SLOT_S)
        share = schedule.running(local_s) * schedule.demand(local_s) * np.maximum(1 + 0.15 * self._count.at(slot)[0], 0)
        people = self._heads * share
        sun = np.maximum(np.sin(np.pi * (local_s % DAY_S / 3600 - 6) / 12), 0) * (1 + 0.5 * climate.season(local_s) / 9.5)
        clear = 0.5 + 0.5 * weather(local_s / 2, operation.weather_seed + 1)  # clouds come and go faster than warm and cold air
        fresh_m3h = self._heads * _FRESH_M3H_PER_HEAD * used * (1 - 0.9 * level_of("damper_stuck", faults, t_s))
        fresh_m3_s = (fresh_m3h + 0.15 * self._building.volume_m3) / 3600
        duct_w = 1206 * fresh_m3h / 3600 * (1 - _FRESH_RECOVERED)
        return Drive(
            outdoor=outdoor,
            gains_w=people * WORKER_W + self._sun_w * sun * clear + duct_w * np.minimum(outdoor - 20.0, 0),
            people=people,
            fresh_m3_s=fresh_m3_s,
            setpoint=np.where(warm, 28.0 - 3.5 * used, 18.0 + 3.5 * used),
            sign=np.where(warm, -1.0, 1.0),
            supply=self._supply_k + np.where(warm, 10.0, np.clip(45.0 - 0.9 * (outdoor - 5.0), 30.0, 65.0)),
            fan=(_NIGHT + (1 - _NIGHT) * used) * (1 - 0.5 * level_of("clogged_filter", faults, t_s)),
            held=level_of("valve_stuck", faults, t_s),
            passing=level_of("valve_leak", faults, t_s),
            fouled=level_of("fouled_coil", faults, t_s),
        )


def _grid(day: int) -> NDArray[np.float64]:
    return np.asarray(day * DAY_S + np.arange(_STEPS) * STEP_S, dtype=np.float64)


def _begun(faults: Sequence[Fault], day: int) -> tuple[Fault, ...]:
    """Those that have begun when `day` begins; in an order of their own, so that the same ones are the same key."""
    return tuple(sorted((f for f in faults if f.start_s < day * DAY_S), key=lambda f: (f.kind, f.start_s, f.end_s)))
