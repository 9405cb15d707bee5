"""`tocsin hub summary`, `sensor-faults`, `training-runs`: what the operators' API tells, on the hub's own machine."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path

import click

from hub.api import views
from hub.opened import snapshot
from hub.settings import load_hub
from hub.terminal import data_option, json_option, show_table


@click.command()
@data_option
@json_option
def summary(data: Path, as_json: bool) -> None:
    """The fleet in numbers."""
    online_since_ns = time.time_ns() - int(3e9 * load_hub(data).config.checkin_s)
    with snapshot(data) as connection:
        counts = views.fleet_counts(connection, online_since_ns)
    if as_json:
        click.echo(json.dumps(counts))
        return
    shown = [
        (name.replace("_", " "), ", ".join(f"{n} {kind}" for kind, n in value.items()) if isinstance(value, dict) else value)
        for name, value in counts.items()
    ]
    show_table(("what", "how many"), shown, "nothing")


@click.command("sensor-faults")
@click.option("--open", "open_only", is_flag=True, help="Leave out the closed ones.")
@click.option("--device", default="", help="Only this device's.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
@data_option
@json_option
def sensor_faults(open_only: bool, device: str, limit: int, data: Path, as_json: bool) -> None:
    """Sensor faults, newest first."""
    with snapshot(data) as connection:
        rows = views.list_sensor_faults(connection, open_only=open_only, device_id=device, limit=limit)
    if as_json:
        click.echo(json.dumps(rows))
        return
    names = ("device_id", "asset", "channel", "fault", "detail")
    shown = [(_when(row["opened_ns"]), _when(row["closed_ns"]), *(row[name] for name in names)) for row in rows]
    show_table(("opened", "closed", "device", "asset", "channel", "fault", "detail"), shown, "no sensor faults")


@click.command("training-runs")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
@data_option
@json_option
def training_runs(limit: int, data: Path, as_json: bool) -> None:
    """Training runs, newest first."""
    with snapshot(data) as connection:
        rows = views.list_training_runs(connection, limit)
    if as_json:
        click.echo(json.dumps(rows))
        return
    shown = [
        (row["run_id"], row["profile"], row["state"], _when(row["started_ns"]), row["bundle_id"] or row["error"])
        for row in rows
    ]
    show_table(("run", "profile", "state", "started", "outcome"), shown, "no training runs yet")


def _when(at_ns: int | None) -> str:
    """To the second; "open" for what has no end. A time that no calendar holds is shown as the number it is."""
    if at_ns is None:
        return "open"
    try:
        return datetime.fromtimestamp(at_ns // 1_000_000_000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return str(at_ns)
