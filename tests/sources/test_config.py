"""What a person may write about a source, and what is said where it does not fit."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from agent.sources.config import HostConfig, ModbusConfig, MqttConfig, SerialConfig, SourceConfig, SysfsConfig, TopicRule
from models.contract.config import convert
from models.errors import ConfigError

SERIAL = {"name": "line", "port": "/dev/ttyUSB0", "asset": "pump-1"}
MQTT = {"name": "plant", "topics": ["plant/{asset}"]}
PRESS = {"id": "plant/edge-1/press-7", "asset": "press-7"}
SPARKPLUG = {"name": "cell", "payload": "sparkplug", "sparkplug": [PRESS]}
FLOW = {"channel": "flow", "address": 0}
MODBUS = {"name": "plc", "host": "10.0.0.5", "asset": "pump-1", "registers": [FLOW]}
SYSFS = {"name": "board", "asset": "pump-1", "sensors": [{"channel": "x", "sensor": "adxl345/in_accel_x"}]}


def test_defaults_are_enough() -> None:
    assert convert(SERIAL, SerialConfig, "f").baud == 115_200
    assert convert(MQTT, MqttConfig, "f").protocol == "auto"
    assert convert({}, HostConfig, "f").asset == "host"
    assert convert(SPARKPLUG, MqttConfig, "f").rebirth
    assert convert(MODBUS, ModbusConfig, "f").port == 502
    assert convert(SYSFS, SysfsConfig, "f").hwmon_root == "/sys/class/hwmon"
    ruled = convert({**MQTT, "topics": [{"topic": "a/b", "asset": "x"}, "c/{asset}"]}, MqttConfig, "f")
    assert ruled.topics == (TopicRule(topic="a/b", asset="x"), "c/{asset}")


def test_a_ca_file_is_never_ignored() -> None:
    assert not convert(MQTT, MqttConfig, "f").uses_tls
    assert convert({**MQTT, "ca_file": "ca.pem"}, MqttConfig, "f").uses_tls


@pytest.mark.parametrize(
    ("config_type", "raw", "says"),
    [
        (SerialConfig, {**SERIAL, "bauds": 9600}, "bauds: unknown key"),
        (SerialConfig, {**SERIAL, "baud": "9600"}, "baud: Expected 'int'"),
        (SerialConfig, {**SERIAL, "format": "binary"}, "format"),
        (SerialConfig, {**SERIAL, "name": "a b"}, "name"),
        (SerialConfig, {**SERIAL, "columns": ["flow"]}, "JSON lines name their channels"),
        (SerialConfig, {**SERIAL, "format": "csv"}, "needs asset and columns"),
        (SerialConfig, {"name": "l", "port": "p", "format": "csv", "columns": ["flow"]}, "needs asset and columns"),
        (SerialConfig, {**SERIAL, "format": "cobs", "columns": ["t", "flow"]}, "in its header"),
        (SerialConfig, {**SERIAL, "format": "csv", "columns": ["t", "t_ms", "flow"]}, "at most one of"),
        (SerialConfig, {**SERIAL, "format": "csv", "columns": ["flow", "flow"]}, "each channel once"),
        (MqttConfig, {"name": "plant"}, "topics"),
        (MqttConfig, {**MQTT, "topics": []}, "topics"),
        (MqttConfig, {**MQTT, "port": 0}, "port"),
        (MqttConfig, {**MQTT, "keepalive_s": 1}, "keepalive_s"),
        (MqttConfig, {**MQTT, "password_file": "secret"}, "password_file needs username"),
        (MqttConfig, {**MQTT, "password": "secret"}, "password: unknown key"),
        (HostConfig, {"interval_s": 0}, "interval_s"),
        (MqttConfig, {**MQTT, "payload": "sparkplug"}, "payload sparkplug: set sparkplug"),
        (MqttConfig, {**SPARKPLUG, "topics": ["a/{asset}"]}, "payload sparkplug: set sparkplug"),
        (MqttConfig, {**MQTT, "sparkplug": [PRESS]}, "only with payload"),
        (MqttConfig, {**SPARKPLUG, "sparkplug": [PRESS, PRESS]}, "each id once"),
        (MqttConfig, {**SPARKPLUG, "sparkplug": [{"id": "plant", "asset": "x"}]}, "'group/node' or 'group/node/device'"),
        (MqttConfig, {**SPARKPLUG, "sparkplug": [{"id": "plant/+", "asset": "x"}]}, "'group/node' or 'group/node/device'"),
        (ModbusConfig, {**MODBUS, "serial_port": "/dev/ttyUSB0"}, "one of the two"),
        (ModbusConfig, {"name": "plc", "asset": "pump-1", "registers": [FLOW]}, "one of the two"),
        (ModbusConfig, {**MODBUS, "registers": []}, "registers"),
        (ModbusConfig, {**MODBUS, "registers": [FLOW, FLOW]}, "each channel of an asset once"),
        (ModbusConfig, {"name": "plc", "host": "h", "registers": [FLOW]}, "say it for the source"),
        (ModbusConfig, {**MODBUS, "registers": [{**FLOW, "function": 1}]}, "function"),
        (ModbusConfig, {**MODBUS, "registers": [{**FLOW, "address": 65535, "type": "float32"}]}, "beyond register 65535"),
        (SysfsConfig, {**SYSFS, "sensors": [{"channel": "x", "sensor": "temp1"}]}, "'chip/sensor', such as"),
        (SysfsConfig, {**SYSFS, "sensors": SYSFS["sensors"] * 2}, "each channel once"),
    ],
)
def test_what_does_not_fit_is_named(config_type: type[SourceConfig], raw: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        convert(raw, config_type, "tocsin.toml")


def test_checking_a_configuration_loads_no_driver() -> None:
    drivers = ("serial", "paho", "psutil", "numpy", "pymodbus")
    code = f"import sys, agent.sources.config; print([m for m in {drivers} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
