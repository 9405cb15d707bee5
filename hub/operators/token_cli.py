"""`tocsin hub api-token …`: tokens for scripts and scrapers."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from hub.audit.log import cli_actor
from hub.opened import snapshot, writing
from hub.operators import tokens
from hub.operators.cli import day
from hub.operators.rights import SCOPES, Scope
from hub.terminal import data_option, json_option, show_table

_UNIT_S = {"m": 60, "h": 3600, "d": 86400, "y": 365 * 86400}


class _Span(click.ParamType[float]):
    """`30d`, in seconds."""

    name = "span"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"(\d{1,6})([mhdy])", str(value))
        if found is None:
            self.fail(f"{value!r}: expected a number and m, h, d or y, as 90d", param, ctx)
        return float(found[1]) * _UNIT_S[found[2]]


@click.group("api-token")
def api_token() -> None:
    """Tokens for scripts: each with a name, scopes and an end."""


@api_token.command()
@click.argument("name")
@click.option("--scope", "scopes", type=click.Choice(SCOPES), multiple=True, required=True, help="May be given several times.")
@click.option("--ttl", type=_Span(), default="90d", show_default=True, help="How long it opens anything: 30m, 12h, 90d, 1y.")
@data_option
@json_option
def create(name: str, scopes: Sequence[Scope], ttl: float, data: Path, as_json: bool) -> None:
    """Make a token and print it, this once; the hub keeps only its hash."""
    with writing(data) as (_, connection):
        token = tokens.create_token(connection, name, scopes, ttl, actor=cli_actor(), now_ns=time.time_ns())
    click.echo(json.dumps({"name": name, "token": token}) if as_json else token)


@api_token.command("list")
@data_option
@json_option
def list_tokens(data: Path, as_json: bool) -> None:
    """Tokens by name, without themselves; those that have expired too."""
    with snapshot(data) as connection:
        rows = tokens.list_tokens(connection)
    if as_json:
        click.echo(json.dumps(rows))
        return
    shown = [
        (row["name"], ", ".join(row["scopes"]), row["created_by"], day(row["expires_ns"]), day(row["last_used_ns"]))
        for row in rows
    ]
    show_table(("name", "scopes", "made by", "until", "last used"), shown, "no API tokens")


@api_token.command()
@click.argument("name")
@data_option
@json_option
def revoke(name: str, data: Path, as_json: bool) -> None:
    """Let the token open nothing any more, from the next request on."""
    with writing(data) as (_, connection):
        tokens.revoke_token(connection, name, actor=cli_actor(), now_ns=time.time_ns())
    click.echo(json.dumps({"name": name}) if as_json else f"{name} is revoked")
