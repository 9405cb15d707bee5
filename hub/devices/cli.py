"""`tocsin hub token`, `tokens`, `device`: let devices in, and keep them out."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hub.opened import writing
from hub.terminal import data_option, json_option, show_table

if TYPE_CHECKING:
    from hub.devices.standing import Step


@click.command()
@click.option("--site", required=True, help="Where the devices stand.")
@click.option("--profile", "profiles", multiple=True, help="What they may watch; once for each profile. Default: anything.")
@click.option("--count", type=click.IntRange(1, 10_000), default=1, show_default=True, help="How many devices it lets in.")
@click.option("--ttl", "ttl_h", type=float, default=24.0, show_default=True, help="For how many hours.")
@data_option
@json_option
def token(site: str, profiles: tuple[str, ...], count: int, ttl_h: float, data: Path, as_json: bool) -> None:
    """Make a claim token, which lets devices enrol: `tocsin agent enrol URL TOKEN`.

    It is shown once, and pins this hub: a device that has it trusts no other.
    """
    from hub.audit.log import cli_actor
    from hub.devices.issue import issue_token

    with writing(data) as (hub, connection):
        made = issue_token(
            connection, hub, site=site, profiles=profiles, max_uses=count, ttl_h=ttl_h, actor=cli_actor(), now_ns=time.time_ns()
        )
    if as_json:
        click.echo(json.dumps(made))
        return
    click.echo(made["token"])
    until = datetime.fromtimestamp(made["expires_ns"] // 10**9, UTC)
    whom = f"{count} device{'s' if count > 1 else ''} of site {site}"
    click.echo(f"{made['token_id']}: for {whom}, until {until:%Y-%m-%d %H:%M}Z", err=True)
    click.echo(f"on the device: tocsin agent enrol {made['url']} -", err=True)


@click.command()
@click.option("--revoke", "token_id", metavar="TOKEN_ID", help="Let this one count no longer. Devices that it let in stay.")
@data_option
@json_option
def tokens(token_id: str | None, data: Path, as_json: bool) -> None:
    """Claim tokens, newest first; their secrets are not kept."""
    from hub.audit.log import cli_actor
    from hub.devices.claims import list_tokens, revoke_token

    with writing(data) as (_, connection):
        if token_id and not revoke_token(connection, token_id, actor=cli_actor(), now_ns=time.time_ns()):
            raise click.ClickException(f"no claim token {token_id} to revoke; `tocsin hub tokens` lists them")
        rows = list_tokens(connection, time.time_ns())
    if as_json:
        click.echo(json.dumps(rows))
        return
    shown = [
        (row["token_id"], row["state"], f"{row['n_used']}/{row['max_uses']}", row["site"], ", ".join(row["profiles"]) or "any",
         f"{datetime.fromtimestamp(row['expires_ns'] // 10**9, UTC):%Y-%m-%d %H:%M}Z", row["created_by"])
        for row in rows
    ]  # fmt: skip
    show_table(("token", "state", "used", "site", "profiles", "until", "by"), shown, "no claim tokens")


@click.group()
def device() -> None:
    """Keep a device out, and let it in again."""


_REASON = click.option("--reason", default="", help="Told to the device, and kept in the audit log.")


@device.command()
@click.argument("device_id", metavar="DEVICE")
@_REASON
@data_option
@json_option
def suspend(device_id: str, reason: str, data: Path, as_json: bool) -> None:
    """Take nothing of DEVICE for now; it goes on by itself and keeps what it has.

    A running hub heeds this within half a minute.
    """
    told = f"{device_id} is suspended; `tocsin hub device resume {device_id}` lets it in again"
    _step(data, device_id, "suspend", reason, told, as_json)


@device.command()
@click.argument("device_id", metavar="DEVICE")
@data_option
@json_option
def resume(device_id: str, data: Path, as_json: bool) -> None:
    """Let DEVICE in again; also closes the finding that it was cloned."""
    _step(data, device_id, "resume", "", f"{device_id} is let in; it asks again within minutes", as_json)


@device.command()
@click.argument("device_id", metavar="DEVICE")
@_REASON
@data_option
@json_option
def revoke(device_id: str, reason: str, data: Path, as_json: bool) -> None:
    """Put DEVICE's key out of use for good. The device itself may come again with a new key and a new claim token."""
    _step(data, device_id, "revoke", reason, f"{device_id} is revoked; a running hub refuses it within half a minute", as_json)


@click.command()
@click.argument("device_id", metavar="DEVICE")
@data_option
@json_option
def forget(device_id: str, data: Path, as_json: bool) -> None:
    """Let DEVICE enrol anew, with another key; what it delivered stays. A running hub refuses it within half a minute."""
    _step(data, device_id, "forget", "", f"{device_id} is forgotten; it may enrol again", as_json)


def _step(data: Path, device_id: str, step: Step, reason: str, told: str, as_json: bool) -> None:
    from hub.audit.log import cli_actor
    from hub.devices.standing import take_step

    with writing(data) as (_, connection):
        known = take_step(connection, device_id, step, reason=reason, actor=cli_actor(), now_ns=time.time_ns())
        if not known:
            raise click.ClickException(f"no device {device_id}; `tocsin hub devices` lists them")
    click.echo(json.dumps({"device_id": device_id, "step": step}) if as_json else told)
