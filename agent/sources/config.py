"""What a person writes about a source. Importing this loads no driver, so that a configuration is checked cheaply."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from models.contract.names import Name

Timestamps = Literal["device", "arrival"]
PayloadKind = Literal["auto", "number", "json", "senml", "sparkplug"]
IGNORED: str = "_"  # a column that is read over
TIME_KEYS: tuple[str, ...] = ("t", "t_ms", "t_ns")


class SourceConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all have. Unknown keys are rejected: a misspelt key must not silently mean the default."""

    name: Name


class SerialConfig(SourceConfig, frozen=True, kw_only=True):
    """A serial line.

    `port`: a path, or a pattern (`/dev/ttyUSB*`) that one port alone matches; looked for anew at each attempt.
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


class SparkplugAsset(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A Sparkplug edge node's or device's metrics, as an asset: `{id = "plant/edge-1/press-7", asset = "press-7"}`.

    `id`: `group/node` for the node's own metrics, `group/node/device` for those of a device.
    `metrics`: channel by metric name. A metric that is not in it goes to the channel that is called as the last part of
    its name (after `/`), where there is one.
    """

    id: Annotated[str, Meta(max_length=500)]
    asset: Name
    metrics: dict[str, Name] = {}

    def __post_init__(self) -> None:
        levels = self.id.split("/")
        if not 2 <= len(levels) <= 3 or not all(levels) or set(self.id) & set("+#\0"):
            raise ValueError(f"id: 'group/node' or 'group/node/device', not {self.id!r}")


