"""`tocsin hub keys …`, `tocsin hub sign`: the keys that sign bundles, where they are, and what waits for them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec
from sqlalchemy import Engine

from hub.audit.log import cli_actor
from hub.distribution import ceremony
from hub.distribution.keys import ONLINE, KeyRing, profile_of, role_of
from hub.distribution.repository import Repository, RoleStatus, waiting
from hub.settings import load_hub
from hub.state.database import open_state, reading
from hub.terminal import data_option, json_option, plain, show_table
from models.files import write_durably

_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
_FILE = click.Path(path_type=Path, dir_okay=False)
_PRESENT = click.Path(path_type=Path, exists=True, dir_okay=False)
keys_option = click.option(
    "--keys", "folder", type=_FOLDER,
    help="Where keys are that are not kept on the hub: a mounted stick.",
)  # fmt: skip
_NEEDED: dict[str, str] = {
    "root": "to change keys, to renew root",
    "targets": "for a new profile, to change a profile's key, to renew targets",
    "snapshot": "always, by the hub",
    "timestamp": "always, by the hub",
}


@click.group()
def keys() -> None:
    """The keys that sign what devices may load."""


@keys.command("list")
@data_option
@keys_option
@json_option
def list_keys(data: Path, folder: Path | None, as_json: bool) -> None:
    """Every role: its key, where that is, when it is needed, and until when what it signed holds."""
    with _repository(data, folder) as (engine, repository), reading(engine).begin() as connection:
        found = repository.status(connection)
    if as_json:
        click.echo(json.dumps([_as_json(status) for status in found]))
        return
    columns = ("role", "key", "is in", "needed", "version", "signed until", "waiting")
    show_table(columns, [_row(status) for status in found], "")


@keys.command()
@click.argument("role")
@data_option
@keys_option
def rotate(role: str, data: Path, folder: Path | None) -> None:
    """Give ROLE a new key: root, targets, snapshot, timestamp, online (the last two), or a profile's name.

    The old key signs nothing any more as soon as this is done, and its file is removed. Devices follow by themselves.
    """
    with _repository(data, folder) as (engine, repository):
        for each in _roles(role):
            keyid = repository.rotate(engine, each, actor=cli_actor(), now_ns=time.time_ns())
            click.echo(f"{each} has a new key: {each}.{keyid[:8]}.key")


@keys.command()
@data_option
@keys_option
def renew(data: Path, folder: Path | None) -> None:
    """Sign again what would expire, with every key that is at hand."""
    with _repository(data, folder) as (engine, repository):
        renewed = repository.renew(engine, actor=cli_actor(), now_ns=time.time_ns())
    click.echo(f"renewed: {', '.join(renewed)}")


@click.command()
@data_option
@keys_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--export", "export_to", type=_FILE, help="Sign nothing: write what waits to this file, for `countersign`.")
@click.option("--import", "import_from", type=_PRESENT, help="Take over this file, which `countersign` has signed.")
def sign(data: Path, folder: Path | None, yes: bool, export_to: Path | None, import_from: Path | None) -> None:
    """Sign the bundles that wait for their profile's key. Devices load them only after that, and after a rollout."""
    with _repository(data, folder) as (engine, repository):
        with reading(engine).begin() as connection:
            rows = waiting(connection)
        if not rows:
            click.echo("nothing waits for a signature")
            return
        if export_to is not None:
            _export(engine, repository, export_to)
            return
        for row in rows:
            click.echo(plain(f"{row.profile}: {row.bundle_id}, {row.size} bytes, SHA-256 {row.sha256}"))
        if import_from is None and not yes:
            click.confirm("Sign these?", abort=True)
        with engine.begin() as connection:
            if import_from is not None:
                request = ceremony.read_request(import_from.read_bytes())
                signed = ceremony.take_signed(connection, repository.keys, request, actor=cli_actor(), now_ns=time.time_ns())
            else:
                signed = repository.sign_waiting(connection, actor=cli_actor(), now_ns=time.time_ns())
    left = [row.bundle_id for row in rows if row.bundle_id not in signed]
    click.echo(f"signed: {', '.join(signed) or 'none'}")
    if left:
        raise click.ClickException(f"no key at hand for {', '.join(left)}; `tocsin hub keys list` says which are needed")


@click.command()
@click.argument("file", type=_PRESENT)
@click.option("--keys", "folder", type=_FOLDER, required=True, help="Where the keys are.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def countersign(file: Path, folder: Path, yes: bool) -> None:
    """Sign FILE, written by `sign --export`, on a machine that has the keys and need not be a hub."""
    request = ceremony.read_request(file.read_bytes())
    for role, path, size, sha256 in ceremony.contents(request):
        click.echo(plain(f"{role}: {path}, {size} bytes, SHA-256 {sha256}"))
    if not yes:
        click.confirm("Vouch for these?", abort=True)
    write_durably(file, msgspec.json.encode(ceremony.countersign(request, KeyRing(folder, folder))))
    click.echo(f"signed; back on the hub: tocsin hub sign --import {file.name}")


def _export(engine: Engine, repository: Repository, file: Path) -> None:
    with reading(engine).begin() as connection:
        request = ceremony.write_request(connection, repository.keys, time.time_ns())
    if not request:
        raise click.ClickException("what waits is of new profiles: `tocsin hub sign --keys FOLDER` with the targets key first")
    write_durably(file, msgspec.json.encode(request))
    click.echo(f"written; where the keys are: tocsin hub countersign {file.name} --keys FOLDER")


@contextmanager
def _repository(data: Path, folder: Path | None) -> Iterator[tuple[Engine, Repository]]:
    hub = load_hub(data)
    engine = open_state(hub.state_url)
    try:
        yield engine, hub.repository(folder)
    finally:
        engine.dispose()


def _roles(name: str) -> tuple[str, ...]:
    return ONLINE if name == "online" else (name,) if name in _NEEDED else (role_of(name),)


def _needed(role: str) -> str:
    return _NEEDED.get(role) or f"to publish for {profile_of(role)}"


def _row(status: RoleStatus) -> tuple[object, ...]:
    place = str(status.key.parent) if status.key else "not here"
    until = status.expires.strftime("%Y-%m-%d")
    return status.role, status.key_file, place, _needed(status.role), status.version, until, status.waiting or ""


def _as_json(status: RoleStatus) -> dict[str, object]:
    return {
        "role": status.role,
        "key_file": status.key_file,
        "key": str(status.key) if status.key else None,
        "needed": _needed(status.role),
        "version": status.version,
        "expires": status.expires.isoformat(),
        "waiting": status.waiting,
    }
