"""`tocsin hub acknowledge`, `tocsin hub note`: what people do about alerts, on the hub's own machine."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from sqlalchemy import Connection, select

from hub.alerts.handling import HandlingError, add_note, alert_detail
from hub.alerts.handling import acknowledge as acknowledge_alerts
from hub.audit.log import cli_actor
from hub.opened import writing
from hub.state.schema import alerts
from hub.terminal import data_option, json_option, plain

device_option = click.option("--device", help="Whose alert; needed only where two devices gave the same id.")


@click.command()
@click.argument("alert")
@device_option
@data_option
@json_option
def acknowledge(alert: str, device: str | None, data: Path, as_json: bool) -> None:
    """Say that somebody is on ALERT. The first who says so stands; notifications stop escalating."""
    with _told(), writing(data) as (_, connection):
        owner = owner_of(connection, alert, device)
        acknowledge_alerts(connection, [(owner, alert)], actor=cli_actor(), now_ns=time.time_ns())
        found = (alert_detail(connection, owner, alert) or {})["acknowledged"]
    told = {"device_id": owner, "alert_id": alert, "by": found["actor"], "at_ns": found["at_ns"]}
    click.echo(json.dumps(told) if as_json else plain(f"{owner}/{alert}: {found['actor']} is on it"))


@click.command()
@click.argument("alert")
@click.argument("text")
@device_option
@data_option
@json_option
def note(alert: str, text: str, device: str | None, data: Path, as_json: bool) -> None:
    """Append TEXT to the notes on ALERT."""
    with _told(), writing(data) as (_, connection):
        owner = owner_of(connection, alert, device)
        add_note(connection, owner, alert, text, actor=cli_actor(), now_ns=time.time_ns())
        n_notes = len((alert_detail(connection, owner, alert) or {})["notes"])
    told = {"device_id": owner, "alert_id": alert, "notes": n_notes}
    click.echo(json.dumps(told) if as_json else plain(f"{owner}/{alert}: note {n_notes}"))


def owner_of(connection: Connection, alert: str, device: str | None) -> str:
    """The device whose alert it is. Raises ClickException: nobody's, or several devices'."""
    query = select(alerts.c.device_id).where(alerts.c.alert_id == alert).order_by(alerts.c.device_id)
    owners = [device] if device else list(connection.execute(query).scalars())
    if not owners:
        raise click.ClickException(f"{alert}: no such alert; `tocsin hub alerts` lists them")
    if len(owners) > 1:
        raise click.ClickException(f"{alert}: it is of {', '.join(owners)}: say which with --device")
    return owners[0]


@contextmanager
def _told() -> Iterator[None]:
    """What cannot be done is told in one line."""
    try:
        yield
    except HandlingError as error:
        raise click.ClickException(str(error)) from None
