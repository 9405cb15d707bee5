"""Which format speaks over which link, and the encoder for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

from firmware_sim.firmware.binary import CobsFrames
from firmware_sim.firmware.encoder import Encoder
from firmware_sim.firmware.lines import CsvLines, JsonLines
from firmware_sim.firmware.mqtt import ONE_CHANNEL_TOPIC, WHOLE_ASSET_TOPIC, ChannelMessages, ObjectMessages, SenmlPacks
from firmware_sim.firmware.registers import RegisterImages
from firmware_sim.firmware.sparkplug import EdgeMessages

LinkKind = Literal["serial", "mqtt", "modbus"]
FORMATS: Final[dict[LinkKind, tuple[str, ...]]] = {  # of one-way streams: what is written is what is read
    "serial": ("jsonl", "csv", "cobs"),
    "mqtt": ("senml", "object", "json", "number"),
}
ALL_FORMATS: Final[dict[LinkKind, tuple[str, ...]]] = {  # and of firmware that also answers
    "serial": FORMATS["serial"],
    "mqtt": (*FORMATS["mqtt"], "sparkplug"),
    "modbus": ("tcp", "rtu"),
}


def make_encoder(form: str, n_channels: int, samples_per_message: int = 10, topic: str | None = None) -> Encoder:
    """The encoder of format `form`, one of ALL_FORMATS. `topic`: template for the MQTT formats, None = the usual one."""
    whole, single = topic or WHOLE_ASSET_TOPIC, topic or ONE_CHANNEL_TOPIC
    makers: dict[str, Callable[[], Encoder]] = {
        "jsonl": JsonLines,
        "csv": CsvLines,
        "cobs": lambda: CobsFrames(n_channels, samples_per_message),
        "senml": lambda: SenmlPacks(samples_per_message, whole),
        "object": lambda: ObjectMessages(whole),
        "json": lambda: ChannelMessages("json", single),
        "number": lambda: ChannelMessages("number", single),
        "sparkplug": EdgeMessages,
        "tcp": RegisterImages,
        "rtu": RegisterImages,
    }
    return makers[form]()
