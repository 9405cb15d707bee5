"""`tocsin hub lake …`: what the lake consists of, and keeping it in order by hand."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hub.settings import load_hub
from hub.terminal import data_option, json_option, show_table

if TYPE_CHECKING:
    from hub.lake.lake import DeltaLake


@click.group()
def lake() -> None:
    """Look into the lake, and keep it in order; the hub does it by itself every quarter of an hour."""


@lake.command()
@data_option
@json_option
def status(data: Path, as_json: bool) -> None:
    """Files, rows, days and version of each table."""
    from hub.lake.tables import TABLES
    from hub.lake.upkeep import keep_days

    config, opened = load_hub(data).config, _open(data)
    rows = {table: asdict(opened.state(table)) | {"keep_days": keep_days(config, table)} for table in TABLES}
    if as_json:
        click.echo(json.dumps(rows))
        return
    columns = ("table", "version", "files", "small", "bytes", "rows", "first day", "last day", "days kept")
    show_table(columns, [(table, *(row or "" for row in values.values())) for table, values in rows.items()], "no tables")


@lake.command()
@data_option
@json_option
def compact(data: Path, as_json: bool) -> None:
    """Rewrite small files as larger ones; a running hub is not disturbed."""
    from hub.lake.tables import TABLES

    opened = _open(data)
    removed = {table: opened.compact(table) for table in TABLES}
    click.echo(json.dumps(removed) if as_json else f"{sum(removed.values())} small files are now parts of larger ones")


@lake.command()
@click.option(
    "--keep-versions-h", type=click.IntRange(min=1), help="Older versions become unreadable (default: as in hub.toml)."
)
@data_option
@json_option
def vacuum(keep_versions_h: int | None, data: Path, as_json: bool) -> None:
    """Remove files that no recent version needs; a running hub is not disturbed."""
    from hub.lake.tables import TABLES

    hours = keep_versions_h or load_hub(data).config.keep_versions_h
    opened = _open(data)
    removed = {table: opened.vacuum(table, hours) for table in TABLES}
    click.echo(json.dumps(removed) if as_json else f"{sum(removed.values())} files removed")


@lake.command()
@data_option
@json_option
def recount(data: Path, as_json: bool) -> None:
    """Count windows by day anew, for the pages of data and value; the hub must not be running."""
    from hub.ingest.log import SqliteIngestLog
    from hub.lake.recount import recount as count_anew
    from hub.serve import only_one
    from hub.state.database import open_state

    hub = load_hub(data)
    with only_one(hub.paths.lock):
        engine, log = open_state(hub.state_url), SqliteIngestLog(hub.paths.ingest)
        try:
            n_rows = count_anew(engine, _open(data), log.log_id)
        finally:
            log.close()
            engine.dispose()
    click.echo(json.dumps({"rows": n_rows}) if as_json else f"{n_rows:,} rows of the lake are counted by day")


def _open(data: Path) -> DeltaLake:
    from hub.lake.lake import open_lake

    return open_lake(load_hub(data).lake_url)
