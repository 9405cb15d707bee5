"""What a person writes about local actions. Importing this loads no driver, so that a configuration is checked cheaply.

    [[actions]]
    name = "stop-pump"
    on = "alert"
    severity = "critical"
    assets = ["pump-1"]
    min_interval_s = 60

      [actions.serial]
      port = "/dev/ttyUSB1"
      command = "STOP\\r\\n"

Texts that are sent may name parts of the event in braces, `{asset}` for one: see `agent/actions/event.py` for which.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from agent.actions.event import Edge, check_template
from models.contract.items import ActorKind, FaultKind, Severity
from models.contract.names import Name
from models.errors import ConfigError

MAX_RULES: Final = 32  # each has a thread of its own
ACTORS: Final[tuple[ActorKind, ...]] = ("mqtt", "serial", "webhook", "program")
Port = Annotated[int, Meta(ge=1, le=65535)]
Text = Annotated[str, Meta(min_length=1, max_length=4096)]
Timeout = Annotated[float, Meta(gt=0, le=60)]


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Unknown keys are rejected: a misspelt key must not silently mean the default."""


class BrokerConfig(_Strict, frozen=True, kw_only=True):
    """Where the broker is. `password_file`: its first line is the password, read at each connect. `ca_file`: PEM of who
    signs the broker's certificate, None = the system's; it switches TLS on by itself. Paths are relative to the config file."""

    host: Annotated[str, Meta(min_length=1)] = "127.0.0.1"
    port: Port = 1883
    username: str | None = None
    password_file: str | None = None
    tls: bool = False
    ca_file: str | None = None

    def __post_init__(self) -> None:
        if self.password_file is not None and self.username is None:
            raise ValueError("password_file needs username")


class MqttAction(BrokerConfig, frozen=True, kw_only=True):
    """Publish with QoS 1. `payload`, `payload_closed`: None = the event as JSON; a closing event takes `payload_closed`
    where there is one, else `payload`. `timeout_s`: from connecting to the broker's acknowledgement."""

    topic: Annotated[str, Meta(min_length=1, max_length=512, pattern=r"^[^+#\x00]+\Z")] = "tocsin/{device}/{asset}/{kind}"
    payload: Annotated[str, Meta(max_length=4096)] | None = None
    payload_closed: Annotated[str, Meta(max_length=4096)] | None = None
    retain: bool = True
    timeout_s: Timeout = 5.0

    def __post_init__(self) -> None:
        BrokerConfig.__post_init__(self)
        for key in ("topic", "payload", "payload_closed"):
            check_template(key, getattr(self, key))


class SerialAction(_Strict, frozen=True, kw_only=True):
    """Write bytes. Each character of `command` is one byte, so "\\u0002" is STX and "\\u00ff" is 0xFF; TOML knows \\r and \\n.

    `settle_s`: how long to wait after the port was opened, for boards that start anew when it is. It stays open.
    A port that a `[[serial]]` source of this device reads is written to as that source has set it up.
    """

    port: Annotated[str, Meta(min_length=1)]
    command: Text
    command_closed: Text | None = None
    baud: Annotated[int, Meta(ge=50, le=12_000_000)] = 115_200
    settle_s: Annotated[float, Meta(ge=0, le=10)] = 0.0
    timeout_s: Timeout = 5.0

    def __post_init__(self) -> None:
        for key in ("command", "command_closed"):
            text = getattr(self, key)
            if text is not None and not all(ord(character) < 256 for character in text):
                raise ValueError(f"{key}: each character is one byte, so none may be above \\u00ff")
            check_template(key, text)


class WebhookAction(_Strict, frozen=True, kw_only=True):
    """POST the event as JSON. `secret_file`: its first line signs the body; the header says `sha256=` and the HMAC-SHA256
    in hexadecimal. `ca_file`: PEM of who signs the server's certificate; None = the system's. Redirects are not followed."""

    url: Annotated[str, Meta(pattern=r"^https?://[^/@\s]+(/\S*)?\Z", max_length=2048)]
    secret_file: str | None = None
    signature_header: Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]{1,64}\Z")] = "X-Tocsin-Signature"
    ca_file: str | None = None
    timeout_s: Timeout = 10.0


