"""Lines of text on a serial line: JSON objects, or comma-separated values."""

from __future__ import annotations

import json
import math

from firmware_sim.firmware.encoder import Message, Samples, number, present, unix_s


class JsonLines:
    """`{"t": 1700000000.200000, "asset": "pump-1", "flow": 51.2, …}`, absent channels left out, one sample a line."""

    samples_per_message = 1

    def encode(self, samples: Samples) -> list[Message]:
        """See `Encoder.encode`."""
        asset = json.dumps(samples.asset)
        keys = [f", {json.dumps(channel)}: " for channel in samples.channels]
        messages = []
        for at_ns, row in zip(samples.time_ns.tolist(), samples.values.tolist(), strict=True):
            if present(row):
                fields = "".join(key + number(v) for key, v in zip(keys, row, strict=True) if math.isfinite(v))
                messages.append(Message("", f'{{"t": {unix_s(at_ns)}, "asset": {asset}{fields}}}\n'.encode(), at_ns))
        return messages


class CsvLines:
    """`1700000000.200000,51.2,3.21,…`: the time, then the channels in order, absent ones empty, one sample a line."""

    samples_per_message = 1

    def encode(self, samples: Samples) -> list[Message]:
        """See `Encoder.encode`."""
        messages = []
        for at_ns, row in zip(samples.time_ns.tolist(), samples.values.tolist(), strict=True):
            if present(row):
                fields = ",".join(number(v) if math.isfinite(v) else "" for v in row)
                messages.append(Message("", f"{unix_s(at_ns)},{fields}\n".encode(), at_ns))
        return messages
