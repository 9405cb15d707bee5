"""`tocsin hub user …`, `api-token …`, and that the command line covers what the API does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from hub.cli import hub as hub_group
from hub.operators.rights import ROUTES
from hub.settings import Hub
from tests.hub.operating import PASSWORD
from tocsin.cli import cli

# How each operation of the API is done on the command line; what has no need of one says why.
COVERED = {
    "GET /v1/me": "",  # on the hub's own machine one is oneself
    "GET /v1/openapi.json": "",
    "GET /v1/summary": "summary",
    "GET /v1/devices": "devices",
    "GET /v1/devices/{device_id}": "devices",
    "GET /v1/devices/{device_id}/ledger": "ledger",
    "GET /v1/devices/{device_id}/ledger/span": "ledger",
    "POST /v1/devices/{device_id}/{step}": "device suspend, device resume, device revoke, forget",
    "DELETE /v1/devices/{device_id}": "erase",
    "GET /v1/claim-tokens": "tokens",
    "POST /v1/claim-tokens": "token",
    "POST /v1/claim-tokens/{token_id}/revoke": "tokens",
    "GET /v1/ca": "",  # keys/ca.pem
    "GET /v1/ledger": "ledger",
    "GET /v1/alerts": "alerts",
    "GET /v1/alerts/{device_id}/{alert_id}": "alerts",
    "POST /v1/alerts/{device_id}/{alert_id}/acknowledge": "acknowledge",
    "POST /v1/alerts/{device_id}/{alert_id}/notes": "note",
    "POST /v1/ask": "ask",
    "GET /v1/sensor-faults": "sensor-faults",
    "GET /v1/quarantine": "quarantine",
    "GET /v1/bundles": "bundles list",
    "GET /v1/bundles/{bundle_id}": "bundles show",
    "GET /v1/tuf/metadata/{name}": "",  # for devices
    "GET /v1/tuf/targets/{profile}/{name}": "",
    "POST /v1/bundles": "bundles publish",
    "GET /v1/bundles/{bundle_id}/card.html": "bundles card",
    "POST /v1/bundles/{bundle_id}/approval": "bundles approve",
    "POST /v1/alerts/{device_id}/{alert_id}/feedback": "feedback",
    "GET /v1/training-runs": "training-runs",
    "POST /v1/training-runs": "train",
    "GET /v1/rollouts": "rollout list",
    "GET /v1/rollouts/{rollout_id}": "rollout status",
    "POST /v1/rollouts": "rollout start",
    "POST /v1/rollouts/{rollout_id}/{step}": "rollout pause, rollout resume, rollout abort, rollout rollback",
    "GET /v1/value": "value",
    "GET /v1/audit": "audit list",
    "GET /v1/users": "user list",
    "POST /v1/users": "user add",
    "PATCH /v1/users/{name}": "user set-role, user passwd, user disable, user enable",
    "DELETE /v1/users/{name}": "user remove",
    "DELETE /v1/users/{name}/sessions": "user sign-out",
    "GET /v1/api-tokens": "api-token list",
    "POST /v1/api-tokens": "api-token create",
    "DELETE /v1/api-tokens/{name}": "api-token revoke",
}


def test_the_command_line_covers_the_api() -> None:
    api = {wanted for wanted, right in ROUTES.items() if " /v1/" in wanted and right.name != "a device, by its signature"}
    assert set(COVERED) == api


def commands() -> list[str]:
    return sorted({command for commands in COVERED.values() for command in commands.split(", ") if command})


@pytest.mark.parametrize("words", commands())
def test_every_such_command_has_json(words: str) -> None:
    command: click.Command | None = hub_group
    for word in words.split():
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), word)
    assert command is not None
    assert "--json" in [option for parameter in command.params for option in parameter.opts], words


def run(hub: Hub, *arguments: str, stdin: str | None = None, fails: bool = False) -> Result:
    done = CliRunner().invoke(cli, ["hub", *arguments, "--data", str(hub.paths.root)], input=stdin)
    assert (done.exit_code != 0) == fails, (done.output, done.exception)
    return done


def listed(hub: Hub, *arguments: str) -> Any:
    return json.loads(run(hub, *arguments, "--json").stdout)


def test_an_account_from_its_making_to_its_end(hub: Hub) -> None:
    made = run(hub, "user", "add", "ann", "--role", "viewer", stdin=f"{PASSWORD}\n")
    assert made.stdout == "ann may sign in, as viewer\n"
    run(hub, "user", "set-role", "ann", "--role", "admin")
    run(hub, "user", "passwd", "ann", stdin="another good password\n")
    run(hub, "user", "disable", "ann")
    [ann] = listed(hub, "user", "list")
    assert (ann["name"], ann["role"], ann["enabled"]) == ("ann", "admin", False)
    run(hub, "user", "enable", "ann")
    assert json.loads(run(hub, "user", "sign-out", "ann", "--json").stdout) == {"name": "ann", "sessions": 0}
    assert "ann" in run(hub, "user", "list").stdout
    run(hub, "user", "remove", "ann")
    assert listed(hub, "user", "list") == []
    told = [entry["action"] for entry in listed(hub, "audit", "list")]
    assert told == [
        f"user.{action}" for action in ("remove", "end-sessions", "enable", "disable", "password", "set-role", "add")
    ]
    assert all(entry["actor"].startswith("cli:") for entry in listed(hub, "audit", "list"))
    assert PASSWORD not in json.dumps(listed(hub, "audit", "list"))


def test_what_cannot_be_is_refused_with_its_reason_and_changes_nothing(hub: Hub) -> None:
    for arguments, stdin, why in (
        (["user", "add", "ann", "--role", "viewer"], "short\n", "12 to 256 characters"),
        (["user", "add", "a b", "--role", "viewer"], f"{PASSWORD}\n", "a name has"),
        (["user", "passwd", "ann"], f"{PASSWORD}\n", "no account 'ann'"),
        (["user", "disable", "ann"], None, "no account 'ann'"),
        (["api-token", "revoke", "ci"], None, "no token 'ci'"),
        (["api-token", "create", "admin", "--scope", "read"], None, "admin token"),
        (["api-token", "create", "ci", "--scope", "read", "--ttl", "0d"], None, "a minute to ten years"),
    ):
        assert why in str(run(hub, *arguments, stdin=stdin, fails=True).exception)
    assert (
        "expected a number and m, h, d or y"
        in run(hub, "api-token", "create", "ci", "--scope", "read", "--ttl", "x", fails=True).output
    )
    assert listed(hub, "user", "list") == listed(hub, "api-token", "list") == listed(hub, "audit", "list") == []


def test_a_token_is_printed_once(hub: Hub) -> None:
    token = run(hub, "api-token", "create", "ci", "--scope", "rollout", "--scope", "read", "--ttl", "30d").stdout.strip()
    assert token.startswith("tocsin_")
    [ci] = listed(hub, "api-token", "list")
    assert (ci["scopes"], ci["last_used_ns"]) == (["read", "rollout"], None)
    assert ci["expires_ns"] - ci["created_ns"] == 30 * 86400 * 10**9
    assert token not in run(hub, "api-token", "list").stdout
    assert token not in json.dumps(listed(hub, "audit", "list"))
    run(hub, "api-token", "revoke", "ci")
    assert listed(hub, "api-token", "list") == []


@pytest.mark.parametrize("command", ["summary", "sensor-faults", "training-runs"])
def test_looking_into_an_empty_hub(hub: Hub, command: str, tmp_path: Path) -> None:
    assert listed(hub, command) in ([], listed(hub, "summary"))
    assert run(hub, command).stdout
