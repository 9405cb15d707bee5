"""`tocsin hub erase DEVICE`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hub.settings import load_hub
from hub.terminal import data_option, json_option

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from hub.settings import Hub


@click.command()
@click.argument("device")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--timeout-s", type=click.FloatRange(min=0), default=300.0, show_default=True, help="How long to wait for a hub.")
@data_option
@json_option
def erase(device: str, yes: bool, timeout_s: float, data: Path, as_json: bool) -> None:
    """Erase all data of DEVICE, for ever; what went is told in the audit log.

    Also older versions of the lake become unreadable. A running hub does it within seconds; else it is done at once.
    """
    from hub.audit.log import cli_actor
    from hub.erasure.erasure import ask, is_asked, is_known
    from hub.serve import only_one
    from hub.state.database import open_state, reading
    from models.errors import StorageError

    hub = load_hub(data)
    engine = open_state(hub.state_url)
    with reading(engine).begin() as connection:
        if not is_known(connection, device) and not is_asked(connection, device):
            raise click.ClickException(f"nothing is known of a device {device}; `tocsin hub devices` lists them")
    if not yes:
        click.confirm(f"Erase all data of {device}, for ever?", abort=True)
    with engine.begin() as connection:
        ask(connection, device, cli_actor(), time.time_ns())
    try:
        with only_one(hub.paths.lock):
            _erase_here(hub, engine)
    except StorageError:  # it is being served: that process does it
        _wait(engine, device, timeout_s)
    _tell(engine, device, as_json)
    engine.dispose()


def _erase_here(hub: Hub, engine: Engine) -> None:
    from hub.erasure.erasure import Eraser
    from hub.ingest.log import SqliteIngestLog
    from hub.lake.lake import open_lake

    log = SqliteIngestLog(hub.paths.ingest)
    try:
        Eraser(engine, log, open_lake(hub.lake_url)).run(time.time_ns())
    finally:
        log.close()


def _wait(engine: Engine, device: str, timeout_s: float) -> None:
    from hub.erasure.erasure import is_asked
    from hub.state.database import reading

    until_s = time.monotonic() + timeout_s
    while time.monotonic() < until_s:
        with reading(engine).begin() as connection:
            if not is_asked(connection, device):
                return
        time.sleep(0.2)
    raise click.ClickException(f"{device}: asked for, and not done after {timeout_s:g} s; the hub goes on with it")


def _tell(engine: Engine, device: str, as_json: bool) -> None:
    from hub.audit.log import read_entries
    from hub.state.database import reading

    with reading(engine).begin() as connection:
        entries = read_entries(connection, limit=1000)
    entry = next(entry for entry in entries if entry.action == "data.erase" and entry.subject == device)
    details = json.loads(entry.details)
    if as_json:
        click.echo(json.dumps({"device": device, "audit_entry": entry.number, **details}))
        return
    counts = ", ".join(f"{details[name]} {name.replace('_', ' ')}" for name in ("lake_rows", "state_rows", "log_records"))
    click.echo(f"{device} is erased: {counts}; entry {entry.number} of the audit log")
