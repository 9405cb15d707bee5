"""What the hub's commands show: text as it is, whole lines in a pipe, JSON that others can read."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from hub.cli import _COMMANDS
from hub.cli import hub as hub_command
from hub.settings import Hub
from hub.state.database import open_state
from hub.terminal import plain, show_table
from tests.web.seeding import add_alert


def run(hub: Hub, *arguments: str) -> str:
    answer = CliRunner().invoke(hub_command, [*arguments, "--data", str(hub.paths.root)], catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    return answer.stdout


def test_help_lists_every_command_once_with_its_whole_first_sentence() -> None:
    shown = CliRunner().invoke(hub_command, ["--help"], terminal_width=80, catch_exceptions=False).stdout
    listed = [line.split()[0] for line in shown.splitlines() if line.startswith("  ") and line[2] not in " -"]
    assert not any(line.endswith("...") for line in shown.splitlines()[1:])
    assert sorted(listed[1:]) == sorted(hub_command.commands | dict.fromkeys(_COMMANDS))
    assert all(len(line) <= 80 for line in shown.splitlines())


def test_what_devices_say_is_shown_as_text_and_never_obeyed() -> None:
    assert plain("bearing\x1b[31m\n2 mm") == "bearing\N{REPLACEMENT CHARACTER}[31m 2 mm"
    assert plain("naïve [/bold]") == "naïve [/bold]"
    assert (plain(None), plain(0.5)) == ("", "0.5")


def test_a_cell_that_looks_like_markup_stays_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(("[b]a",), [("[red]x[/red] [/nowhere]",)], "none")
    assert capsys.readouterr().out.split("\n")[1] == "[red]x[/red] [/nowhere]"


def test_in_a_pipe_each_row_is_one_whole_line(hub: Hub) -> None:
    lines = run(hub, "query", "SELECT repeat('abcdef ', 60) AS a, 7 AS b").splitlines()
    assert len(lines) == 2
    assert lines[1].split() == ["abcdef"] * 60 + ["7"]


def test_what_the_next_command_wants_is_never_broken_into_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    monkeypatch.setenv("COLUMNS", "40")
    rows = [("flow, current, pressure, vibration", "compressor-1-471e84ae4bf8")]
    show_table(("top", "alert"), rows, "none", copied="alert")
    assert "compressor-1-471e84ae4bf8" in capsys.readouterr().out


def test_an_alert_is_listed_with_the_id_that_other_commands_take(hub: Hub) -> None:
    engine = open_state(hub.state_url)
    with engine.begin() as connection:
        add_alert(connection, "gw-1", "pump-1", "pump", 1_700_000_000_000_000_000, alert_id="pump-1-471e84ae4bf8")
    engine.dispose()
    alert_id = run(hub, "alerts").splitlines()[1].split()[-1]
    assert run(hub, "note", alert_id, "looked at it") == "gw-1/pump-1-471e84ae4bf8: note 1\n"


def test_columns_of_the_same_name_are_all_shown(hub: Hub) -> None:
    assert run(hub, "query", "SELECT 1 AS n, 2 AS n").split() == ["n", "n", "1", "2"]


def test_a_query_as_json_is_json_also_where_a_value_is_missing(hub: Hub) -> None:
    told = run(hub, "query", "SELECT ['nan'::FLOAT, 1] AS features, DATE '2026-01-02' AS day", "--json")
    assert json.loads(told, parse_constant=pytest.fail) == [{"features": [None, 1.0], "day": "2026-01-02"}]


@pytest.mark.parametrize("command", ["devices", "ledger", "alerts", "quarantine", "bundles list", "rollout list"])
def test_an_empty_hub_says_so_and_its_json_is_an_empty_list(hub: Hub, command: str) -> None:
    assert len(run(hub, *command.split()).splitlines()) == 1
    assert json.loads(run(hub, *command.split(), "--json")) == []
