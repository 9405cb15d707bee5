"""`tocsin hub ledger`: what was received, and what is missing."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from hub.settings import load_hub
from hub.terminal import data_option, json_option, show_table
from models.contract.clock import NS_PER_S

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from hub.ledger.span import SpanLedger

_UNITS_S: Final = {"d": 86_400, "h": 3600, "min": 60}
_COLUMNS: Final = ("epoch", "lane", "received", "evicted", "merged", "n_missing", "redelivered", "rejected")


class _Moment(click.ParamType[int]):
    """A time as Unix ns: `2026-09-21`, `2026-09-21T14:30` (UTC), or how long ago: `7d`, `24h`, `30min`."""

    name = "time"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        if ago := re.fullmatch(r"(\d{1,6})(d|h|min)", value):
            return max(0, time.time_ns() - int(ago[1]) * _UNITS_S[ago[2]] * NS_PER_S)
        try:
            at = datetime.fromisoformat(value)
            return max(0, int(at.replace(tzinfo=at.tzinfo or UTC).timestamp()) * NS_PER_S)
        except (ValueError, OverflowError):
            self.fail(
                f"{value!r}: expected a date, a time as 2026-09-21T14:30 (UTC), or how long ago: 7d, 24h, 30min", param, ctx
            )


@click.command()
@click.argument("device", required=False)
@click.option("--since", type=_Moment(), help="Account for a span of time of DEVICE: a time, or how long ago (7d, 24h, 30min).")
@click.option("--until", type=_Moment(), help="End of that span (default: now).")
@data_option
@json_option
def ledger(device: str | None, since: int | None, until: int | None, data: Path, as_json: bool) -> None:
    """What was received, evicted, merged and is missing, of DEVICE or of all; with --since, over a span of time, by day."""
    from hub.lake.lake import open_lake
    from hub.ledger.routes import DEFAULT_SPAN_NS
    from hub.ledger.span import span_ledger
    from hub.state.database import open_state, reading

    hub = load_hub(data)
    with reading(open_state(hub.state_url)).begin() as connection:
        known = _known(connection)
        if device is not None and device not in known:
            raise click.ClickException(f"no device {device}; `tocsin hub devices` lists them")
        if since is None and until is None:
            _show_lanes(connection, [device] if device else known, as_json)
            return
        if device is None:
            raise click.UsageError("--since and --until are of one device: name it")
        until_ns = time.time_ns() if until is None else until
        since_ns = max(0, until_ns - DEFAULT_SPAN_NS) if since is None else since
        if since_ns >= until_ns:
            raise click.UsageError("--since must be before --until")
        account = span_ledger(connection, open_lake(hub.lake_url), device, since_ns, until_ns)
    click.echo(account.model_dump_json()) if as_json else _show_span(account)


def _known(connection: Connection) -> list[str]:
    """Devices that are enrolled, or of which something was received."""
    from sqlalchemy import select, union

    from hub.state.schema import devices, ledger

    both = union(select(devices.c.device_id), select(ledger.c.device_id)).order_by("device_id")
    return list(connection.execute(both).scalars())


def _show_lanes(connection: Connection, names: list[str], as_json: bool) -> None:
    from hub.api.views import device_ledger

    accounts = [device_ledger(connection, name) for name in names]
    if as_json:
        click.echo(json.dumps([account.model_dump() for account in accounts]))
        return
    shown = [
        (
            account.device_id,
            *(getattr(lane, name) for name in _COLUMNS),
            ", ".join(f"{first}..{last}" for first, last in lane.missing[:5]),
        )
        for account in accounts
        for lane in account.lanes
    ]
    columns = ("device", *(name.removeprefix("n_") for name in _COLUMNS), "gaps")
    show_table(columns, shown, "nothing received yet")


def _show_span(account: SpanLedger) -> None:
    click.echo(
        f"{account.device_id}, {_time(account.since_ns)} to {_time(account.until_ns)}: {account.received} windows received "
        f"({account.late} more than an hour late), {account.merged} merged, {account.evicted} items evicted, "
        f"{account.missing} missing; {account.late_readings} readings were late for their window"
    )
    days = [(day.day, day.received, day.late, day.merged) for day in account.days]
    show_table(("day", "received", "late", "merged"), days, "no windows of that span")
    lost = [
        (loss.kind, loss.lane, f"{loss.first_seq}..{loss.seq}", _time(loss.start_ns), _time(loss.end_ns), loss.reason)
        for loss in account.losses
    ]
    lost += [
        ("missing", gap.lane, f"{gap.first_seq}..{gap.last_seq}", _time(gap.after_ns), _time(gap.before_ns), "")
        for gap in account.gaps
    ]
    if lost:
        show_table(("what", "lane", "numbers", "from", "to", "reason"), lost, "")


def _time(at_ns: int | None) -> str:
    """UTC, for people; "" where it is not known."""
    return datetime.fromtimestamp(at_ns // NS_PER_S, UTC).strftime("%Y-%m-%d %H:%M:%S") if at_ns else ""
