"""The heat and air of a room, in steps of a minute. Pure.

Two resistances and two capacities (Bacher and Madsen, Energy and Buildings 43, 2011: what a few days of measurements of a
building can identify): the air with the furniture, and the heavy parts of the building around it.

    C_air  dT_air/dt  = (T_mass - T_air)/R_in + (T_out - T_air) H_air + Q_coil + Q_people + Q_sun
    C_mass dT_mass/dt = (T_air - T_mass)/R_in + (T_out - T_mass) H_wall

    V dC/dt = people G + q (C_out - C)      CO2; G = 0.0052 l/s of an office worker (Persily and de Jonge, Indoor Air 27, 2017)

The coil is an exchanger whose air side does not change much along it: Q = w c (1 - exp(-UA / w c)) (T_supply - T_air) at a flow
w of water, which leaves that much colder. UA follows the air's flow to the power of 0.6. The valve is moved by a PI
controller that heats in the cold half of the year and cools, with cold water in the same pipes, in the warm one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

STEP_S: Final = 60.0
OUTDOOR_PPM: Final = 420.0
WORKER_L_PER_S: Final = 0.0052
WORKER_W: Final = 160.0  # sensible heat of a person at a desk, and of the screen before them (ASHRAE Fundamentals, ch. 18)
_WATER_J_PER_KG_K: Final = 4186.0
_PIPE_TAU_S: Final = 600.0
_PASSES: Final = 0.35  # of its flow, by a valve that leaks as badly as can be
_GAIN_PER_K: Final = 0.35
_RESET_S: Final = 2400.0
_TRAVEL_S: Final = 120.0  # of the valve's actuator


@dataclass(frozen=True)
class Building:
    """One room. Capacities J/K, conductances W/K, volume m³, water kg/s, air m³/h."""

    volume_m3: float
    c_air: float
    c_mass: float
    h_inner: float
    h_air: float
    h_wall: float
    coil_ua: float
    water_kg_s: float


class State(NamedTuple):
    """°C, ppm, and the controller's integral and the valve's position, 0..1."""

    air: float
    mass: float
    back: float
    co2: float
    integral: float
    valve: float


class Drive(NamedTuple):
    """What acts on the room in each of n steps, (n,) each. `sign`: 1 heating, -1 cooling. `fan`: share of full airflow.
    `fresh_m3_s`: of outdoor air. Faults as levels 0..1: `held` of the valve, `passing` through it when shut, `fouled` coil."""

    outdoor: NDArray[np.float64]
    gains_w: NDArray[np.float64]
    people: NDArray[np.float64]
    fresh_m3_s: NDArray[np.float64]
    setpoint: NDArray[np.float64]
    sign: NDArray[np.float64]
    supply: NDArray[np.float64]
    fan: NDArray[np.float64]
    held: NDArray[np.float64]
    passing: NDArray[np.float64]
    fouled: NDArray[np.float64]


def step_through(room: Building, first: State, drive: Drive) -> NDArray[np.float64]:
    """(n + 1, 6): the state before each step, and after the last. Explicit Euler: the fastest part takes ten steps and more."""
    course = np.empty((len(drive.outdoor) + 1, len(first)))
    course[0] = first
    air, mass, back, co2, integral, valve = first
    rows = zip(*(column.tolist() for column in drive), strict=True)
    for k, (outdoor, gains_w, people, fresh, setpoint, sign, supply, fan, held, passing, fouled) in enumerate(rows, 1):
        off_k = sign * (setpoint - air)
        integral = min(1.0, max(0.0, integral + off_k * _GAIN_PER_K * STEP_S / _RESET_S))
        asked = min(1.0, max(0.0, _GAIN_PER_K * off_k + integral))
        valve += (1 - held) * min(STEP_S / _TRAVEL_S, 1.0) * (asked - valve)
        water_w_k = room.water_kg_s * _WATER_J_PER_KG_K * max(valve, passing * _PASSES)
        coil_ua = room.coil_ua * fan**0.6 * (1 - 0.6 * fouled)
        if water_w_k > 1.0:
            cooled_k = (1 - math.exp(-coil_ua / water_w_k)) * (supply - air)
            coil_w, leaves = water_w_k * cooled_k, supply - cooled_k
        else:
            coil_w, leaves = 0.0, air
        inner_w = room.h_inner * (mass - air)
        co2 += STEP_S * (people * WORKER_L_PER_S * 1000 + fresh * (OUTDOOR_PPM - co2)) / room.volume_m3
        air, mass = (
            air + STEP_S * (inner_w + room.h_air * (outdoor - air) + coil_w + gains_w) / room.c_air,
            mass + STEP_S * (room.h_wall * (outdoor - mass) - inner_w) / room.c_mass,
        )
        back += STEP_S / _PIPE_TAU_S * (leaves - back)
        course[k] = air, mass, back, co2, integral, valve
    return course
