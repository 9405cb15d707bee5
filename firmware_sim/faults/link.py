"""Faults of the line itself, on the bytes: torn frames, and garbage between frames.

A torn frame loses its tail, delimiter included, so that it runs into the next one: that is what a receiver's overrun
does. At least half of it stays, so that a torn line of text never passes for a shorter good one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from firmware_sim.faults.fault import Fault
from firmware_sim.firmware.encoder import Message
from firmware_sim.noise import NoiseField
from models.contract.clock import NS_PER_S

_SHARE_STRUCK: Final = 0.5  # at severity 1
_MAX_GARBAGE: Final = 48
_N_STREAMS: Final = 4 + _MAX_GARBAGE


class FaultyLine:
    """What one line does to the messages that pass over it, in order; deterministic by seed."""

    def __init__(self, seed: int) -> None:
        self._chance = NoiseField(seed, _N_STREAMS, "uniform")
        self._n_passed = 0

    def carry(self, messages: Sequence[Message], faults: Sequence[Fault], t0_ns: int) -> list[Message]:
        """The messages as they arrive. `t0_ns`: event time of second 0 of the scenario."""
        if not messages:
            return []
        first_s, last_s = ((m.at_ns - t0_ns) / NS_PER_S for m in (messages[0], messages[-1]))
        active = [fault for fault in faults if fault.touches(first_s, last_s)]
        start, self._n_passed = self._n_passed, self._n_passed + len(messages)
        if not active:
            return list(messages)
        arrived: list[Message] = []
        for number, message in enumerate(messages, start):
            arrived += self._struck(message, number, active, (message.at_ns - t0_ns) / NS_PER_S)
        return arrived

    def _struck(self, message: Message, number: int, faults: Sequence[Fault], t_s: float) -> list[Message]:
        chance = self._chance.one(number)
        severity = {fault.kind: fault.level_at(t_s) for fault in faults}
        payload = message.payload
        if chance[0] < severity.get("torn_frames", 0.0) * _SHARE_STRUCK:
            kept = 0.5 + 0.4 * chance[1]
            payload = payload[: max(1, int(kept * len(payload)))]
        arrived = [message._replace(payload=payload)]
        if chance[2] < severity.get("garbage", 0.0) * _SHARE_STRUCK:
            length = 1 + int(chance[3] * _MAX_GARBAGE)
            arrived.insert(0, message._replace(payload=bytes((chance[4 : 4 + length] * 256).astype("u1"))))
        return arrived
