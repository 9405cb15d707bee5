"""`tocsin hub …`: make a hub, serve it, and look into it. What each command needs is imported when it runs."""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from hub.settings import init_hub, load_hub
from hub.terminal import data_option, json_option, plain, show_table

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from hub.settings import Hub

# name: (module, attribute): commands of other rooms
_COMMANDS = {
    "train": ("hub.training.cli", "train"),
    "rollout": ("hub.rollout.cli", "rollout"),
    "bundles": ("hub.registry.cli", "bundles"),
    "ledger": ("hub.ledger.cli", "ledger"),
    "lake": ("hub.lake.cli", "lake"),
    "ask": ("hub.ask.cli", "ask"),
    "erase": ("hub.erasure.cli", "erase"),
    "keys": ("hub.distribution.cli", "keys"),
    "sign": ("hub.distribution.cli", "sign"),
    "countersign": ("hub.distribution.cli", "countersign"),
    "audit": ("hub.audit.cli", "audit"),
    "token": ("hub.devices.cli", "token"),
    "tokens": ("hub.devices.cli", "tokens"),
    "device": ("hub.devices.cli", "device"),
    "forget": ("hub.devices.cli", "forget"),
    "user": ("hub.operators.cli", "user"),
    "api-token": ("hub.operators.token_cli", "api_token"),
    "summary": ("hub.api.cli", "summary"),
    "sensor-faults": ("hub.api.cli", "sensor_faults"),
    "training-runs": ("hub.api.cli", "training_runs"),
    "feedback": ("hub.training.feedback_cli", "feedback"),
    "acknowledge": ("hub.alerts.cli", "acknowledge"),
    "note": ("hub.alerts.cli", "note"),
    "notify": ("hub.notify.cli", "notify"),
    "dataset": ("hub.training.dataset_cli", "dataset"),
    "triggers": ("hub.training.triggers_cli", "triggers"),
    "value": ("hub.value.cli", "value"),
}


_SECTIONS = {  # of `--help`, in the order in which one needs them
    "The hub": ("init", "serve", "keys", "sign", "countersign"),
    "Let devices in, and keep them out": ("token", "tokens", "device", "forget", "erase"),
    "Look around": ("summary", "devices", "alerts", "sensor-faults", "ask", "query", "ledger", "quarantine", "lake", "audit"),
    "Deal with alerts": ("acknowledge", "feedback", "note", "notify"),
    "Models": ("dataset", "train", "training-runs", "triggers", "bundles", "rollout", "value"),
    "Operators": ("user", "api-token"),
}


