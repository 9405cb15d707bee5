"""`tocsin hub user …`: accounts of people. A password is asked for on the terminal, or read as the first line of stdin."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import click

from hub.audit.log import cli_actor
from hub.opened import snapshot, writing
from hub.operators import accounts
from hub.operators.passwords import MAX_CHARACTERS, Passwords
from hub.operators.rights import ROLES, Role
from hub.terminal import data_option, json_option, show_table

role_option = click.option("--role", type=click.Choice(ROLES), required=True, help="Each may do what those before it may.")


@click.group()
def user() -> None:
    """Who may sign in, and as what."""


@user.command()
@click.argument("name")
@role_option
@data_option
@json_option
def add(name: str, role: Role, data: Path, as_json: bool) -> None:
    """Make an account; its password is asked for, or read from stdin."""
    accounts.check_name(name)
    hashed = Passwords().hash(name, _password())
    with writing(data) as (_, connection):
        accounts.add_user(connection, name, role, hashed, actor=cli_actor(), now_ns=time.time_ns())
    _say(as_json, name, f"{name} may sign in, as {role}", role=role)


@user.command("list")
@data_option
@json_option
def list_users(data: Path, as_json: bool) -> None:
    """Accounts, by name."""
    with snapshot(data) as connection:
        rows = accounts.list_users(connection)
    if as_json:
        click.echo(json.dumps(rows))
        return
    shown = [
        (row["name"], row["role"], "yes" if row["enabled"] else "no", day(row["created_ns"]), day(row["last_sign_in_ns"]))
        for row in rows
    ]
    show_table(("name", "role", "enabled", "made", "last sign-in"), shown, "no accounts yet; the admin token opens everything")


@user.command("set-role")
@click.argument("name")
@role_option
@data_option
@json_option
def set_role(name: str, role: Role, data: Path, as_json: bool) -> None:
    """Give NAME another role, from its next request on."""
    with writing(data) as (_, connection):
        accounts.set_role(connection, name, role, actor=cli_actor(), now_ns=time.time_ns())
    _say(as_json, name, f"{name} is {role} now", role=role)


@user.command()
@click.argument("name")
@data_option
@json_option
def disable(name: str, data: Path, as_json: bool) -> None:
    """Let NAME in no more, and end its sessions; the account stays."""
    _set_enabled(name, False, data, as_json)


@user.command()
@click.argument("name")
@data_option
@json_option
def enable(name: str, data: Path, as_json: bool) -> None:
    """Let NAME in again."""
    _set_enabled(name, True, data, as_json)


@user.command()
@click.argument("name")
@data_option
@json_option
def passwd(name: str, data: Path, as_json: bool) -> None:
    """Give NAME another password, and end its sessions."""
    with snapshot(data) as connection:
        accounts.known_user(connection, name)
    hashed = Passwords().hash(name, _password())
    with writing(data) as (_, connection):
        accounts.set_password(connection, name, hashed, actor=cli_actor(), now_ns=time.time_ns())
    _say(as_json, name, f"{name} has a new password and is signed out everywhere")


@user.command("sign-out")
@click.argument("name")
@data_option
@json_option
def sign_out(name: str, data: Path, as_json: bool) -> None:
    """End all sessions of NAME."""
    with writing(data) as (_, connection):
        ended = accounts.sign_out_everywhere(connection, name, actor=cli_actor(), now_ns=time.time_ns())
    _say(as_json, name, f"{name} is signed out of {ended} sessions", sessions=ended)


@user.command()
@click.argument("name")
@data_option
@json_option
def remove(name: str, data: Path, as_json: bool) -> None:
    """Remove the account; what it did stays in the audit log."""
    with writing(data) as (_, connection):
        accounts.remove_user(connection, name, actor=cli_actor(), now_ns=time.time_ns())
    _say(as_json, name, f"{name} is removed")


def _set_enabled(name: str, enabled: bool, data: Path, as_json: bool) -> None:
    with writing(data) as (_, connection):
        accounts.set_enabled(connection, name, enabled, actor=cli_actor(), now_ns=time.time_ns())
    _say(as_json, name, f"{name} may sign in again" if enabled else f"{name} is let in no more", enabled=enabled)


def _password() -> str:
    if sys.stdin.isatty():
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=True))
    return sys.stdin.readline(MAX_CHARACTERS * 4).rstrip("\r\n")


def _say(as_json: bool, name: str, text: str, **told: object) -> None:
    click.echo(json.dumps({"name": name, **told}) if as_json else text)


def day(at_ns: int | None) -> str:
    """To the minute; "never" for None."""
    return "never" if at_ns is None else datetime.fromtimestamp(at_ns // 1_000_000_000, UTC).strftime("%Y-%m-%d %H:%MZ")
