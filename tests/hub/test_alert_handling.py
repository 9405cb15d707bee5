"""What people do about alerts, by the API and on the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine

from hub.alerts.handling import MAX_NOTE, MAX_NOTES, HandlingError, acknowledge, add_note, alert_detail
from hub.audit.log import read_entries, verify
from hub.settings import init_hub
from hub.state.database import open_state
from tests.hub.conftest import FAST, HubClient, running
from tests.web.seeding import S, add_alert
from tocsin.cli import cli

NOW = 1_800_000_000 * S


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_state(init_hub(tmp_path, FAST).state_url)
    with engine.begin() as connection:
        add_alert(connection, "gw", "pump-1", "pump", 1, alert_id="x")
        add_alert(connection, "gw", "pump-2", "pump", 2, alert_id="y")
        add_alert(connection, "gw-2", "pump-1", "pump", 3, alert_id="y")
    yield engine
    engine.dispose()


def test_the_first_who_acknowledges_stands_and_each_is_in_the_audit_log_once(engine: Engine) -> None:
    with engine.begin() as connection:
        assert acknowledge(connection, [("gw", "x")], actor="user:ann", now_ns=NOW) == 1
        assert acknowledge(connection, [("gw", "x"), ("gw", "y"), ("gw", "y")], actor="user:bob", now_ns=NOW + 5) == 1
        found = [alert_detail(connection, "gw", name) or {} for name in ("x", "y")]
        assert [one["acknowledged"]["actor"] for one in found] == ["user:ann", "user:bob"]
        said = [(entry.actor, entry.subject) for entry in read_entries(connection) if entry.action == "alert.acknowledge"]
        assert said == [("user:bob", "gw/y"), ("user:ann", "gw/x")]
        verify(connection)


def test_an_unknown_alert_acknowledges_nothing_of_the_rest(engine: Engine) -> None:
    with pytest.raises(HandlingError, match="no alert 'no'"), engine.begin() as connection:
        acknowledge(connection, [("gw", "x"), ("gw", "no")], actor="user:ann", now_ns=NOW)
    with engine.begin() as connection:
        assert (alert_detail(connection, "gw", "x") or {})["acknowledged"] is None


def test_notes_are_kept_in_order_whatever_the_clock_says(engine: Engine) -> None:
    with engine.begin() as connection:
        for at_ns, note in ((NOW, "first"), (NOW - 100, " second \n"), (NOW, "third")):
            add_note(connection, "gw", "x", note, actor="user:ann", now_ns=at_ns)
        assert [note["note"] for note in (alert_detail(connection, "gw", "x") or {})["notes"]] == ["first", "second", "third"]


@pytest.mark.parametrize("note", ["", "  \n", "x" * (MAX_NOTE + 1)])
def test_a_note_that_is_none_is_refused(engine: Engine, note: str) -> None:
    with pytest.raises(HandlingError, match="characters"), engine.begin() as connection:
        add_note(connection, "gw", "x", note, actor="user:ann", now_ns=NOW)


def test_an_alert_has_a_bounded_number_of_notes(engine: Engine) -> None:
    with engine.begin() as connection:
        for n in range(MAX_NOTES):
            add_note(connection, "gw", "x", f"{n}", actor="user:ann", now_ns=NOW)
        with pytest.raises(HandlingError, match="no more"):
            add_note(connection, "gw", "x", "one more", actor="user:ann", now_ns=NOW)


def test_the_api_tells_all_that_was_done(tmp_path: Path) -> None:
    hub = init_hub(tmp_path / "hub", FAST)
    state = open_state(hub.state_url)
    with state.begin() as connection:
        add_alert(connection, "gw", "pump-1", "pump", 1, alert_id="x")
    state.dispose()
    with running(hub) as client:
        path = "/v1/alerts/gw/x"
        assert post(client, f"{path}/acknowledge") == 204
        assert post(client, f"{path}/notes", {"note": "bearing warm"}) == 204
        assert post(client, f"{path}/feedback", {"label": "confirm"}) == 204
        told = client.get(path)
        assert (told["acknowledged"]["actor"], [note["note"] for note in told["notes"]]) == ("token:admin", ["bearing warm"])
        assert [said["label"] for said in told["feedback"]] == ["confirm"]
        assert post(client, "/v1/alerts/gw/no/acknowledge") == 404
        assert post(client, "/v1/alerts/gw/no/notes", {"note": "x"}) == 404
        assert post(client, f"{path}/notes", {"note": "  "}) == 422
        assert client.http.get("/v1/alerts/gw/no", headers=client.auth).status_code == 404


def post(client: HubClient, path: str, body: object = None) -> int:
    return client.http.post(path, json=body, headers=client.auth).status_code


def test_the_command_line_does_the_same(engine: Engine, tmp_path: Path) -> None:
    def run(*args: str) -> tuple[int, str]:
        done = CliRunner().invoke(cli, ["hub", *args, "--data", str(tmp_path)])
        return done.exit_code, done.output

    code, told = run("acknowledge", "x", "--json")
    assert (code, json.loads(told)["device_id"]) == (0, "gw")
    assert "is on it" in run("acknowledge", "x")[1]
    code, told = run("note", "x", "bearing warm", "--json")
    assert (code, json.loads(told)["notes"]) == (0, 1)
    assert run("note", "y", "which one")[0] == 1
    assert "say which with --device" in run("acknowledge", "y")[1]
    assert run("note", "y", "this one", "--device", "gw-2")[0] == 0
    for args in (("acknowledge", "no"), ("note", "no", "x"), ("acknowledge", "no", "--device", "gw")):
        code, told = run(*args)
        assert (code, "tocsin hub alerts" in told) == (1, True)
