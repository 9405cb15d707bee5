"""Which format speaks over which link, and the encoder for it."""

from __future__ import annotations

from typing import Final, Literal

from firmware_sim.firmware.binary import CobsFrames
from firmware_sim.firmware.encoder import Encoder
from firmware_sim.firmware.lines import CsvLines, JsonLines
from firmware_sim.firmware.mqtt import ONE_CHANNEL_TOPIC, WHOLE_ASSET_TOPIC, ChannelMessages, ObjectMessages, SenmlPacks

LinkKind = Literal["serial", "mqtt"]
FORMATS: Final[dict[LinkKind, tuple[str, ...]]] = {
    "serial": ("jsonl", "csv", "cobs"),
    "mqtt": ("senml", "object", "json", "number"),
}


def make_encoder(form: str, n_channels: int, samples_per_message: int = 10, topic: str | None = None) -> Encoder:
    """The encoder of format `form`, one of FORMATS. `topic`: template for the MQTT formats, None = the usual one."""
    if form == "jsonl":
        return JsonLines()
    if form == "csv":
        return CsvLines()
    if form == "cobs":
        return CobsFrames(n_channels, samples_per_message)
    if form == "senml":
        return SenmlPacks(samples_per_message, topic or WHOLE_ASSET_TOPIC)
    if form == "object":
        return ObjectMessages(topic or WHOLE_ASSET_TOPIC)
    return ChannelMessages("json" if form == "json" else "number", topic or ONE_CHANNEL_TOPIC)
