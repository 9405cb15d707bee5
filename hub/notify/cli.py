"""`tocsin hub notify`: whether messages arrive, and what became of them."""

from __future__ import annotations

import json
import secrets
import time
from datetime import UTC, datetime
from pathlib import Path

import click

from hub.audit.log import cli_actor, record
from hub.notify.config import kind_of
from hub.notify.deliver import DeliveryError, deliver, host_of
from hub.notify.message import trial_message
from hub.notify.outbox import listed
from hub.opened import snapshot, writing
from hub.settings import load_hub
from hub.terminal import data_option, json_option, plain, show_table


@click.group()
def notify() -> None:
    """Telling people of incidents: where to, and what became of it. What is told is in hub.toml."""


@notify.command()
@data_option
@json_option
def targets(data: Path, as_json: bool) -> None:
    """Where messages go."""
    found = [
        {"name": target.name, "kind": kind_of(target), "host": host_of(target), "per_hour": target.per_hour}
        for target in load_hub(data).config.notify.targets.values()
    ]
    if as_json:
        click.echo(json.dumps(found))
        return
    rows = [tuple(target.values()) for target in found]
    show_table(("target", "kind", "host", "an hour"), rows, "no targets; docs/notify.md says how to name some in hub.toml")


@notify.command("list")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
@data_option
@json_option
def list_notifications(limit: int, data: Path, as_json: bool) -> None:
    """What was told or is to be, newest first, and why it was not."""
    with snapshot(data) as connection:
        rows = listed(connection, limit)
    if as_json:
        click.echo(json.dumps(rows))
        return
    names = ("target", "rule", "step", "state", "n_attempts", "incident", "reason")
    shown = [(_when(row["ended_ns"] or row["decided_ns"]), *(row[name] for name in names)) for row in rows]
    show_table(("when", "target", "rule", "step", "state", "tries", "incident", "reason"), shown, "nothing was told yet")


@notify.command()
@click.argument("name")
@data_option
@json_option
def test(name: str, data: Path, as_json: bool) -> None:
    """Send a message to the target NAME now, and say whether it took it."""
    hub = load_hub(data)
    target = hub.config.notify.targets.get(name)
    if target is None:
        known = ", ".join(hub.config.notify.targets) or "none yet"
        raise click.ClickException(f"no target {name} in {hub.paths.config}; there are: {known}")
    now_ns = time.time_ns()
    try:
        remark = deliver(target, trial_message(f"test-{secrets.token_hex(6)}", name, hub.config.hub_id), hub.paths.root, now_ns)
    except DeliveryError as error:
        raise click.ClickException(f"{name}: {error}") from None
    with writing(data) as (_, connection):
        record(connection, at_ns=now_ns, actor=cli_actor(), action="notify.test", subject=name)
    told = {"target": name, "sent": True, "remark": remark}
    click.echo(json.dumps(told) if as_json else plain(f"{name}: sent{f'; {remark}' if remark else ''}"))


def _when(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns // 1_000_000_000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
