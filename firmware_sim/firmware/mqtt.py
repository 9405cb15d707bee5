"""MQTT payloads in the styles that devices in the field use. A topic template names `{asset}` and, where a message
carries one channel, `{channel}`.

    number   plant/pump-1/flow   51.2                                   no time: it is dated by its arrival
    json     plant/pump-1/flow   {"t": 1700000000.200000, "value": 51.2}
    object   plant/pump-1        {"t": 1700000000.200000, "flow": 51.2, …}
    senml    plant/pump-1        [{"bn":"pump-1/","bt":1700000000.2,"n":"flow","v":51.2}, …]   RFC 8428, many samples a pack
"""

from __future__ import annotations

import json
import math
from typing import Final, Literal

from firmware_sim.firmware.encoder import Message, Samples, number, present, unix_s

ONE_CHANNEL_TOPIC: Final = "plant/{asset}/{channel}"
WHOLE_ASSET_TOPIC: Final = "plant/{asset}"


class ChannelMessages:
    """One message a channel and sample; a sample's absent channels are not published."""

    samples_per_message = 1

    def __init__(self, style: Literal["number", "json"], topic: str = ONE_CHANNEL_TOPIC) -> None:
        self._timed = style == "json"
        self._topic = topic

    def encode(self, samples: Samples) -> list[Message]:
        """See `Encoder.encode`."""
        topics = [fill(self._topic, samples.asset, channel) for channel in samples.channels]
        messages = []
        for at_ns, row in zip(samples.time_ns.tolist(), samples.values.tolist(), strict=True):
            for topic, value in zip(topics, row, strict=True):
                if math.isfinite(value):
                    text = f'{{"t": {unix_s(at_ns)}, "value": {number(value)}}}' if self._timed else number(value)
                    messages.append(Message(topic, text.encode(), at_ns))
        return messages


class ObjectMessages:
    """One JSON object a sample, its keys the channels."""

    samples_per_message = 1

    def __init__(self, topic: str = WHOLE_ASSET_TOPIC) -> None:
        self._topic = topic

    def encode(self, samples: Samples) -> list[Message]:
        """See `Encoder.encode`."""
        topic = fill(self._topic, samples.asset)
        messages = []
        for at_ns, row in zip(samples.time_ns.tolist(), samples.values.tolist(), strict=True):
            if present(row):
                pairs = zip(samples.channels, row, strict=True)
                fields = "".join(f", {json.dumps(c)}: {number(v)}" for c, v in pairs if math.isfinite(v))
                messages.append(Message(topic, f'{{"t": {unix_s(at_ns)}{fields}}}'.encode(), at_ns))
        return messages


class SenmlPacks:
    """A pack of several samples: times relative to its base time, which is the first sample's."""

    def __init__(self, samples_per_message: int = 10, topic: str = WHOLE_ASSET_TOPIC) -> None:
        self.samples_per_message = samples_per_message
        self._topic = topic

    def encode(self, samples: Samples) -> list[Message]:
        """See `Encoder.encode`."""
        topic = fill(self._topic, samples.asset)
        names = [json.dumps(channel) for channel in samples.channels]
        times, rows = samples.time_ns.tolist(), samples.values.tolist()
        messages = []
        for start in range(0, len(times), self.samples_per_message):
            base_ns = times[start]
            records = []
            for at_ns, row in zip(times[start:][: self.samples_per_message], rows[start:], strict=False):
                t = (at_ns - base_ns) / 1e9
                at = f'"t":{number(round(t, 6))},' if at_ns != base_ns else ""
                records += [f'{at}"n":{n},"v":{number(v)}' for n, v in zip(names, row, strict=True) if math.isfinite(v)]
            if records:
                base = f'"bn":{json.dumps(samples.asset + "/")},"bt":{unix_s(base_ns)},'
                pack = "[{" + base + "},{".join(records) + "}]"
                messages.append(Message(topic, pack.encode(), base_ns))
        return messages


def fill(topic: str, asset: str, channel: str = "") -> str:
    """The topic template with its placeholders filled in."""
    return topic.replace("{asset}", asset).replace("{channel}", channel)
