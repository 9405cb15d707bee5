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
from hub.registry.approval import approval_of
from hub.registry.approval import approve as give_approval
from hub.registry.holding import devices_holding
from hub.registry.registry import Registry
from hub.settings import load_hub
from hub.state.database import open_state, reading
from hub.terminal import data_option, json_option
from hub.training.card_html import card_html
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


@bundles.command()
@click.argument("bundle_id")
@click.option("--by", required=True, help="Who answers for it.")
@click.option("--note", default="", help="On what grounds.")
@data_option
@json_option
def approve(bundle_id: str, by: str, note: str, data: Path, as_json: bool) -> None:
    """Approve BUNDLE_ID; where hub.toml has `require_approval`, no rollout starts without."""
    engine = open_state(load_hub(data).state_url)
    try:
        with engine.begin() as connection:
            give_approval(connection, bundle_id, approver=by, actor=cli_actor(), note=note, now_ns=time.time_ns())
    finally:
        engine.dispose()
    click.echo(json.dumps({"bundle_id": bundle_id, "approver": by}) if as_json else f"{bundle_id} approved by {by}")


@bundles.command()
@click.argument("bundle_id")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write it there as one HTML file.")
@data_option
@click.option("--json", "as_json", is_flag=True, help="As JSON: so it is without --html, too.")
def card(bundle_id: str, html: Path | None, data: Path, as_json: bool) -> None:
    """The model card of BUNDLE_ID, as JSON or HTML."""
    if as_json and html is not None:
        raise click.UsageError("--json or --html: one of the two")
    engine = open_state(load_hub(data).state_url)
    with _registry(data) as registry, reading(engine).begin() as connection:
        entry, approval = registry.get(bundle_id), approval_of(connection, bundle_id)
        n_holding = devices_holding(connection, bundle_id)
    engine.dispose()
    if html is None:
        lineage = {"sha256": entry["sha256"], "run_id": entry["run_id"], "devices_holding": n_holding}
        click.echo(json.dumps({**entry["card"], "approval": approval, "bundle": lineage}, indent=2))
        return
    html.write_text(card_html(entry, approval, n_holding), encoding="utf-8")
    click.echo(f"{html}")


@contextmanager
def _registry(data: Path) -> Iterator[Registry]:
    hub = load_hub(data)
    engine = open_state(hub.state_url)
    try:
        yield Registry(engine, hub.paths.bundles, hub.repository())
    finally:
        engine.dispose()