class MqttConfig(SourceConfig, frozen=True, kw_only=True):
    """Topics of a broker; see `topics` and `payload` for templates and payloads.

    `client_id`: stable, because the broker keeps the session under it; None = `tocsin-<device>-<name>`.
    `password_file`: its first line is the password; read at each connect, so that it can be renewed in place.
    `ca_file`: PEM of who signs the broker's certificate; None = the system's. It switches TLS on by itself.
    `keepalive_s`: see `mqtt` for what it bounds.
    `sparkplug`: for the payload of that name, instead of topics: whose metrics are which asset's. `rebirth`: ask a node for
    its births where a message of it is missing. `hold`: a metric that a message leaves out is still what it was. See
    `sparkplug`.
    """

    topics: Annotated[tuple[str | TopicRule, ...], Meta(max_length=100)] = ()
    host: Annotated[str, Meta(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Meta(ge=1, le=65535)] = 1883
    payload: PayloadKind = "auto"
    client_id: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    username: str | None = None
    password_file: str | None = None
    tls: bool = False
    ca_file: str | None = None
    protocol: Literal["auto", "5", "3.1.1"] = "auto"
    max_inflight: Annotated[int, Meta(ge=1, le=65_535)] | None = None
    keepalive_s: Annotated[int, Meta(ge=5, le=3600)] = 60
    timestamps: Timestamps = "device"
    sparkplug: Annotated[tuple[SparkplugAsset, ...], Meta(max_length=100)] = ()
    rebirth: bool = True
    hold: bool = False

    def __post_init__(self) -> None:
        self._check_what_is_read()
        if self.password_file is not None and self.username is None:
            raise ValueError("password_file needs username")

    def _check_what_is_read(self) -> None:
        if self.payload != "sparkplug":
            if not self.topics:
                raise ValueError("topics: at least one, such as 'plant/{asset}/{channel}'")
            if self.sparkplug:
                raise ValueError("sparkplug: only with payload = 'sparkplug'")
            return
        if self.topics or not self.sparkplug:
            raise ValueError("payload sparkplug: set sparkplug = [{id, asset}]; its topics follow from that")
        if len({each.id for each in self.sparkplug}) < len(self.sparkplug):
            raise ValueError("sparkplug: each id once")

    @property
    def uses_tls(self) -> bool:
        return self.tls or self.ca_file is not None


class HostConfig(SourceConfig, frozen=True, kw_only=True):
    """This machine's own sensors, as an asset of the profile `host`."""

    name: Name = "host"
    asset: Name = "host"
    interval_s: Annotated[float, Meta(ge=0.1, le=3600)] = 1.0


class Register(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A value of a Modbus device: one register, or two for the types of 32 bits.

    `address`: as on the wire, from 0; a manual's 40001 is address 0 of function 3, its 30001 address 0 of function 4.
    `function`: 3 = holding registers, 4 = input registers. `word_order`: whether the high or the low word comes first.
    The reading is `raw * scale + offset`. `asset`, `unit`: None = the source's.
    """

    channel: Name
    address: Annotated[int, Meta(ge=0, le=65535)]
    type: Literal["int16", "uint16", "int32", "uint32", "float32"] = "uint16"
    function: Literal[3, 4] = 3
    word_order: Literal["big", "little"] = "big"
    scale: float = 1.0
    offset: float = 0.0
    asset: Name | None = None
    unit: Annotated[int, Meta(ge=0, le=255)] | None = None

    def __post_init__(self) -> None:
        if self.address + self.words > 65536:
            raise ValueError("address: the value would end beyond register 65535")

    @property
    def words(self) -> int:
        return 2 if self.type in ("int32", "uint32", "float32") else 1


class ModbusConfig(SourceConfig, frozen=True, kw_only=True):
    """A Modbus device or line, polled: `host` for TCP, or `serial_port` for RTU. Needs the extra `tocsin[modbus]`.

    Devices that share a serial line are one source: give each register its `unit`.
    `timeout_s`: for a connection and for each answer. `max_gap`: registers that nobody wants may be read along, up to
    that many in a row, to save a request; 0 where a device refuses what lies between.
    """

    registers: Annotated[tuple[Register, ...], Meta(min_length=1, max_length=1000)]
    host: Annotated[str, Meta(min_length=1)] | None = None
    port: Annotated[int, Meta(ge=1, le=65535)] = 502
    serial_port: Annotated[str, Meta(min_length=1)] | None = None
    baud: Annotated[int, Meta(ge=50, le=12_000_000)] = 19_200
    parity: Literal["none", "even", "odd"] = "even"
    stop_bits: Literal[1, 2] = 1
    unit: Annotated[int, Meta(ge=0, le=255)] = 1
    asset: Name | None = None
    interval_s: Annotated[float, Meta(ge=0.02, le=3600)] = 1.0
    timeout_s: Annotated[float, Meta(ge=0.05, le=10)] = 1.0
    max_gap: Annotated[int, Meta(ge=0, le=120)] = 0

    def __post_init__(self) -> None:
        if (self.host is None) == (self.serial_port is None):
            raise ValueError("host for Modbus TCP, or serial_port for Modbus RTU: one of the two")
        named = [(register.asset or self.asset, register.channel) for register in self.registers]
        if any(asset is None for asset, _ in named):
            raise ValueError("asset: say it for the source, or for each of its registers")
        if len(set(named)) < len(named):
            raise ValueError("registers: each channel of an asset once")


class SysfsSensor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A channel and the kernel's sensor for it: `{channel = "temperature", sensor = "cpu_thermal/temp1"}`.

    `sensor`: `chip/sensor`, a pattern with `*` and `?`; see `sysfs` for what chips and sensors are called, and for units.
    The reading is `value * scale + offset`.
    """

    channel: Name
    sensor: Annotated[str, Meta(max_length=200)]
    scale: float = 1.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        levels = self.sensor.split("/")
        if len(levels) != 2 or not all(levels):
            raise ValueError(f"sensor: 'chip/sensor', such as 'cpu_thermal/temp1', not {self.sensor!r}")


class SysfsConfig(SourceConfig, frozen=True, kw_only=True):
    """Sensors of the Linux kernel (hwmon, IIO): of this machine, or wired to it and mounted on another."""

    asset: Name
    sensors: Annotated[tuple[SysfsSensor, ...], Meta(min_length=1, max_length=64)]
    interval_s: Annotated[float, Meta(ge=0.01, le=3600)] = 1.0
    hwmon_root: str = "/sys/class/hwmon"
    iio_root: str = "/sys/bus/iio/devices"

    def __post_init__(self) -> None:
        if len({sensor.channel for sensor in self.sensors}) < len(self.sensors):
            raise ValueError("sensors: each channel once")
