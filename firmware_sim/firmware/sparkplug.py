"""A Sparkplug B edge node: births, data by alias, deaths, in the protobuf layout of Eclipse Tahu's `sparkplug_b.proto`.

    node = EdgeNode("plant", "edge-1", {"press-7": ("flow", "pressure")})
    node.will()                   NDEATH, to be left with the broker at each connection
    node.births(at_ns)            NBIRTH, then a DBIRTH for each device: names, aliases, types, current values
    node.data("press-7", ...)     DDATA: aliases and values only
    node.device_death("press-7")  DDEATH

Each message has the next sequence number, 0 to 255 and round; a birth of the node starts at 0. Nothing here knows MQTT: see
`links.sparkplug` for the connection.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Final

from firmware_sim.firmware.encoder import Message, Samples

DOUBLE, BOOLEAN, UINT64 = 10, 11, 8  # datatypes
REBIRTH: Final = "Node Control/Rebirth"
_VARINT, _FIXED64, _LENGTH = 0, 1, 2


class EdgeNode:
    """`devices`: the metric names of each device; a metric's channel is the last part of its name.

    `bd_seq`: of the present session; `will` of a new connection takes the next one.
    """

    def __init__(self, group: str, node: str, devices: Mapping[str, Sequence[str]]) -> None:
        self.group = group
        self.node = node
        self.bd_seq = -1
        self._devices = {device: tuple(names) for device, names in devices.items()}
        names = [(device, name) for device, metrics in self._devices.items() for name in metrics]
        self._alias = {who: alias for alias, who in enumerate(names, start=10)}
        self._last = dict.fromkeys(names, math.nan)
        self._seq = 0

    def topic(self, kind: str, device: str = "") -> str:
        """`spBv1.0/{group}/{kind}/{node}`, and `/{device}` where there is one."""
        return "/".join(filter(None, ("spBv1.0", self.group, kind, self.node, device)))

    def will(self) -> Message:
        """The death that the broker publishes when the connection of a new session is lost."""
        self.bd_seq = (self.bd_seq + 1) & 0xFF
        return self.death()

    def death(self) -> Message:
        """The same, said by the node itself when it leaves in good order."""
        return Message(self.topic("NDEATH"), payload([self._bd_metric()]), 0)

    def births(self, at_ns: int) -> list[Message]:
        """All births of a session; the sequence starts anew."""
        self._seq = 0
        control = metric(REBIRTH, datatype=BOOLEAN, value=False)
        messages = [self._message("NBIRTH", "", [self._bd_metric(), control], at_ns)]
        return messages + [self.device_birth(device, at_ns) for device in self._devices]

    def device_birth(self, device: str, at_ns: int) -> Message:
        """What the device has, and its current values (null where it has none yet)."""
        at_ms = at_ns // 1_000_000
        metrics = [
            metric(name, self._alias[device, name], at_ms, DOUBLE, self._last[device, name]) for name in self._devices[device]
        ]
        return self._message("DBIRTH", device, metrics, at_ns)

    def data(self, device: str, at_ns: int, values: Mapping[str, float], historical: bool = False) -> Message:
        """`values` by metric name; NaN = null. `historical`: from an outage; they are not the current values."""
        at_ms = at_ns // 1_000_000
        metrics = [
            metric(alias=self._alias[device, name], at_ms=at_ms, value=value, historical=historical)
            for name, value in values.items()
        ]
        if not historical:
            self._last.update({(device, name): value for name, value in values.items()})
        return self._message("DDATA", device, metrics, at_ns)

    def device_death(self, device: str, at_ns: int) -> Message:
        return self._message("DDEATH", device, [], at_ns)

    def encode(self, samples: Samples) -> list[Message]:
        """Data messages of the device `samples.asset`, one a sample; the births come from `births`."""
        rows = zip(samples.time_ns.tolist(), samples.values.tolist(), strict=True)
        return [self.data(samples.asset, at, dict(zip(samples.channels, row, strict=True))) for at, row in rows]

    def _message(self, kind: str, device: str, metrics: Sequence[bytes], at_ns: int) -> Message:
        seq, self._seq = self._seq, (self._seq + 1) & 0xFF
        return Message(self.topic(kind, device), payload(metrics, at_ns // 1_000_000, seq), at_ns)

    def _bd_metric(self) -> bytes:
        return metric("bdSeq", datatype=UINT64, value=self.bd_seq)


def edge_node(asset: str, channels: Sequence[str]) -> EdgeNode:
    """The edge node of one machine: `plant/edge-ASSET`, with the machine as its only device, its channels the metrics."""
    return EdgeNode("plant", f"edge-{asset}", {asset: channels})


class EdgeMessages:
    """An encoder: the births of one session, then data, one message a sample. For a live session see `links.sparkplug`."""

    samples_per_message = 1

    def __init__(self) -> None:
        self._node: EdgeNode | None = None

    def encode(self, samples: Samples) -> list[Message]:
        """See `Encoder.encode`."""
        births: list[Message] = []
        if self._node is None and len(samples.time_ns):
            self._node = edge_node(samples.asset, samples.channels)
            self._node.will()
            births = self._node.births(int(samples.time_ns[0]))
        return births + self._node.encode(samples) if self._node is not None else []


def payload(metrics: Sequence[bytes], at_ms: int | None = None, seq: int | None = None) -> bytes:
    """A Payload of encoded metrics."""
    parts = [_field(1, at_ms)] if at_ms is not None else []
    parts += [_field(2, each) for each in metrics]
    return b"".join(parts + ([_field(3, seq)] if seq is not None else []))


def metric(
    name: str = "",
    alias: int | None = None,
    at_ms: int | None = None,
    datatype: int | None = None,
    value: float | bool | str = math.nan,
    historical: bool = False,
    quality: int | None = None,
) -> bytes:
    """An encoded Metric; NaN is null. Whole numbers go as `long`, negative ones as the two's complement of 64 bits."""
    parts = [_field(1, name.encode())] if name else []
    parts += [_field(i, v) for i, v in ((2, alias), (3, at_ms), (4, datatype)) if v is not None]
    parts += [_field(5, 1)] if historical else []
    if isinstance(value, float) and math.isnan(value):
        parts.append(_field(7, 1))
    if quality is not None:
        parts.append(_field(9, _field(1, b"Quality") + _field(2, _field(1, 3) + _field(3, quality))))
    if isinstance(value, bool):
        parts.append(_field(14, int(value)))
    elif isinstance(value, str):
        parts.append(_field(15, value.encode()))
    elif isinstance(value, int):
        parts.append(_field(11, value & (1 << 64) - 1))
    elif not math.isnan(value):
        parts.append(_varint(13 << 3 | _FIXED64) + struct.pack("<d", value))
    return b"".join(parts)


def _field(number: int, content: int | bytes) -> bytes:
    if isinstance(content, int):
        return _varint(number << 3 | _VARINT) + _varint(content)
    return _varint(number << 3 | _LENGTH) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
