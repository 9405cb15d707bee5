"""Installing the agent as a systemd service: the user, the unit, and the start.

    configuration ─> unit text (unit.py) ─> user ─> state directory ─> try as that user ─> unit on disk ─> enable, start

What can be refused is refused before the unit is written: a refused installation leaves an earlier one as it was. Running
it again is the way to take over a changed configuration; nothing is started twice.
"""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from agent.config import LoadedConfig, load_config
from agent.service.unit import (
    SERIAL_GROUP,
    SYSUSERS_TEXT,
    UNIT_NAME,
    USER,
    Place,
    check_visible,
    named_files,
    serial_ports,
    state_is_made_by_systemd,
    unit_text,
)
from models.errors import InstallError
from models.files import write_durably

_UNIT_PATH: Final = Path("/etc/systemd/system") / UNIT_NAME
_SYSUSERS_PATH: Final = Path("/etc/sysusers.d/tocsin.conf")
Say = Callable[[str], None]


def planned(config_path: Path) -> tuple[LoadedConfig, Place]:
    """What is to be installed, its paths absolute, and where. Raises ConfigError; changes nothing."""
    loaded = load_config(config_path.absolute())
    loaded = msgspec.structs.replace(loaded, state_dir=Path(os.path.normpath(loaded.state_dir)))
    targets = {port: str(Path(port).resolve()) for port in serial_ports(loaded.config) if Path(port).exists()}
    return loaded, Place(Path(sys.executable), Path(sys.base_prefix).resolve(), targets)


def install(config_path: Path, start: bool, say: Say) -> None:
    """Install for `config_path`, and unless `start` is false wait until the agent says that it is ready.

    Raises ConfigError; InstallError, with what to do, where this machine or this user cannot do it.
    """
    loaded, place = planned(config_path)
    text = unit_text(loaded, place)
    check_visible(loaded, place)
    _check_machine(loaded)
    _make_user()
    _make_state_dir(loaded.state_dir)
    _try_as_service(loaded)
    write_durably(_UNIT_PATH, text.encode())
    _UNIT_PATH.chmod(0o644)
    say(f"wrote {_UNIT_PATH}")
    _systemctl("daemon-reload")
    _systemctl("enable", "--quiet", UNIT_NAME)
    say(f"{UNIT_NAME} is enabled: it starts with the machine")
    if start:
        _systemctl("restart", UNIT_NAME)
        say(f"{UNIT_NAME} is running; see systemctl status {UNIT_NAME} and journalctl -u {UNIT_NAME}")


def _check_machine(loaded: LoadedConfig) -> None:
    if os.geteuid() != 0:
        raise InstallError("installing a service takes root: run it with sudo, or look at it first with --dry-run")
    if not Path("/run/systemd/system").is_dir():
        raise InstallError("this machine was not started by systemd; --dry-run prints the unit all the same")
    missing = [command for command in ("systemctl", "systemd-sysusers") if shutil.which(command) is None]
    if missing:
        raise InstallError(f"{', '.join(missing)}: not found; they belong to systemd")
    if serial_ports(loaded.config):
        try:
            grp.getgrnam(SERIAL_GROUP)
        except KeyError:
            raise InstallError(f"there is no group {SERIAL_GROUP}, whose members may open serial ports") from None


def _make_user() -> None:
    _SYSUSERS_PATH.parent.mkdir(exist_ok=True)
    write_durably(_SYSUSERS_PATH, SYSUSERS_TEXT.encode())
    _run("systemd-sysusers", str(_SYSUSERS_PATH))


def _make_state_dir(state_dir: Path) -> None:
    if state_is_made_by_systemd(state_dir):
        return
    user = pwd.getpwnam(USER)
    if not state_dir.exists():
        state_dir.mkdir(mode=0o700, parents=True)
        os.chown(state_dir, user.pw_uid, user.pw_gid)
    elif state_dir.stat().st_uid != user.pw_uid:  # it may be anything, so it is not ours to give away
        raise InstallError(f"{state_dir}: not the directory of the user {USER}; if it may be: chown -R {USER}: {state_dir}")


def _try_as_service(loaded: LoadedConfig) -> None:
    """Let the service's user check the configuration and open what it names: what fails here would fail at each start."""
    user = pwd.getpwnam(USER)
    as_user: dict[str, Any] = {
        "user": user.pw_uid, "group": user.pw_gid, "extra_groups": [], "cwd": "/", "capture_output": True, "text": True,
    }  # fmt: skip
    for path in named_files(loaded):
        if subprocess.run(["test", "-r", str(path)], check=False, **as_user).returncode:
            raise InstallError(f"{path}: the user {USER} cannot read it; chgrp {USER} {path} && chmod g+r {path}")
    command = [sys.executable, "-I", "-m", "tocsin", "agent", "check-config", "--config", str(loaded.path)]
    done = subprocess.run(command, check=False, **as_user)
    if done.returncode:
        raise InstallError(f"as the user {USER}: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}")


def _systemctl(*arguments: str) -> None:
    _run("systemctl", *arguments, hint=f"; see journalctl -u {UNIT_NAME}")


def _run(*command: str, hint: str = "") -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InstallError(f"{' '.join(command)}: {(done.stderr.strip().splitlines() or ['no reason given'])[0]}{hint}")
