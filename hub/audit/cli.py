"""`tocsin hub audit …`: read the audit log, and check that it is whole."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click

from hub.audit.log import AuditBroken, Entry, Head, read_entries, verify
from hub.opened import snapshot
from hub.terminal import data_option, json_option, show_table


class _HeadType(click.ParamType[Head]):
    name = "number:hash"

    def convert(self, value: str | Head, param: click.Parameter | None, ctx: click.Context | None) -> Head:
        if isinstance(value, Head):
            return value
        number, _, sha256 = value.partition(":")
        if not (number.isascii() and number.isdigit() and len(sha256) == 64):
            self.fail(f"{value!r}: expected NUMBER:HASH, as `tocsin hub audit verify` prints it", param, ctx)
        return Head(int(number), sha256.lower())


@click.group()
def audit() -> None:
    """Who changed what at this hub, and when."""


@audit.command("list")
@click.option("--limit", type=click.IntRange(1, 5000), default=50, show_default=True)
@click.option("--before", type=click.IntRange(min=1), help="Only entries with lower numbers.")
@data_option
@json_option
def list_entries(limit: int, before: int | None, data: Path, as_json: bool) -> None:
    """Entries, newest first."""
    with snapshot(data) as connection:
        entries = read_entries(connection, before=before, limit=limit)
    if as_json:
        click.echo(json.dumps([asdict(entry) | {"details": json.loads(entry.details)} for entry in entries]))
        return
    show_table(
        ("no.", "when", "who", "what", "of", "details"), [_row(entry) for entry in entries], "nothing has been changed yet"
    )


@audit.command("verify")
@click.option("--head", type=_HeadType(), help="A head that was noted earlier: it must still be part of the log.")
@data_option
@json_option
def verify_log(head: Head | None, data: Path, as_json: bool) -> None:
    """Check each entry's hash against the entry and the one before. Exits with 1 where the log was tampered with.

    Note down, elsewhere, the head that this prints: whoever can write the hub's database could make the whole log anew, and
    only a head that was kept shows that.
    """
    with snapshot(data) as connection:
        try:
            found = verify(connection, head)
        except AuditBroken as error:
            raise click.ClickException(f"the audit log is broken: {error}") from None
    if as_json:
        click.echo(json.dumps({"entries": found.number, "head": str(found)}))
        return
    click.echo(f"{found.number} entries, all as they were written. Head: {found}")


def _row(entry: Entry) -> tuple[object, ...]:
    when = datetime.fromtimestamp(entry.at_ns // 1_000_000_000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    details = "" if entry.details == "{}" else entry.details
    return entry.number, when, entry.actor, entry.action, entry.subject, details
