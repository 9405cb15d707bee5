"""The systemd unit of a device's agent, as text. Pure: a configuration and a few paths in, a unit out.

Invariants:
1. Devices: without a serial port in the configuration the service sees no hardware at all; with one it may open that
   port, or, for USB adapters, ports of the adapter's kind: those come back under another number when they are plugged in
   again, and the kernel's rule is fixed when the service starts.
2. The service writes to its state directory and to nowhere else.
3. Reading the clock's state is allowed, setting it is not: `ProtectClock=` would forbid both, and the device could never
   say that its time is synchronized (`agent/clock.py`).
4. What the sandbox would hide (homes, temporary folders) is refused by name (`check_visible`), before it fails at a start.

Everything else about the limits belongs to a drop-in of the device's owner: `systemctl edit tocsin`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from agent.config import AgentConfig, LoadedConfig
from models.errors import ConfigError

UNIT_NAME: Final = "tocsin.service"
USER: Final = "tocsin"
SERIAL_GROUP: Final = "dialout"
SYSUSERS_TEXT: Final = f'u {USER} - "Tocsin agent" / -\n'

_STATE_ROOT: Final = Path("/var/lib")
_HIDDEN: Final = {
    "/home": "ProtectHome",
    "/root": "ProtectHome",
    "/run/user": "ProtectHome",
    "/tmp": "PrivateTmp",  # noqa: S108  # named to be refused
    "/var/tmp": "PrivateTmp",  # noqa: S108
}
_FILE_KEYS: Final = ("claim_token_file", "join_token_file", "password_file", "secret_file", "ca_file")
_PLAIN_PATH: Final = re.compile(r"/[A-Za-z0-9/_.:+,@%=~-]+")
# The kernel's name of each kind of USB serial port, and the module that registers it.
_USB_KINDS: Final = {"ttyUSB": "usbserial", "ttyACM": "cdc_acm"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where the program is. `python`: of the environment that tocsin is installed in; `python_home`: what that rests on.

    `port_targets`: where the links among the configured ports point to now; ports that are absent are left out.
    """

    python: Path
    python_home: Path
    port_targets: Mapping[str, str] = field(default_factory=dict)


def serial_ports(config: AgentConfig) -> list[str]:
    """Every serial device that the configuration reads, polls or writes to, once each."""
    ports = [source.port for source in config.serial]
    ports += [line.serial_port for line in config.modbus if line.serial_port is not None]
    ports += [rule.serial.port for rule in config.actions if rule.serial is not None]
    return list(dict.fromkeys(ports))


def named_files(loaded: LoadedConfig) -> list[Path]:
    """The files that the configuration names and the service must be able to read, the configuration first."""
    config = loaded.config
    tables = [config.hub, *config.mqtt, config.home_assistant, *(getattr(rule, rule.actor) for rule in config.actions)]
    names = [getattr(table, key, None) for table in tables for key in _FILE_KEYS]
    return [loaded.path, *(loaded.resolve(name) for name in names if name)]


def state_is_made_by_systemd(state_dir: Path) -> bool:
    """Whether systemd makes the state directory and gives it to the service's user; elsewhere the installation does."""
    return state_dir != _STATE_ROOT and state_dir.is_relative_to(_STATE_ROOT)


def check_visible(loaded: LoadedConfig, place: Place) -> None:
    """Raises ConfigError for what the service needs and its sandbox hides."""
    places = [("device.state_dir", loaded.state_dir), ("the interpreter", place.python), ("the interpreter", place.python_home)]
    programs = [Path(rule.program.command[0]) for rule in loaded.config.actions if rule.program is not None]
    for what, path in [*places, *((f"{loaded.path}", path) for path in [*named_files(loaded), *programs])]:
        hidden = next((folder for folder in _HIDDEN if path.is_relative_to(folder)), None)
        if hidden:
            raise ConfigError(what, f"a place that the service can see; {path} is below {hidden} ({_HIDDEN[hidden]}=yes)")


def unit_text(loaded: LoadedConfig, place: Place) -> str:
    """The unit for `loaded`, whose paths are absolute. Raises ConfigError for a path that cannot stand in a unit."""
    ports = serial_ports(loaded.config)
    kinds = [kind for port in ports for kind in _usb_kinds(port, place.port_targets)]
    lines = [*_unit_section(kinds), "", *_service_section(loaded, place), *_state_lines(loaded.state_dir)]
    lines += ["", *_LIMITS, "", *_device_lines(ports, place.port_targets), "", *_HARDENING]
    return "\n".join([*lines, "", "[Install]", "WantedBy=multi-user.target", ""])


