"""The unit as text, for one configuration after the other; and where apt's own sources are."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from agent.cli import agent
from agent.config import LoadedConfig, load_config
from agent.service.unit import Place, check_visible, named_files, unit_text
from models.errors import ConfigError
from tests.debian.root import Release, own_release

_PLACE = Place(Path("/opt/tocsin/bin/python"), Path("/usr"))
_HOST = '[[assets]]\nid = "box"\nprofile = "host"\n[[host]]\nasset = "box"\n'


def _loaded(tmp_path: Path, sources: str = _HOST, state_dir: str = "/var/lib/tocsin") -> LoadedConfig:
    """As if the file were /etc/tocsin/tocsin.toml."""
    path = tmp_path / "tocsin.toml"
    path.write_text(f'[device]\nid = "d"\nstate_dir = "{state_dir}"\n{sources}')
    loaded = load_config(path)
    return LoadedConfig(
        path=Path("/etc/tocsin/tocsin.toml"), config=loaded.config, state_dir=loaded.state_dir, profiles=loaded.profiles
    )


def _serial(*ports: str) -> str:
    lines = "".join(f'[[serial]]\nname = "s{i}"\nport = "{port}"\n' for i, port in enumerate(ports))
    return f'[[assets]]\nid = "p"\nprofile = "pump"\n{lines}'


def _values(text: str, key: str) -> list[str]:
    return re.findall(rf"(?m)^{key}=(.*)$", text)


def test_without_a_serial_port_no_hardware_is_seen(tmp_path: Path) -> None:
    text = unit_text(_loaded(tmp_path), _PLACE)
    assert _values(text, "PrivateDevices") == ["yes"]
    assert _values(text, "DevicePolicy") == ["closed"]
    assert _values(text, "DeviceAllow") + _values(text, "SupplementaryGroups") == []


def test_a_fixed_port_is_allowed_and_no_other(tmp_path: Path) -> None:
    text = unit_text(_loaded(tmp_path, _serial("/dev/ttyAMA0")), _PLACE)
    assert _values(text, "DeviceAllow") == ["/dev/ttyAMA0 rw"]
    assert _values(text, "SupplementaryGroups") == ["dialout"]
    assert _values(text, "PrivateDevices") == []
    assert "modprobe" not in text


@pytest.mark.parametrize(("port", "kind", "module"), [("ttyUSB3", "ttyUSB", "usbserial"), ("ttyACM0", "ttyACM", "cdc_acm")])
def test_a_usb_adapter_is_allowed_by_kind_so_that_it_may_come_back(tmp_path: Path, port: str, kind: str, module: str) -> None:
    text = unit_text(_loaded(tmp_path, _serial(f"/dev/{port}")), _PLACE)
    assert _values(text, "DeviceAllow") == [f"char-{kind} rw"]
    assert _values(text, "Wants") == [f"modprobe@{module}.service"]
    assert _values(text, "After") == [f"network.target modprobe@{module}.service"]


def test_a_link_is_allowed_as_what_it_points_to(tmp_path: Path) -> None:
    loaded = _loaded(tmp_path, _serial("/dev/serial/by-id/usb-a", "/dev/pump-line"))
    targets = {"/dev/serial/by-id/usb-a": "/dev/ttyACM1", "/dev/pump-line": "/dev/ttyUSB0"}
    text = unit_text(loaded, Place(_PLACE.python, _PLACE.python_home, targets))
    assert _values(text, "DeviceAllow") == ["char-ttyACM rw", "char-ttyUSB rw"]


def test_a_link_to_an_adapter_that_is_not_there_yet_may_become_either_kind(tmp_path: Path) -> None:
    text = unit_text(_loaded(tmp_path, _serial("/dev/serial/by-id/usb-a", "/dev/serial/by-id/usb-b")), _PLACE)
    assert _values(text, "DeviceAllow") == ["char-ttyUSB rw", "char-ttyACM rw"]


@pytest.mark.parametrize(
    ("pattern", "rules"),
    [
        ("/dev/ttyUSB*", ["char-ttyUSB rw"]),
        ("/dev/ttyACM[0-3]", ["char-ttyACM rw"]),
        ("/dev/serial/by-id/usb-FTDI_*", ["char-ttyUSB rw", "char-ttyACM rw"]),
    ],
)
def test_a_pattern_of_adapters_is_allowed_by_kind(tmp_path: Path, pattern: str, rules: list[str]) -> None:
    assert _values(unit_text(_loaded(tmp_path, _serial(pattern)), _PLACE), "DeviceAllow") == rules


@pytest.mark.parametrize("pattern", ["/dev/tty*", "/dev/ttyAMA?"])
def test_a_pattern_that_might_be_any_device_is_refused(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(ConfigError, match=r"serial\.port"):
        unit_text(_loaded(tmp_path, _serial(pattern)), _PLACE)


_MODBUS = (
    '[[modbus]]\nname = "m"\nserial_port = "/dev/ttyAMA0"\nasset = "box"\nregisters = [{ channel = "cpu_load", address = 0 }]\n'
)
_RELAY = '[[actions]]\nname = "stop"\non = "alert"\n[actions.serial]\nport = "/dev/ttyS1"\ncommand = "x"\n'
_HOOK = '[[actions]]\nname = "tell"\non = "alert"\n[actions.webhook]\nurl = "http://h.example/x"\nsecret_file = "key"\n'
_PROGRAM = '[[actions]]\nname = "run"\non = "alert"\n[actions.program]\ncommand = ["{}"]\n'


def test_ports_of_modbus_lines_and_of_rules_are_allowed_too(tmp_path: Path) -> None:
    text = unit_text(_loaded(tmp_path, _HOST + _MODBUS + _RELAY), _PLACE)
    assert _values(text, "DeviceAllow") == ["/dev/ttyAMA0 rw", "/dev/ttyS1 rw"]
    assert _values(text, "SupplementaryGroups") == ["dialout"]


def test_a_rules_secret_must_be_readable_and_its_program_visible(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("secret")
    assert named_files(_loaded(tmp_path, _HOST + _HOOK)) == [Path("/etc/tocsin/tocsin.toml"), Path("/etc/tocsin/key")]
    program = tmp_path / "relay"  # pytest's folder is one for temporary files
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    check_visible(_loaded(tmp_path, _HOST + _PROGRAM.format("/bin/true")), _PLACE)
    if program.is_relative_to("/tmp"):
        with pytest.raises(ConfigError, match="PrivateTmp"):
            check_visible(_loaded(tmp_path, _HOST + _PROGRAM.format(program)), _PLACE)


def test_the_state_directory_is_the_only_place_to_write(tmp_path: Path) -> None:
    below_lib = unit_text(_loaded(tmp_path, state_dir="/var/lib/tocsin/box"), _PLACE)
    assert (_values(below_lib, "StateDirectory"), _values(below_lib, "ReadWritePaths")) == (["tocsin/box"], [])
    elsewhere = unit_text(_loaded(tmp_path, state_dir="/srv/data"), _PLACE)
    assert (_values(elsewhere, "StateDirectory"), _values(elsewhere, "ReadWritePaths")) == ([], ["/srv/data"])


def test_the_command_runs_this_environment_with_this_configuration(tmp_path: Path) -> None:
    text = unit_text(_loaded(tmp_path), _PLACE)
    assert _values(text, "ExecStart") == ["/opt/tocsin/bin/python -I -m tocsin agent run --config /etc/tocsin/tocsin.toml"]


def test_the_watchdog_limits_and_restarts_are_there(tmp_path: Path) -> None:
    parsed = configparser.ConfigParser(strict=False, interpolation=None)
    parsed.optionxform = str  # type: ignore[assignment, method-assign]
    parsed.read_string(unit_text(_loaded(tmp_path), _PLACE))
    service = dict(parsed["Service"])
    wanted = {"Type": "notify", "WatchdogSec": "30", "Restart": "always", "RestartPreventExitStatus": "78", "User": "tocsin"}
    limits = {"MemoryMax": "192M", "MemorySwapMax": "0", "CPUQuota": "100%", "IOWeight": "50"}
    hardened = {"ProtectSystem": "strict", "NoNewPrivileges": "yes", "CapabilityBoundingSet": ""}
    assert (wanted | limits | hardened).items() <= service.items()
    assert parsed["Unit"]["StartLimitIntervalSec"] == "0"
    assert parsed["Install"]["WantedBy"] == "multi-user.target"


def test_the_clock_may_be_read(tmp_path: Path) -> None:
    """ProtectClock= would make every device say for ever that its time is not synchronized."""
    text = unit_text(_loaded(tmp_path), _PLACE)
    assert "ProtectClock" not in text
    assert _values(text, "SystemCallFilter")[-1] == "adjtimex clock_adjtime clock_adjtime64"


@pytest.mark.parametrize("folder", ["/home/pi/state", "/root/state", "/tmp/state", "/var/tmp/x", "/run/user/1000/x"])
def test_a_state_directory_that_the_sandbox_hides_is_refused_by_name(tmp_path: Path, folder: str) -> None:
    with pytest.raises(ConfigError, match=rf"device.state_dir.*{folder}"):
        check_visible(_loaded(tmp_path, state_dir=folder), _PLACE)


def test_an_interpreter_in_a_home_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"the interpreter.*below /home"):
        check_visible(_loaded(tmp_path), Place(Path("/home/pi/venv/bin/python"), Path("/usr")))
    with pytest.raises(ConfigError, match=r"the interpreter.*below /root"):
        check_visible(_loaded(tmp_path), Place(Path("/opt/tocsin/bin/python"), Path("/root/.local/python")))
    check_visible(_loaded(tmp_path), _PLACE)


@pytest.mark.parametrize("name", ["/srv/my data", "/srv/a\\nExecStartPre=x", '/srv/\\"x\\"', "/srv/$HOME"])
def test_a_path_that_would_change_the_unit_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"device.state_dir: an absolute path"):
        unit_text(_loaded(tmp_path, state_dir=name), _PLACE)


def test_a_percent_sign_is_no_specifier(tmp_path: Path) -> None:
    assert _values(unit_text(_loaded(tmp_path, state_dir="/srv/%h"), _PLACE), "ReadWritePaths") == ["/srv/%%h"]


def test_the_files_to_read_are_those_that_the_configuration_names(tmp_path: Path) -> None:
    mqtt = '[[mqtt]]\nname = "m"\ntopics = ["{asset}/{channel}"]\nusername = "u"\npassword_file = "pw"\n'
    mqtt += 'ca_file = "/etc/ssl/ca.pem"\n'
    files = named_files(_loaded(tmp_path, _HOST + mqtt))
    assert files == [Path("/etc/tocsin/tocsin.toml"), Path("/etc/tocsin/pw"), Path("/etc/ssl/ca.pem")]


def test_a_dry_run_prints_the_unit_and_says_what_would_refuse_it(tmp_path: Path) -> None:
    path = tmp_path / "tocsin.toml"
    path.write_text(f'[device]\nid = "d"\nstate_dir = "/home/pi/state"\n{_HOST}')
    done = CliRunner().invoke(agent, ["install", "--dry-run", "--config", str(path)])
    assert done.exit_code == 0
    assert done.stdout.startswith("# Written by `tocsin agent install`")
    assert done.stdout.endswith("WantedBy=multi-user.target\n")
    assert "below /home" in done.stderr


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here: apt-get install systemd")
@pytest.mark.parametrize("sources", [_HOST, _serial("/dev/ttyAMA0", "/dev/serial/by-id/usb-a")], ids=["host", "serial"])
def test_systemd_rates_it_ok(tmp_path: Path, sources: str) -> None:
    unit = tmp_path / "tocsin.service"
    unit.write_text(unit_text(_loaded(tmp_path, sources), _PLACE))
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)]
    rated = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    exposure = re.search(r"Overall exposure level for tocsin.service: ([\d.]+)", rated.stdout)
    if exposure is None and "unrecognized option" in rated.stderr:
        pytest.skip("this systemd-analyze knows no --offline")
    assert exposure, rated.stderr
    assert float(exposure[1]) <= 3.0, rated.stdout


_OS = 'ID=debian\nVERSION_CODENAME="bookworm"\n'


def test_the_mirror_is_the_one_that_apt_uses() -> None:
    deb822 = (
        "# a comment\nTypes: deb deb-src\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates\n"
        "Components: main\nSigned-By: /usr/share/keyrings/x.gpg\n"
    )
    other = "Types: deb\nURIs: http://mirror.example/other\nSuites: nodistro\nComponents: main\n"
    one_line = (
        "deb-src http://mirror.example/src bookworm main\ndeb [arch=amd64] http://mirror.example/d bookworm main contrib\n"
    )
    assert own_release(_OS, iter([other, f"{other}\n{deb822}"])) == Release("bookworm", "http://mirror.example/debian")
    assert own_release(_OS, iter([one_line])) == Release("bookworm", "http://mirror.example/d")
    assert own_release(_OS, iter([other, ""])) is None
    assert own_release("ID=something\n", iter([deb822])) is None
    assert own_release(_OS, iter([f"Enabled: no\n{deb822.split(chr(10), 1)[1]}"])) is None
