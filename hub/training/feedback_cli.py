"""`tocsin hub feedback`: what was behind an alert."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click
from sqlalchemy import select

from hub.audit.log import cli_actor
from hub.settings import load_hub
from hub.state.database import open_state
from hub.state.schema import alerts
from hub.terminal import data_option, json_option
from hub.training.feedback import LABELS, Label, give_feedback


@click.command()
@click.argument("alert")
@click.argument("label", type=click.Choice(LABELS))
@click.option("--device", help="Whose alert; needed only where two devices gave the same id.")
@click.option("--note", default="", help="What was found.")
@data_option
@json_option
def feedback(alert: str, label: Label, device: str | None, note: str, data: Path, as_json: bool) -> None:
    """Say what ALERT was: a fault (confirm), nothing (false-alarm), or work on the machine (maintenance).

    Training leaves out the windows of confirmed alerts and maintenance, and learns from those of false alarms; evaluation
    tells how a new model does on both. The latest word counts.
    """
    engine = open_state(load_hub(data).state_url)
    try:
        with engine.begin() as connection:
            query = select(alerts.c.device_id).where(alerts.c.alert_id == alert).order_by(alerts.c.device_id)
            owners = [device] if device else list(connection.execute(query).scalars())
            if len(owners) != 1:
                several = f"it is of {', '.join(owners)}: say which with --device"
                raise click.ClickException(f"{alert}: {several if owners else 'no such alert; `tocsin hub alerts` lists them'}")
            give_feedback(connection, owners[0], alert, label, actor=cli_actor(), note=note, now_ns=time.time_ns())
    finally:
        engine.dispose()
    told = {"device_id": owners[0], "alert_id": alert, "label": label}
    click.echo(json.dumps(told) if as_json else f"{owners[0]}/{alert}: {label}")
