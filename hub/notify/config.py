"""`[notify]` in hub.toml: where messages go, and which incidents are told where and when.

Targets are told by name in rules. Secrets are in files, which are read at each delivery, so that they can be changed without a
restart; relative paths are taken from the hub's directory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Meta

from models.contract.names import Name
from models.errors import ConfigError

Host = Annotated[str, Meta(pattern=r"^[A-Za-z0-9.:_\-]+\Z", max_length=253)]
Port = Annotated[int, Meta(ge=1, le=65535)]
Address = Annotated[str, Meta(pattern=r"^[^@\s<>\",;]+@[^@\s<>\",;]+\Z", max_length=254)]
Minutes = Annotated[float, Meta(gt=0, le=10_080)]
PerHour = Annotated[int, Meta(ge=1, le=1000)]
Timeout = Annotated[float, Meta(ge=0.1, le=60)]
TimeOfDay = Annotated[str, Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d\Z")]


class Webhook(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A JSON document by POST. `secret_file`: what it is signed with; empty = it is not."""

    name: Name
    url: Annotated[str, Meta(pattern=r"^https?://[^/\s]+[^\s]*\Z", max_length=2000)]
    secret_file: str = ""
    ca_file: str = ""
    timeout_s: Timeout = 10.0
    per_hour: PerHour = 60


class Email(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A mail by a server that takes it from this hub."""

    name: Name
    host: Host
    port: Port = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    sender: Address
    to: Annotated[list[Address], Meta(min_length=1, max_length=50)]
    user: str = ""
    password_file: str = ""
    ca_file: str = ""
    timeout_s: Timeout = 10.0
    per_hour: PerHour = 60


class Mqtt(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The webhook's document as a message of QoS 1."""

    name: Name
    host: Host
    port: Port = 1883
    tls: bool = False
    topic: Annotated[str, Meta(pattern=r"^[^+#\x00]+\Z", max_length=500)] = "tocsin/incidents"
    user: str = ""
    password_file: str = ""
    ca_file: str = ""
    timeout_s: Timeout = 10.0
    per_hour: PerHour = 60


Target = Webhook | Email | Mqtt


class Quiet(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hours in which nothing is told, every day, by the clocks of `zone`; they may go over midnight. What is still open when
    they end is told then."""

    start: TimeOfDay
    end: TimeOfDay
    zone: str = "UTC"
    critical_passes: bool = True


class Escalation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who else is told, so long after the first were, while nobody has acknowledged an alert of the incident."""

    after_min: Minutes
    to: Annotated[list[Name], Meta(min_length=1, max_length=20)]


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which incidents are told to whom: those with an alert that is of one of `severities`, `sites` and `profiles`; empty = of
    any."""

    name: Name
    to: Annotated[list[Name], Meta(min_length=1, max_length=20)]
    severities: list[Literal["critical", "warning"]] = []
    sites: list[Annotated[str, Meta(max_length=64)]] = []
    profiles: list[Name] = []
    quiet: Quiet | None = None
    escalate: Annotated[list[Escalation], Meta(max_length=10)] = []
    recovered: bool = True


class Notify(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`gather_s`: how long more alerts of an incident are waited for before it is told, and how long it must be over before
    that is told. `give_up_h`: how long a delivery is tried."""

    gather_s: Annotated[float, Meta(ge=0, le=600)] = 30.0
    give_up_h: Annotated[float, Meta(gt=0, le=168)] = 24.0
    webhook: Annotated[list[Webhook], Meta(max_length=50)] = []
    email: Annotated[list[Email], Meta(max_length=50)] = []
    mqtt: Annotated[list[Mqtt], Meta(max_length=50)] = []
    rule: Annotated[list[Rule], Meta(max_length=100)] = []

    @property
    def all_targets(self) -> list[Target]:
        """In the order of the file, by kind."""
        return [*self.webhook, *self.email, *self.mqtt]

    @property
    def targets(self) -> dict[str, Target]:
        return {target.name: target for target in self.all_targets}


def kind_of(target: Target) -> str:
    """What people call it."""
    return {Webhook: "webhook", Email: "e-mail", Mqtt: "MQTT"}[type(target)]


def check_notify(notify: Notify, where: str) -> None:
    """What a struct cannot say of itself. Raises ConfigError naming the key: a name that is given twice or leads nowhere, a
    time zone that nobody knows, quiet hours without length, a user without a password."""
    names = [target.name for target in notify.all_targets]
    for found, key in ((names, "notify"), ([rule.name for rule in notify.rule], "notify.rule")):
        twice = {name for name in found if found.count(name) > 1}
        if twice:
            raise ConfigError(f"{where}: {key}", f"names that are given once; {', '.join(sorted(twice))} is there twice")
    for rule in notify.rule:
        for key, to in _told(rule):
            unknown = sorted(set(to) - set(names))
            if unknown:
                raise ConfigError(f"{where}: {key}", f"names of targets ({', '.join(names) or 'none yet'}), not {unknown[0]!r}")
        if rule.quiet is not None:
            _check_quiet(rule.quiet, f"{where}: notify.rule {rule.name}: quiet")
    for target in notify.all_targets:
        if not isinstance(target, Webhook) and bool(target.user) != bool(target.password_file):
            raise ConfigError(f"{where}: notify: {target.name}", "user and password_file, or neither")


def _told(rule: Rule) -> Iterator[tuple[str, list[str]]]:
    yield f"notify.rule {rule.name}: to", rule.to
    for step in rule.escalate:
        yield f"notify.rule {rule.name}: escalate: to", step.to


def _check_quiet(quiet: Quiet, where: str) -> None:
    try:
        ZoneInfo(quiet.zone)
    except (KeyError, ValueError, OSError):
        raise ConfigError(f"{where}.zone", f"a time zone of this machine such as Europe/Paris, not {quiet.zone!r}") from None
    if quiet.start == quiet.end:
        raise ConfigError(where, "start and end that differ")