def _unit_section(kinds: list[str]) -> Iterator[str]:
    modules = " ".join(f"modprobe@{_USB_KINDS[kind]}.service" for kind in dict.fromkeys(kinds))
    yield f"# Written by `tocsin agent install`, which writes it anew each time. Own settings: systemctl edit {UNIT_NAME}"
    yield "[Unit]"
    yield "Description=Tocsin agent, watching machines where they stand"
    yield "# Not network-online.target and not time-sync.target: the agent needs neither to do its work."
    yield f"After=network.target {modules}".rstrip()
    if modules:
        yield "# The kind of port must be known to the kernel when access to it is granted, also if none is plugged in yet."
        yield f"Wants={modules}"
    yield "# Never give up: a device in the field has nobody who would start it again."
    yield "StartLimitIntervalSec=0"


def _service_section(loaded: LoadedConfig, place: Place) -> Iterator[str]:
    python, config = _plain("the interpreter", place.python), _plain("--config", loaded.path)
    yield "[Service]"
    yield "Type=notify"
    yield "NotifyAccess=main"
    yield f"ExecStart={python} -I -m tocsin agent run --config {config}"
    yield f"User={USER}"
    yield f"Group={USER}"
    if serial_ports(loaded.config):
        yield f"SupplementaryGroups={SERIAL_GROUP}"
    yield from _LIFE


_LIFE: Final = (
    "# Fed by each step of the pipeline, never by a timer: a pipeline that hangs is aborted and started again.",
    "WatchdogSec=30",
    "TimeoutStartSec=120",
    "TimeoutStopSec=30",
    "KillMode=mixed",
    "Restart=always",
    "RestartSec=5",
    "# 78: the configuration is wrong; starting again would not help.",
    "RestartPreventExitStatus=78",
)

_LIMITS: Final = (
    "MemoryMax=192M",
    "# Swapping wears out flash, and a slow agent is no better than a restarted one.",
    "MemorySwapMax=0",
    "# One core at most; half of the usual share of the disk where others want it too.",
    "CPUQuota=100%",
    "IOWeight=50",
    "TasksMax=128",
    "# The journal gets the stack of every thread; a core dump would only wear out flash.",
    "LimitCORE=0",
)

_HARDENING: Final = (
    "NoNewPrivileges=yes",
    "CapabilityBoundingSet=",
    "AmbientCapabilities=",
    "UMask=0077",
    "ProtectSystem=strict",
    "ProtectHome=yes",
    "PrivateTmp=yes",
    "PrivateMounts=yes",
    "ProtectProc=invisible",
    "ProtectKernelTunables=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelLogs=yes",
    "ProtectControlGroups=yes",
    "ProtectHostname=yes",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
    "RemoveIPC=yes",
    "LockPersonality=yes",
    "MemoryDenyWriteExecute=yes",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "SystemCallFilter=~@privileged @resources",
    "# To ask whether the clock is synchronized; setting it takes a capability that the service does not have.",
    "SystemCallFilter=adjtimex clock_adjtime clock_adjtime64",
    "SystemCallErrorNumber=EPERM",
)


def _state_lines(state_dir: Path) -> Iterator[str]:
    text = _plain("device.state_dir", state_dir)
    if state_is_made_by_systemd(state_dir):
        yield f"StateDirectory={text.removeprefix(f'{_STATE_ROOT}/')}"
        yield "StateDirectoryMode=0700"
    else:
        yield f"ReadWritePaths={text}"


def _device_lines(ports: list[str], targets: Mapping[str, str]) -> Iterator[str]:
    yield "# Beside what follows only /dev/null and its like."
    yield "DevicePolicy=closed"
    if not ports:
        yield "PrivateDevices=yes"
    rules = [rule for port in ports for rule in _device_rules(port, targets)]
    yield from (f"DeviceAllow={rule} rw" for rule in dict.fromkeys(rules))


def _device_rules(port: str, targets: Mapping[str, str]) -> list[str]:
    kinds = _usb_kinds(port, targets)
    return [f"char-{kind}" for kind in kinds] or [_plain("serial.port", Path(port))]


def _usb_kinds(port: str, targets: Mapping[str, str]) -> list[str]:
    """The kinds of USB serial port that `port` is; both where it is a link by udev to one that is not plugged in."""
    name = Path(targets.get(port, port)).name
    kinds = [kind for kind in _USB_KINDS if name.startswith(kind)]
    absent_link = port not in targets and port.startswith("/dev/serial/")
    return kinds or (list(_USB_KINDS) if absent_link else [])


def _plain(where: str, path: Path) -> str:
    """`path` as it may stand in a unit. Raises ConfigError for what would need quoting there."""
    if not _PLAIN_PATH.fullmatch(str(path)):
        raise ConfigError(where, f"an absolute path of letters, digits and the usual signs, without spaces, not {str(path)!r}")
    return str(path).replace("%", "%%")
