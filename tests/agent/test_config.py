"""A device's configuration: what is wrong is said in one line with file, key and what belongs there."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.config import LoadedConfig, load_config
from models.errors import ConfigError

GOOD = """\
[device]
id = "dev-1"
state_dir = "state"

[hub]
url = "http://hub.example:8080"
join_token_file = "token"

[[assets]]
id = "pump-1"
profile = "pump"

[[assets]]
id = "here"
profile = "host"

[[serial]]
name = "line"
port = "/dev/ttyUSB0"
asset = "pump-1"

[[mqtt]]
name = "bus"
topics = ["plant/{asset}/{channel}"]

[[host]]
asset = "here"
"""


def load(directory: Path, text: str) -> LoadedConfig:
    (directory / "token").write_text("open sesame")
    (directory / "tocsin.toml").write_text(text)
    return load_config(directory / "tocsin.toml")


def refused(directory: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(directory, text)
    line = str(caught.value)
    assert line.startswith(f"{directory / 'tocsin.toml'}: ")
    assert "\n" not in line
    return line.removeprefix(f"{directory / 'tocsin.toml'}: ")


def changed(old: str, new: str) -> str:
    assert GOOD.count(old) == 1
    return GOOD.replace(old, new)


def test_a_good_configuration_is_put_together_with_its_profiles(tmp_path: Path) -> None:
    loaded = load(tmp_path, GOOD)
    assert loaded.state_dir == tmp_path / "state"
    assert {asset: profile.name for asset, profile in loaded.profiles.items()} == {"pump-1": "pump", "here": "host"}
    assert loaded.channels["pump-1"] == ["flow", "pressure", "current", "temperature", "vibration"]
    assert loaded.resolve("token") == tmp_path / "token"
    assert loaded.config.hub.sync_s == 10.0


def test_without_a_hub_the_device_works_alone(tmp_path: Path) -> None:
    hub = GOOD[GOOD.index("[hub]") : GOOD.index("[[assets]]")]
    assert load(tmp_path, GOOD.replace(hub, "")).config.hub is None


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("state_dir", "state_path", "device.state_path: unknown key; expected one of id, state_dir, site, max_outbox_mb"),
        ("[hub]", "[hubb]", "hubb: unknown key; expected one of device, assets, hub, serial, mqtt, host"),
        ('profile = "host"', 'profil = "host"', "assets[1].profil: unknown key; expected one of id, profile"),
        ("port =", "prot =", "serial[0].prot: unknown key; expected one of name, port, baud"),
        ("topics =", "topic =", "mqtt[0].topic: unknown key; expected one of"),
        ('id = "dev-1"', "id = 5", "device.id: Expected 'str', got 'int'"),
        ('id = "dev-1"', 'id = "dev 1"', "device.id: Expected 'str' matching regex"),
        ('id = "dev-1"\n', "", "device: Object missing required field 'id'"),
        ('url = "http://hub.example:8080"', 'url = "hub.example"', "hub.url: Expected 'str' matching regex"),
        ('url = "http://hub.example:8080"', 'url = "http://h"\nsync_s = 0', "hub.sync_s: Expected 'float' > 0.0"),
        ('state_dir = "state"', 'state_dir = "state"\nmax_outbox_mb = 0.5', "device.max_outbox_mb: Expected 'float' >= 1.0"),
        ('asset = "pump-1"', 'asset = "pump-1"\nbaud = "fast"', "serial[0].baud: Expected 'int', got 'str'"),
        ('asset = "pump-1"', 'asset = "pump-1"\nformat = "xml"', "serial[0].format: Invalid enum value 'xml'"),
        ('asset = "pump-1"', 'asset = "pump-1"\nformat = "csv"', "serial[0]: format csv needs asset and columns"),
        ('topics = ["plant/{asset}/{channel}"]', "topics = []", "mqtt[0]: topics: at least one"),
        ('join_token_file = "token"', 'join_token_file = "tokn"', "hub.join_token_file: an existing file, not 'tokn'"),
        ('id = "here"', 'id = "pump-1"', "assets[1].id: a name of its own; 'pump-1' is there twice"),
        ('name = "bus"', 'name = "line"', "mqtt[0].name: a name of its own; 'line' is there twice"),
        ('asset = "pump-1"', 'asset = "pmup-1"', "serial[0].asset: one of the assets pump-1, here, not 'pmup-1'"),
        (
            'profile = "host"',
            'profile = "hots"',
            "assets[1].profile: profile 'hots': one of bearing, compressor, fan, host, motor, pump, room",
        ),
        ("[device]", "[device", "not TOML: "),
    ],
)
def test_a_mistake_is_named_with_file_key_and_expectation(old: str, new: str, says: str, tmp_path: Path) -> None:
    assert refused(tmp_path, changed(old, new)).startswith(says)


def test_a_device_without_any_source_is_refused(tmp_path: Path) -> None:
    sources = GOOD[GOOD.index("[[serial]]") :]
    assert (
        refused(tmp_path, GOOD.replace(sources, ""))
        == "at least one source: [[serial]], [[mqtt]], [[host]], [[modbus]] or [[sysfs]]"
    )


def test_a_device_without_any_asset_is_refused(tmp_path: Path) -> None:
    assets = GOOD[GOOD.index("[[assets]]") : GOOD.index("[[serial]]")]
    without = GOOD.replace(assets, "")
    assert refused(tmp_path, "assets = []\n" + without) == "assets: Expected 'array' of length >= 1"
    assert refused(tmp_path, without) == "Object missing required field 'assets'"


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml: no such file"):
        load_config(tmp_path / "nowhere.toml")


def test_own_profiles_lie_beside_the_configuration_or_where_it_says(tmp_path: Path) -> None:
    text = 'name = "boiler"\n[windowing]\nrate_hz = 1\nwindow_s = 60\n[[channels]]\nname = "heat"\n'
    config = changed('profile = "pump"', 'profile = "boiler"')
    assert "profile 'boiler': one of" in refused(tmp_path, config)
    (tmp_path / "boiler.toml").write_text(text)
    assert load(tmp_path, config).channels["pump-1"] == ["heat"]
    (tmp_path / "boiler.toml").unlink()
    (tmp_path / "kinds").mkdir()
    (tmp_path / "kinds" / "boiler.toml").write_text(text)
    assert load(tmp_path, config.replace('"state"', '"state"\nprofiles_dir = "kinds"')).channels["pump-1"] == ["heat"]


def test_a_mistake_in_an_own_profile_is_named_with_both_files(tmp_path: Path) -> None:
    (tmp_path / "pump.toml").write_text(
        'name = "pump"\n[windowing]\nrate_hz = "fast"\nwindow_s = 60\n[[channels]]\nname = "x"\n'
    )
    line = refused(tmp_path, GOOD)
    assert line == f"assets[0].profile: {tmp_path / 'pump.toml'}: windowing.rate_hz: Expected 'float', got 'str'"
