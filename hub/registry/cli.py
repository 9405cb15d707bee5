"""`tocsin hub bundles …`: what is in the registry, and putting a bundle into it by hand."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click

from hub.audit.log import cli_actor
from hub.registry.registry import Registry
from hub.settings import load_hub
from hub.state.database import open_state
from hub.terminal import data_option, json_option
from models.contract.names import MAX_BUNDLE_BYTES


@click.group()
def bundles() -> None:
    """Models with all they need to serve and to be judged."""


@bundles.command("list")
@data_option
@click.option("--profile", help="Only this profile's.")
@json_option
def list_bundles(data: Path, profile: str | None, as_json: bool) -> None:
    """Bundles, newest first."""
    with _registry(data) as registry:
        found = registry.list(profile)
    if as_json:
        click.echo(json.dumps(found))
        return
    for entry in found:
        waits = "  waits for its signature" if entry["signed_ns"] is None else ""
        made = datetime.fromtimestamp(entry["created_ns"] // 1_000_000_000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        click.echo(f"{entry['bundle_id']:<28} {made}  {entry['size']:>7} bytes  {entry['sha256'][:16]}{waits}")
    if not found:
        click.echo("no bundles yet; `tocsin hub train` makes one")


@bundles.command()
@click.argument("bundle_id")
@data_option
@click.option("--json", "as_json", is_flag=True, help="The same: it is JSON in any case.")
def show(bundle_id: str, data: Path, as_json: bool) -> None:  # noqa: ARG001 (every command takes --json)
    """A bundle's manifest and model card, as JSON."""
    with _registry(data) as registry:
        click.echo(json.dumps(registry.get(bundle_id), indent=2))


@bundles.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@data_option
@json_option
def publish(file: Path, data: Path, as_json: bool) -> None:
    """Check FILE, a bundle archive, and put it into the registry. It reaches no device before a rollout."""
    if file.stat().st_size > MAX_BUNDLE_BYTES:
        raise click.ClickException(f"{file}: {file.stat().st_size} bytes; a bundle has at most {MAX_BUNDLE_BYTES}")
    with _registry(data) as registry:
        bundle_id = registry.publish(file.read_bytes(), now_ns=time.time_ns(), actor=cli_actor())
        waits = registry.get(bundle_id)["signed_ns"] is None
    click.echo(json.dumps({"bundle_id": bundle_id}) if as_json else bundle_id)
    if waits:
        click.echo("it waits for its profile's key: `tocsin hub sign --keys FOLDER`", err=True)


@contextmanager
def _registry(data: Path) -> Iterator[Registry]:
    hub = load_hub(data)
    engine = open_state(hub.state_url)
    try:
        yield Registry(engine, hub.paths.bundles, hub.repository())
    finally:
        engine.dispose()
