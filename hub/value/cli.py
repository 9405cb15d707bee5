"""`tocsin hub value`: what the fleet's learning brought."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hub.settings import load_hub
from hub.terminal import data_option, json_option, show_table

if TYPE_CHECKING:
    from hub.value.shapes import Delay, ModelValue, Rate, ValueReport


@click.command()
@data_option
@json_option
def value(data: Path, as_json: bool) -> None:
    """False alarms and delays before and after each model, bytes not sent, alerts by what operators said of them."""
    from hub.lake.lake import open_lake
    from hub.opened import snapshot
    from hub.value.report import ValueFigures

    hub = load_hub(data)
    with snapshot(data) as connection:
        windows = open_lake(hub.lake_url).dataset("aggregates")
        found = ValueFigures(hub.profiles_dir).report(connection, windows, time.time_ns())
    click.echo(found.model_dump_json()) if as_json else _show(found)


def _show(found: ValueReport) -> None:
    rows = [(profile.profile, *_row(model)) for profile in found.profiles for model in profile.models]
    columns = ("profile", "detector", "from", "to", "asset-months", "alerts", "false alarms a month", "delay", "judged")
    show_table(columns, rows, "nothing is counted yet: that begins with the first windows in the lake")
    for profile in found.profiles:
        for change in profile.changes:
            click.echo(f"{profile.profile}: {change.after} against {change.before}: {_told(change.verdict)}")
    traffic = found.traffic
    if traffic.not_sent_share is not None:
        share = f"{traffic.not_sent_share:.2%} of the samples were not sent"
        click.echo(f"{share}: {traffic.raw_bytes:,} bytes were measured, {traffic.received_bytes:,} received")


def _told(verdict: str) -> str:
    words = {"fewer": "fewer false alarms", "more": "more false alarms", "same": "no difference in false alarms can be told"}
    return words.get(verdict, verdict)


def _row(model: ModelValue) -> tuple[object, ...]:
    alerts = f"{model.alerts.count}: {model.confirmed} confirmed, {model.unlabelled} not said"
    return (
        model.detector,
        model.since,
        model.until,
        f"{model.asset_months:.2f}",
        alerts,
        _rate(model.false_alarms),
        _delay(model.delay),
        model.too_few or "yes",
    )


def _rate(rate: Rate) -> str:
    if rate.per_asset_month is None:
        return ""
    return f"{rate.per_asset_month:.2f} ({rate.low:.2f} to {rate.high:.2f})"


def _delay(delay: Delay) -> str:
    if delay.median_s is None:
        return f"too few ({delay.count})"
    return f"{delay.median_s:.0f} s ({delay.low_s:.0f} to {delay.high_s:.0f})"
