"""Faults of the line itself, on the bytes and on their order.

torn_frames    a frame loses its tail, delimiter included, so that it runs into the next one: a receiver's overrun. At least
               half of it stays, so that a torn line of text never passes for a shorter good one
merged_frames  a frame loses its delimiter only: two run together
garbage        bytes that nobody sent, between frames
bit_errors     one bit of a frame is wrong. A checksum finds that; a line of text without one may read as another number
baud_mismatch  the receiver listens at another speed: all bytes are wrong
duplicated     a message comes twice, as from a sender that missed the acknowledgement
reordered      a message comes after the one that follows it
unplugged      nothing passes: the cable is out. Over real links the port vanishes, or the connection ends, and comes back
delayed        a message comes up to ten seconds late, behind those sent meanwhile
broker_restart nothing passes, and in the end comes all at once what publishers kept for a broker that was away
retained_junk  somebody once left a message on the topic, with `retain`, that is no reading: it comes first, and again after
               each restart of the broker
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from firmware_sim.faults.fault import Fault
from firmware_sim.firmware.encoder import Message
from firmware_sim.noise import NoiseField
from models.contract.clock import NS_PER_S

_SHARE_STRUCK: Final = 0.5  # at severity 1
_MAX_GARBAGE: Final = 48
_MAX_DELAY_S: Final = 10.0
_RETAINED: Final = b"offline"
_N_STREAMS: Final = 10 + _MAX_GARBAGE
_STREAM: Final = {"merged_frames": 4, "bit_errors": 5, "duplicated": 6, "reordered": 7, "delayed": 8}  # chance of each kind
_SIZE, _GARBAGE = 9, 10  # how late, or where; the bytes of garbage


class FaultyLine:
    """What one line does to the messages that pass over it, in order; deterministic by seed."""

    def __init__(self, seed: int) -> None:
        self._chance = NoiseField(seed, _N_STREAMS, "uniform")
        self._n_passed = 0
        self._held: list[tuple[int, Message]] = []  # what is under way longer, with the event time at which it arrives
        self._kept: list[Message] = []  # what publishers keep while the broker is away
        self._junk_came = False

    def carry(self, messages: Sequence[Message], faults: Sequence[Fault], t0_ns: int) -> list[Message]:
        """The messages as they arrive. `t0_ns`: event time of second 0 of the scenario."""
        if not messages:
            return []
        first_s, last_s = ((m.at_ns - t0_ns) / NS_PER_S for m in (messages[0], messages[-1]))
        active = [fault for fault in faults if fault.touches(first_s, last_s)]
        start, self._n_passed = self._n_passed, self._n_passed + len(messages)
        if not active and not self._held and not self._kept:
            self._junk_came = False
            return list(messages)
        arrived: list[Message] = []
        for number, message in enumerate(messages, start):
            t_s = (message.at_ns - t0_ns) / NS_PER_S
            severity = {fault.kind: fault.level_at(t_s) for fault in active}
            late = [held for at_ns, held in self._held if at_ns <= message.at_ns]
            self._held = [entry for entry in self._held if entry[0] > message.at_ns]
            if severity.get("broker_restart", 0.0) > 0:
                self._kept.append(message)
                self._junk_came = False
                continue
            arrived += [*self._left_at_the_broker(message, severity), *self._in_time(message, number, severity), *late]
        return arrived

    def _left_at_the_broker(self, message: Message, severity: Mapping[str, float]) -> list[Message]:
        """What comes in front of `message`: what was retained on its topic, and what publishers kept."""
        junk = []
        if severity.get("retained_junk", 0.0) > 0:
            junk = [] if self._junk_came else [message._replace(payload=_RETAINED)]
        self._junk_came = severity.get("retained_junk", 0.0) > 0
        kept, self._kept = self._kept, []
        return [*junk, *kept]

    def _in_time(self, message: Message, number: int, severity: Mapping[str, float]) -> list[Message]:
        """What comes of one message when it is due; what comes later is held."""
        if not any(severity.values()):
            return [message]
        if severity.get("unplugged", 0.0) > 0:
            return []
        chance: list[float] = self._chance.one(number).tolist()

        def struck(kind: str) -> bool:
            return chance[_STREAM[kind]] < severity.get(kind, 0.0) * _SHARE_STRUCK

        arrived = [message._replace(payload=self._garbled(message, chance, severity))]
        if struck("duplicated"):
            arrived *= 2
        if chance[2] < severity.get("garbage", 0.0) * _SHARE_STRUCK:
            length = 1 + int(chance[3] * _MAX_GARBAGE)
            arrived.insert(0, message._replace(payload=bytes(int(c * 256) for c in chance[_GARBAGE : _GARBAGE + length])))
        if not struck("delayed") and not struck("reordered"):
            return arrived
        delay_s = chance[_SIZE] * _MAX_DELAY_S if struck("delayed") else 0.0
        at_ns = message.at_ns + max(1, round(delay_s * NS_PER_S))  # at the least, behind the next one
        self._held += [(at_ns, held) for held in arrived]
        return []

    def _garbled(self, message: Message, chance: Sequence[float], severity: Mapping[str, float]) -> bytes:
        payload = message.payload
        if chance[0] < severity.get("torn_frames", 0.0) * _SHARE_STRUCK:
            payload = payload[: max(1, int((0.5 + 0.4 * chance[1]) * len(payload)))]
        elif chance[_STREAM["merged_frames"]] < severity.get("merged_frames", 0.0) * _SHARE_STRUCK:
            payload = payload[:-1]
        if chance[_STREAM["bit_errors"]] < severity.get("bit_errors", 0.0) * _SHARE_STRUCK:
            payload = _flipped(payload, chance[_SIZE])
        if severity.get("baud_mismatch", 0.0) > 0:
            payload = bytes((byte >> 1 | (byte & 1) << 7) ^ 0x55 for byte in payload)
        return payload


def _flipped(payload: bytes, where: float) -> bytes:
    """One bit wrong before the last byte, and no delimiter made: the frame stays a frame."""
    changed = bytearray(payload)
    i = int(where * max(1, len(payload) - 1))
    changed[i] = next(payload[i] ^ bit for bit in (0x01, 0x04, 0x10) if payload[i] ^ bit not in (0x00, 0x0A))
    return bytes(changed)