class ProgramAction(_Strict, frozen=True, kw_only=True):
    """Run `command`, without a shell: the event is JSON on its standard input and TOCSIN_... in its environment. Exit code 0
    is success. Beyond `timeout_s` its whole process group is killed."""

    command: Annotated[tuple[Annotated[str, Meta(pattern=r"^[^\x00]*\Z")], ...], Meta(min_length=1, max_length=64)]
    timeout_s: Timeout = 10.0


class ActionRule(_Strict, frozen=True, kw_only=True):
    """When to do what. Exactly one of `mqtt`, `serial`, `webhook`, `program`.

    `severity`: this or worse. `assets`: empty = all, and faults of a whole source. `faults`: kinds; empty = all.
    `min_interval_s`: the interlock, never twice within it; counted `per` rule, or per rule and asset.
    `max_per_hour`: never more than that in any sixty minutes. `max_age_s`: an event that is older, in
    readings that came late, is let pass; None = however old. `dry_run`: everything but the action itself.
    """

    name: Name
    on: Literal["alert", "sensor_fault"]
    severity: Severity = "warning"
    assets: tuple[Name, ...] = ()
    faults: tuple[FaultKind, ...] = ()
    when: Annotated[tuple[Edge, ...], Meta(min_length=1, max_length=2)] = ("opened",)
    min_interval_s: Annotated[float, Meta(ge=0, le=86_400)] = 10.0
    per: Literal["rule", "asset"] = "rule"
    max_per_hour: Annotated[int, Meta(ge=1, le=1000)] = 30
    max_age_s: Annotated[float, Meta(gt=0)] | None = None
    dry_run: bool = False
    mqtt: MqttAction | None = None
    serial: SerialAction | None = None
    webhook: WebhookAction | None = None
    program: ProgramAction | None = None

    def __post_init__(self) -> None:
        given = [kind for kind in ACTORS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"exactly one of the tables {', '.join(ACTORS)}, not {' and '.join(given) or 'none'}")
        if self.faults and self.on != "sensor_fault":
            raise ValueError('faults: only where on = "sensor_fault"')

    @property
    def actor(self) -> ActorKind:
        return next(kind for kind in ACTORS if getattr(self, kind) is not None)


class HomeAssistantConfig(BrokerConfig, frozen=True, kw_only=True):
    """Show each asset in Home Assistant, by its MQTT discovery. `discovery_prefix`: as Home Assistant's own is set.
    `topic_prefix`: of the topics that the states go to. `silent_after_s`: an asset without a window for so long is
    disconnected; None = three of its profile's windows, or three readings that are due; at least 30 s."""

    discovery_prefix: Annotated[str, Meta(pattern=r"^[^+#\x00/][^+#\x00]*\Z", max_length=128)] = "homeassistant"
    topic_prefix: Annotated[str, Meta(pattern=r"^[^+#\x00/][^+#\x00]*\Z", max_length=128)] = "tocsin"
    silent_after_s: Annotated[float, Meta(gt=0, le=86_400)] | None = None


def check_actions(
    path: Path, rules: Sequence[ActionRule], home_assistant: HomeAssistantConfig | None, assets: Collection[str]
) -> None:
    """What can only be told beside the rest of the file `path`. Raises ConfigError."""
    names: set[str] = set()
    for i, rule in enumerate(rules):
        where = f"{path}: actions[{i}]"
        if rule.name in names:
            raise ConfigError(f"{where}.name", f"a name of its own; {rule.name!r} is there twice")
        names.add(rule.name)
        unknown = next((asset for asset in rule.assets if asset not in assets), None)
        if unknown is not None:
            raise ConfigError(f"{where}.assets", f"some of the assets {', '.join(assets)}, not {unknown!r}")
        if rule.program is not None and shutil.which(rule.program.command[0]) is None:
            raise ConfigError(f"{where}.program.command", f"a program that exists, not {rule.program.command[0]!r}")
        _check_files(path, f"{where}.{rule.actor}", getattr(rule, rule.actor))
    if home_assistant is not None:
        _check_files(path, f"{path}: home_assistant", home_assistant)


def _check_files(path: Path, where: str, table: msgspec.Struct) -> None:
    for key in ("password_file", "secret_file", "ca_file"):
        name = getattr(table, key, None)
        if name is not None and not (path.parent / name).is_file():
            raise ConfigError(f"{where}.{key}", f"an existing file, not {name!r}")
