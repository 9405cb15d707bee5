"""A node: one machine, its sensors and its firmware. It turns event time into messages; it has no clock and no wire.

    asset physics -> sensor faults -> encoder -> line faults -> messages

Invariants:
1. Only whole messages: samples wait until they fill one up. So the same scenario gives the same bytes, whether it is
   played at once or in ticks.
2. Time runs forwards: a fault injected now touches only samples that have not been taken yet.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from firmware_sim.assets.catalog import ASSETS, MACHINE_FAULTS
from firmware_sim.faults.catalog import FIRMWARE_FAULTS, LINK_FAULTS, SENSOR_FAULTS, culprit_of, default_ramp_s
from firmware_sim.faults.clock import set_back_s
from firmware_sim.faults.fault import Fault
from firmware_sim.faults.link import FaultyLine
from firmware_sim.faults.sensor import Line
from firmware_sim.firmware.catalog import make_encoder
from firmware_sim.firmware.encoder import Encoder, Message, Samples
from firmware_sim.noise import NoiseField
from firmware_sim.operation.ageing import worn
from firmware_sim.operation.operation import USUAL, Operation
from firmware_sim.scenario import AssetPlan, check_fault
from firmware_sim.truth import TruthEvent, maintenance_of, truth_of
from models.contract.clock import NS_PER_S
from models.contract.profile import Channel
from models.errors import ConfigError

_MAX_SAMPLES_AT_ONCE = 4096


class Node:
    """`t0_ns`: event time of second 0. `faults`: what is planned; more can be injected while it plays. `encoder`: None = as the
    plan says. `operation`: how the machine is run."""

    def __init__(
        self,
        plan: AssetPlan,
        seed: int,
        faults: list[Fault],
        t0_ns: int,
        encoder: Encoder | None = None,
        operation: Operation = USUAL,
    ) -> None:
        self.plan = plan
        self.faults = list(faults)
        self._t0_ns = t0_ns
        self._rate_hz = plan.sampled_hz
        self._asset = ASSETS[plan.profile](seed, self._rate_hz, operation)
        self._off = operation.off
        renewed_s = [start_s for start_s, _ in operation.off]
        self._wear = [] if plan.age_days is None else worn(self._asset.wear_per_year, plan.age_days, renewed_s)
        self._channels = self._asset.profile.channels
        self._names = tuple(self._asset.profile.channel_names)
        self._encoder = encoder or make_encoder(plan.form, len(self._names), plan.samples_per_message)
        self._line = FaultyLine(seed * 11 + 1)
        self._chance = NoiseField(seed * 11 + 2, len(self._names), "uniform")
        self._read: dict[tuple[str, int], float] = {}  # what stuck sensors hold, by channel and sample
        self._n_taken = 0

    @property
    def channels(self) -> tuple[str, ...]:
        return self._names

    @property
    def next_s(self) -> float:
        """Scenario time of the next sample to be taken."""
        return self._n_taken / self._rate_hz

    def due(self, until_s: float) -> list[Message]:
        """The messages that are complete by scenario time `until_s`, and were not given out before."""
        messages: list[Message] = []
        whole = self._encoder.samples_per_message
        n = (math.floor(until_s * self._rate_hz + 1e-9) + 1 - self._n_taken) // whole * whole
        while n > 0:
            take = whole if self._of(FIRMWARE_FAULTS) else min(n, max(1, _MAX_SAMPLES_AT_ONCE // whole) * whole)
            samples = self.take(take)
            messages += self._line.carry(self._encoder.encode(samples), self._of(LINK_FAULTS), self._t0_ns)
            n -= take
        return messages

    def take(self, n: int) -> Samples:
        """The next `n` samples as the sensors give them, broken ones included; more at a fast rate."""
        k = np.arange(self._n_taken, self._n_taken + n, dtype=np.int64)
        self._n_taken += n
        t_s = k / self._rate_hz
        readings = self._asset.simulate(t_s, self._of_machine())
        values = np.stack([readings[name] for name in self._names], axis=1)
        self._break_sensors(k, t_s, values)
        t_s, values = self._sample_faster(t_s, values)
        behind_s = sum((set_back_s(t_s, fault) for fault in self._of(["time"])), np.zeros(len(t_s)))
        time_ns = self._t0_ns + np.rint((t_s - behind_s) * NS_PER_S).astype(np.int64)
        return Samples(self.plan.name, self._names, time_ns, values)

    def _sample_faster(self, t_s: NDArray[np.float64], values: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        """Where `fast_rate` is on, each sample comes again half a period later; the machine has hardly moved meanwhile."""
        again = np.zeros(len(t_s), dtype=bool)
        for fault in self._of(["fast_rate"]):
            again |= fault.active(t_s)
        order = np.repeat(np.arange(len(t_s)), 1 + again)
        half = np.append(False, order[1:] == order[:-1]) / (2 * self._rate_hz)
        return t_s[order] + half, values[order]

    def inject(self, kind: str, severity: float = 1.0, channel: str | None = None, ramp_s: float | None = None) -> Fault:
        """Begin a fault with the next sample. Raises ConfigError where this asset has no such fault or channel."""
        check_fault(self.plan, kind, channel, self.plan.name)
        if not 0 <= severity <= 1:
            raise ConfigError(f"{self.plan.name}.severity", f"a number from 0 to 1, not {severity:g}")
        if ramp_s is None:
            ramp_s = default_ramp_s(kind, culprit_of(kind, self.plan.profile))
        fault = Fault(kind, self.next_s, severity=severity, ramp_s=ramp_s, channel=channel)
        self.faults.append(fault)
        return fault

    def clear(self, kind: str | None = None) -> int:
        """End what is wrong now, or only faults of `kind`; how many were ended. What is planned for later stays."""
        now_s = self.next_s
        ending = [f for f in self.faults if kind in (None, f.kind) and f.start_s <= now_s < f.end_s]
        for fault in ending:
            self.faults.remove(fault)
            if fault.start_s < now_s:  # else no sample has seen it: it never was
                self.faults.append(replace(fault, end_s=now_s))
        return len(ending)

    def unplugged(self, t_s: float) -> bool:
        """Whether its cable is out at this scenario time."""
        return any(fault.start_s <= t_s < fault.end_s for fault in self._of(["unplugged"]))

    def truth(self) -> list[TruthEvent]:
        """What is and was wrong, and what is planned; the maintenance too."""
        maintained = [maintenance_of(self.plan.name, span, self._t0_ns) for span in self._off]
        return [*maintained, *truth_of(self.plan.name, self.plan.profile, self.faults, self._t0_ns)]

    def _of_machine(self) -> list[Fault]:
        """What was done to the machine, and its wear."""
        return [*self._of(MACHINE_FAULTS[self.plan.profile]), *self._wear]

    def _of(self, kinds: Collection[str]) -> list[Fault]:
        return [fault for fault in self.faults if fault.kind in kinds]

    def _break_sensors(self, k: NDArray[np.int64], t_s: NDArray[np.float64], values: NDArray[np.float64]) -> None:
        """Change the columns of `values` that a sensor fault is on."""
        active = [f for f in self.faults if f.kind in SENSOR_FAULTS and f.touches(float(t_s[0]), float(t_s[-1]))]
        if not active:
            return
        chance = self._chance.at(k)
        for fault in active:
            for i, channel in enumerate(self._channels):
                if fault.channel in (None, channel.name):
                    line = self._sensor_line(channel, chance[i])
                    values[:, i] = SENSOR_FAULTS[fault.kind](values[:, i], t_s, fault, line)

    def _sensor_line(self, channel: Channel, chance: NDArray[np.float64]) -> Line:
        def reading_at(t_s: float) -> float:
            k = math.floor(t_s * self._rate_hz + 1e-9)
            if (channel.name, k) not in self._read:
                readings = self._asset.simulate(np.array([k / self._rate_hz]), self._of_machine())
                self._read[channel.name, k] = float(readings[channel.name][0])
            return self._read[channel.name, k]

        low = 0.0 if channel.min is None else channel.min
        high = low + 1.0 if channel.max is None else channel.max
        return Line(low, high, self._rate_hz, reading_at, chance, channel.unit)
