"""A publisher that costs little: messages encoded beforehand, written to a socket in bulk, at a rate or as fast as they go.

Run as a process of its own: `python -m benchmarks.mqtt_load PORT PLAN`, where PLAN is the `Load` as JSON; when the broker has
acknowledged everything it prints what it sent. It speaks MQTT 3.1.1 at QoS 1.
"""

from __future__ import annotations

import select
import socket
import struct
import sys
import time
from collections.abc import Iterator
from itertools import islice

import msgspec
import numpy as np

_MAX_AHEAD = 20_000  # messages that the broker has not acknowledged
_MOST = 8_000_000  # readings, where no rate says how many; more than anybody takes in ten seconds
_CONNECT = b"\x10\x10\x00\x04MQTT\x04\x02\x00\x00\x00\x04load"


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """Readings of `n_assets` assets with `n_channels` channels at `rate_hz`, `block` of them a message, from `start_ns` on.

    `messages_per_s`: 0 = as fast as the broker takes them. `seconds`: how long. Event time runs as the rates make it run.
    """

    n_assets: int
    n_channels: int
    rate_hz: float
    start_ns: int
    messages_per_s: float
    seconds: float
    block: int = 1

    @property
    def topics(self) -> list[str]:
        return [f"plant/asset-{a}/c{c}" for a in range(self.n_assets) for c in range(self.n_channels)]


class Sent(msgspec.Struct, frozen=True):
    """`started_s`: monotonic, of the first message. `end_ns`: event time of the last reading."""

    messages: int
    started_s: float
    end_ns: int


def packets(load: Load) -> Iterator[bytes]:
    """PUBLISH packets without end: every topic in turn, then the next sample of each."""
    heads = [struct.pack("!H", len(topic)) + topic for topic in map(str.encode, load.topics)]
    values = 5 + np.random.default_rng(7).standard_normal((len(heads), 997)) * 0.2
    period_ms = 1000 / load.rate_hz
    mid = sample = 0
    while True:
        at_ms = load.start_ns / 1e6 + (1 + sample * load.block) * period_ms
        for i, head in enumerate(heads):
            mid = mid % 65_535 + 1
            body = head + mid.to_bytes(2, "big") + _payload(values[i], sample * load.block, at_ms, period_ms, load.block)
            yield b"\x32" + _length(len(body)) + body
        sample += 1


def _payload(values: np.ndarray, first: int, at_ms: float, period_ms: float, block: int) -> bytes:
    if block == 1:
        return b'{"t_ms": %d, "value": %.4f, "unit": "mm/s", "quality": "good"}' % (at_ms, values[first % 997])
    numbers = ",".join(f"{v:.4f}" for v in np.take(values, range(first, first + block), mode="wrap"))
    return b'{"t_ms": %d, "period_ms": %g, "values": [%b]}' % (at_ms, period_ms, numbers.encode())


def _length(n: int) -> bytes:
    encoded = b""
    while True:
        n, low = divmod(n, 128)
        encoded += bytes([low | 0x80 if n else low])
        if not n:
            return encoded


def publish(port: int, load: Load) -> Sent:
    """Send `load`; returns once the broker has acknowledged all of it."""
    n_planned = round(load.messages_per_s * load.seconds) or None
    ready = list(islice(packets(load), n_planned or min(600_000, _MOST // load.block)))
    sock = socket.create_connection(("127.0.0.1", port))
    sock.sendall(_CONNECT)
    assert sock.recv(4) == b"\x20\x02\x00\x00"
    sock.setblocking(False)
    out, n_sent, n_acked = bytearray(), 0, 0
    started = time.monotonic()
    while True:
        now_s = time.monotonic() - started
        due = n_planned if now_s >= load.seconds and n_planned else round(now_s * load.messages_per_s)
        if not n_planned:
            due = len(ready) if now_s < load.seconds else n_sent
        upto = min(due, n_acked + _MAX_AHEAD, n_sent + 2000, len(ready))
        out += b"".join(ready[n_sent:upto])
        n_sent = max(n_sent, upto)
        if now_s >= load.seconds and not out and n_acked >= n_sent:
            break
        select.select([sock], [sock] if out else [], [], 0.002)
        try:
            n_acked += len(sock.recv(1 << 18)) // 4
            del out[: sock.send(out)]
        except BlockingIOError:
            if out:
                try:
                    del out[: sock.send(out)]
                except BlockingIOError:
                    continue
    n_samples = n_sent // len(load.topics) * load.block
    end_ns = load.start_ns + round(n_samples / load.rate_hz * 1e9)
    sock.close()
    return Sent(n_sent, started, end_ns)


if __name__ == "__main__":
    sent = publish(int(sys.argv[1]), msgspec.json.decode(sys.argv[2], type=Load))
    print(msgspec.json.encode(sent).decode(), flush=True)