class _HubGroup(click.Group):
    """Its own commands, and those of the rooms above, which are imported when they are asked for."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """In sections, each with its whole first sentence: a list of thirty, each cut off in the middle, tells nobody where to
        look."""
        for section, names in _SECTIONS.items():
            found = [(name, command) for name in names if (command := self.get_command(ctx, name))]
            with formatter.section(section):
                formatter.write_dl([(name, command.get_short_help_str(200)) for name, command in found], col_max=16)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *_COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return super().get_command(ctx, cmd_name)
        module, attribute = _COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


@click.group(cls=_HubGroup)
def hub() -> None:
    """Run the hub; train models and roll them out."""


@hub.command()
@click.option("--join-token", is_flag=True, help="Also make one token for all devices, without an end: for labs.")
@data_option
@json_option
def init(join_token: bool, data: Path, as_json: bool) -> None:
    """Make a hub in a directory, or complete the one that is there: keys, its own CA, database, admin token."""
    from hub.state.database import open_state

    made = init_hub(data, join_token=join_token)
    engine = open_state(made.state_url)
    made.repository().tend(engine, time.time_ns())
    engine.dispose()
    if as_json:
        paths = {"data": made.paths.root, "admin_token": made.paths.admin_token, "ca": made.tls.ca}
        if made.join_token:
            paths["join_token"] = made.paths.join_token
        click.echo(json.dumps({name: str(path.absolute()) for name, path in paths.items()}))
        return
    click.echo(f"The hub is in {data}. Start it with `tocsin hub serve --data {data}`.")
    click.echo(f"`tocsin hub token --site SITE --data {data}` makes a token with which a device enrols.")
    if made.join_token:
        click.echo(f"Any device may enrol with the token in {made.paths.join_token}, too.")


@hub.command()
@data_option
@click.option("--host", help="Address to listen on (default: as in hub.toml).")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 takes a free one (default: as in hub.toml).")
def serve(data: Path, host: str | None, port: int | None) -> None:
    """Take in what devices send, keep it, and serve the page and the API."""
    from hub.serve import serve as serve_hub

    loaded = load_hub(data)

    def announce(url: str) -> None:
        if sys.stdout.isatty():
            click.echo(f"Tocsin hub at {url}/?token={loaded.admin_token}")
        else:  # a journal or a log file keeps what it is told
            click.echo(f"Tocsin hub at {url}; sign in with the token in {loaded.paths.admin_token}")

    serve_hub(loaded, host or loaded.config.host, loaded.config.port if port is None else port, announce)


@hub.command()
@click.argument("device", required=False)
@data_option
@json_option
def devices(device: str | None, data: Path, as_json: bool) -> None:
    """Every enrolled device; or of DEVICE everything that is known, with --json."""
    from hub.api.views import device_detail, list_devices
    from hub.devices.clones import cloned_text

    with _state(data) as (loaded, connection):
        online_since_ns = time.time_ns() - int(3e9 * loaded.config.checkin_s)
        detail = None if device is None else device_detail(connection, device, online_since_ns)
        rows = list_devices(connection, online_since_ns) if device is None else [detail] if detail else []
    if device is not None and detail is None:
        raise click.ClickException(f"no device {device}; `tocsin hub devices` lists them")
    if as_json:
        click.echo(json.dumps(rows if device is None else detail))
        return
    shown = [
        (
            row["device_id"],
            row["site"],
            "yes" if row["online"] else "no",
            _age(row["last_seen_ns"]),
            row["agent_version"],
            _lasts(row["survival"]),
            "CLONED" if row["cloned"] else row["state"],
            ", ".join(f"{asset['asset']} ({asset['state'].replace('_', ' ')})" for asset in row["assets"]),
        )
        for row in rows
    ]
    columns = ("device", "site", "online", "seen", "agent", "lasts alone", "state", "assets")
    show_table(columns, shown, "no devices yet; `tocsin hub token` makes a token with which they enrol")
    for row in rows:
        if row["cloned"]:
            click.echo(plain(cloned_text(row["device_id"], row["cloned"])))


def _lasts(survival: dict[str, Any] | None) -> str:
    """How long a device does without the hub."""
    days = (survival or {}).get("days")
    return "" if days is None else f"{days:,.0f} days" if days >= 10 else f"{days:.1f} days"


@hub.command()
@click.argument("sql")
@data_option
@json_option
def query(sql: str, data: Path, as_json: bool) -> None:
    """Run SQL over the lake's tables: aggregates, rollups, evidence, health; timed_aggregates has corrected times."""
    from hub.clocks.store import load_spans
    from hub.lake.lake import open_lake
    from hub.lake.query import query as run_query
    from hub.state.database import open_state, reading

    loaded = load_hub(data)
    with reading(open_state(loaded.state_url)).begin() as connection:
        spans = load_spans(connection)
    result = run_query(sql, open_lake(loaded.lake_url), spans)
    rows = list(zip(*(column.to_pylist() for column in result.columns), strict=True))
    if as_json:
        found = [dict(zip(result.column_names, row, strict=True)) for row in rows]
        click.echo(msgspec.json.encode(found, enc_hook=str))  # NaN becomes null: JSON has no NaN
        return
    show_table(result.column_names, rows, "no rows")


@hub.command()
@click.option("--open", "open_only", is_flag=True, help="Leave out the closed ones.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
@data_option
@json_option
def alerts(open_only: bool, limit: int, data: Path, as_json: bool) -> None:
    """Alerts, newest first."""
    from hub.api.views import list_alerts

    with _state(data) as (_, connection):
        rows = list_alerts(connection, open_only=open_only, limit=limit)
    if as_json:
        click.echo(json.dumps(rows))
        return
    shown = [
        (
            _age(row["opened_ns"]),
            "open" if row["closed_ns"] is None else _age(row["closed_ns"]),
            *(row[name] for name in ("severity", "device_id", "asset")),
            f"{row['p_value']:.2g}",
            ", ".join(channel for channel, _ in row["top"][:3]),
            row["alert_id"],
        )
        for row in rows
    ]
    columns = ("opened", "closed", "severity", "device", "asset", "p-value", "top", "alert")
    show_table(columns, shown, "no alerts", copied="alert")


@hub.command()
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
@data_option
@json_option
def quarantine(limit: int, data: Path, as_json: bool) -> None:
    """Items that were refused, newest first, and why."""
    from hub.api.views import list_quarantine

    with _state(data) as (_, connection):
        rows = list_quarantine(connection, limit)
    if as_json:
        click.echo(json.dumps(rows))
        return
    columns = ("device_id", "epoch", "lane", "seq", "kind", "n_bytes", "reason")
    show_table(columns, [tuple(row[name] for name in columns) for row in rows], "nothing in quarantine")


@contextmanager
def _state(data: Path) -> Iterator[tuple[Hub, Connection]]:
    """The hub in `data` and a snapshot of its state; a running hub is not disturbed."""
    from hub.state.database import open_state, reading

    loaded = load_hub(data)
    engine = open_state(loaded.state_url)
    try:
        with reading(engine).begin() as connection:
            yield loaded, connection
    finally:
        engine.dispose()


def _age(unix_ns: int) -> str:
    """How long ago, for people."""
    age_s = max(0.0, (time.time_ns() - unix_ns) / 1e9)
    for unit, length_s in (("d", 86400), ("h", 3600), ("min", 60)):
        if age_s >= length_s:
            return f"{age_s / length_s:.0f} {unit} ago"
    return f"{age_s:.0f} s ago"
