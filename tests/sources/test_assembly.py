"""From the device's file to its sources: each table becomes a source of its kind, and what does not fit is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.app import make_sources
from agent.config import load_config
from models.errors import ConfigError

CONFIG = """
[device]
id = "gw-1"
state_dir = "state"

[[assets]]
id = "pump-1"
profile = "pump"

[[mqtt]]
name = "cell"
payload = "sparkplug"
sparkplug = [{ id = "plant/edge-1/press-7", asset = "pump-1", metrics = { "Hydraulics/Flow" = "flow" } }]

[[modbus]]
name = "plc"
host = "127.0.0.1"
asset = "pump-1"
registers = [{ channel = "flow", address = 100, type = "float32", word_order = "little" }]

[[sysfs]]
name = "board"
asset = "pump-1"
sensors = [{ channel = "flow", sensor = "flow_meter/fan1" }]
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "tocsin.toml"
    path.write_text(text)
    return path


def test_every_table_becomes_a_source(tmp_path: Path) -> None:
    sources = make_sources(load_config(write(tmp_path, CONFIG)), lambda: 0)
    assert [(type(source).__name__, source.name) for source in sources] == [
        ("MqttSource", "cell"),
        ("ModbusSource", "plc"),
        ("SysfsSource", "board"),
    ]
    for source in sources:
        source.stop()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            'press-7", asset = "pump-1"',
            'press-7", asset = "pump-2"',
            r"mqtt\[0\].sparkplug\[0\].asset: one of the assets pump-1",
        ),
        ('host = "127.0.0.1"\nasset = "pump-1"', 'host = "h"\nasset = "x"', r"modbus\[0\].asset: one of the assets pump-1"),
        ('"little" }', '"little", asset = "x" }', r"modbus\[0\].registers\[0\].asset: one of the assets pump-1"),
        (
            '{ channel = "flow", addr',
            '{ channel = "flaw", addr',
            r"modbus\[0\].registers\[0\].channel: one of pump-1's channels flow",
        ),
        (
            '{ channel = "flow", sens',
            '{ channel = "flaw", sens',
            r"sysfs\[0\].sensors\[0\].channel: one of pump-1's channels flow",
        ),
        ('Flow" = "flow"', 'Flow" = "flaw"', r"metrics.'Hydraulics/Flow': channel: one of pump-1's channels flow"),
        ('name = "board"', 'name = "plc"', r"sysfs\[0\].name: a name of its own"),
        ('type = "float32"', 'type = "float64"', r"modbus\[0\].registers\[0\].type"),
        ("registers =", "register =", r"modbus\[0\].register: unknown key; expected one of name, registers, host"),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in CONFIG
    with pytest.raises(ConfigError, match=says):
        load_config(write(tmp_path, CONFIG.replace(old, new)))


def test_no_source_at_all_says_which_there_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"at least one source: .*\[\[modbus\]\] or \[\[sysfs\]\]"):
        load_config(write(tmp_path, CONFIG[: CONFIG.index("[[mqtt]]")]))
