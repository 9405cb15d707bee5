"""What a person writes about a source. Importing this loads no driver, so that a configuration is checked cheaply."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from models.contract.names import Name

Timestamps = Literal["device", "arrival"]
PayloadKind = Literal["auto", "number", "json", "senml"]
IGNORED: str = "_"  # a column that is read over
TIME_KEYS: tuple[str, ...] = ("t", "t_ms", "t_ns")


class SourceConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all have. Unknown keys are rejected: a misspelt key must not silently mean the default."""

    name: Name


class SerialConfig(SourceConfig, frozen=True, kw_only=True):
    """A serial line.

    `columns`: for csv and cobs, what each column holds: a channel, `_` for one to ignore, or in csv one of `t` (Unix s),
    `t_ms`, `t_ns`. `asset`: whose readings these are; JSON lines may name it themselves instead.
    `timestamps`: `device` takes the times in the data and falls back to arrival; `arrival` never looks at them.
    """

    port: Annotated[str, Meta(min_length=1)]
    baud: Annotated[int, Meta(ge=50, le=12_000_000)] = 115_200
    format: Literal["jsonl", "csv", "cobs"] = "jsonl"
    asset: Name | None = None
    columns: tuple[str, ...] = ()
    separator: Literal[",", ";", "\t", " "] = ","
    timestamps: Timestamps = "device"

    def __post_init__(self) -> None:
        if self.format == "jsonl":
            if self.columns:
                raise ValueError("columns: JSON lines name their channels themselves; leave it out, or set format")
            return
        if not self.columns or self.asset is None:
            raise ValueError(f"format {self.format} needs asset and columns")
        times = [column for column in self.columns if column in TIME_KEYS]
        if times and self.format == "cobs":
            raise ValueError(f"columns: a cobs frame carries its time in its header; leave out {times[0]!r}")
        named = [column for column in self.columns if column != IGNORED]
        if len(times) > 1 or len(set(named)) < len(named):
            raise ValueError("columns: each channel once, and at most one of t, t_ms, t_ns")


class TopicRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A topic template with what the topic itself does not say: `{topic = "boiler/t1", asset = "boiler", channel = "t"}`."""

    topic: str
    asset: Name | None = None
    channel: Name | None = None


class MqttConfig(SourceConfig, frozen=True, kw_only=True):
    """Topics of a broker; see `topics` and `payload` for templates and payloads.

    `client_id`: stable, because the broker keeps the session under it; None = `tocsin-<device>-<name>`.
    `password_file`: its first line is the password; read at each connect, so that it can be renewed in place.
    `ca_file`: PEM of who signs the broker's certificate; None = the system's. It switches TLS on by itself.
    `keepalive_s`: see `mqtt` for what it bounds.
    """

    topics: Annotated[tuple[str | TopicRule, ...], Meta(min_length=1, max_length=100)]
    host: Annotated[str, Meta(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Meta(ge=1, le=65535)] = 1883
    payload: PayloadKind = "auto"
    client_id: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    username: str | None = None
    password_file: str | None = None
    tls: bool = False
    ca_file: str | None = None
    protocol: Literal["3.1.1", "5"] = "3.1.1"
    keepalive_s: Annotated[int, Meta(ge=5, le=3600)] = 60
    timestamps: Timestamps = "device"

    def __post_init__(self) -> None:
        if self.password_file is not None and self.username is None:
            raise ValueError("password_file needs username")

    @property
    def uses_tls(self) -> bool:
        return self.tls or self.ca_file is not None


class HostConfig(SourceConfig, frozen=True, kw_only=True):
    """This machine's own sensors, as an asset of the profile `host`."""

    name: Name = "host"
    asset: Name = "host"
    interval_s: Annotated[float, Meta(ge=0.1, le=3600)] = 1.0
