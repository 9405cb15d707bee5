"""Answers as people get them: the sentence, the plot, the command, the API."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hub.ask.answer import EXAMPLES, Ask
from hub.ask.phrasing import duration, value_text
from hub.ask.plotting import plot_of
from hub.ask.question import Language
from hub.ask.wire import plain_value
from hub.cli import hub as hub_command
from hub.lake.lake import open_lake
from hub.settings import init_hub
from hub.state.database import open_state
from models.errors import ConfigError
from tests.ask.seeding import seed, seed_lake
from tests.hub.conftest import FAST, HubClient, running
from tests.hub.operating import token_in


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("how many alerts were there yesterday?", "3 alerts."),
        ("combien d'alertes critiques depuis mardi ?", "1 alerte."),
        ("how many fans alarmed in January?", "0 assets."),
        ("combien de ventilateurs ont sonné en janvier ?", "0 équipement."),
        ("alerts per site this month", "4 sites: lyon (7), brest (5), saint-etienne (2), office (1)."),
        ("durée moyenne des alertes à Brest", "1 h 56 min en moyenne."),
        ("alerts in January", "Nothing: no such alert."),
        ("alertes par jour depuis vendredi dernier", "6 points dans le temps."),
        ("what is missing in the ledger?", "2 accounts: gw-brest-02 (204), gw-ste-01 (2)."),
    ],
)
def test_the_sentence_says_what_was_found(text: str, sentence: str, asked: Ask) -> None:
    assert asked.ask(text).sentence == sentence


@pytest.mark.parametrize(
    ("text", "kind", "n_points"),
    [
        ("alerts per site", "bar", 4),
        ("which pumps alarmed?", "bar", 5),
        ("alerts per day since last Friday", "line", 6),
        ("trend of the p-value of pump-2 today", "line", 15),
        ("alerts in Lyon", "", 0),  # a list of alerts is a table
        ("how many alerts", "", 0),
        ("list the devices", "", 0),
    ],
)
def test_a_plot_is_drawn_where_it_says_more_than_the_table(text: str, kind: str, n_points: int, asked: Ask) -> None:
    plot = asked.ask(text).plot
    assert (plot.kind if plot else "", sum(len(points) for _, points in plot.series) if plot else 0) == (kind, n_points)


def test_a_line_for_each_of_a_few() -> None:
    rows = [(datetime(2026, 3, day, tzinfo=UTC), site, day) for day in (2, 1) for site in ("brest", "lyon")]
    plot = plot_of(("day", "site", "n"), rows, listed=False)
    assert plot is not None
    assert [(name, [y for _, y in points]) for name, points in plot.series] == [("brest", [1.0, 2.0]), ("lyon", [1.0, 2.0])]


def test_an_edited_query_is_answered_and_drawn(asked: Ask) -> None:
    answer = asked.run("SELECT site, count(*) AS n FROM alerts GROUP BY site")
    assert (answer.author, answer.sentence, answer.plot is not None) == ("edited", "4 rows.", True)


@pytest.mark.parametrize("language", ["en", "fr"])
def test_every_example_is_understood_to_the_last_word(language: Language, asked: Ask) -> None:
    for example in EXAMPLES[language]:
        answer = asked.ask(example)
        assert (answer.language, answer.unknown, answer.sql != "") == (language, (), True), example


def test_values_are_said_plainly_and_are_json() -> None:
    assert [duration(s) for s in (3, 60, 7000, 18_000, 100_000)] == ["3 s", "1 min", "1 h 56 min", "5 h", "1 d 3 h"]
    assert [value_text(v) for v in (None, True, 1e-7, 12_345.6, ["a", "b"])] == ["", "yes", "1e-07", "12,346", "a, b"]
    assert json.dumps([plain_value(v) for v in (float("nan"), {"a": datetime(2026, 1, 1, tzinfo=UTC)}, (1,))])


def test_a_time_zone_that_is_none_is_refused(fleet: Any) -> None:
    with pytest.raises(ConfigError, match="ask_time_zone"):
        Ask(*fleet, offline_after_s=90, zone="Europe/Atlantis")


# --- command and API ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = init_hub(tmp_path_factory.mktemp("hub"), FAST + 'ask_time_zone = "Europe/Paris"\n')
    engine = open_state(made.state_url)
    with engine.begin() as connection:
        seed(connection)
    engine.dispose()
    seed_lake(open_lake(made.lake_url))
    return made.paths.root


def command(data: Path, *arguments: str) -> Result:
    return CliRunner().invoke(hub_command, ["ask", *arguments, "--data", str(data)], catch_exceptions=False)


def test_the_command_answers_and_shows_its_query(seeded: Path) -> None:
    told = command(seeded, "alerts per site in March 2026", "--sql")
    assert told.output.startswith("4 sites: lyon (7)")
    assert "GROUP BY ALL" in told.output
    assert json.loads(command(seeded, "alertes par site en mars 2026", "--json").output)["rows"][0] == ["lyon", 7]
    assert json.loads(command(seeded, "SELECT 41 + 1 AS n", "--sql", "--json").output)["rows"] == [[42]]


def test_the_command_tells_what_it_left_out_and_what_it_can_do(seeded: Path) -> None:
    told = command(seeded, "purple pumps in Brset")
    assert "Not understood, left out: purple" in told.stderr
    assert "Brset: taken for brest" in told.stderr
    helped = command(seeded, "quel temps fait-il ?")
    assert helped.output.startswith("Rien n'a été compris.\nPar exemple:\n")
    assert EXAMPLES["fr"][0] in helped.output


@pytest.fixture(scope="module")
def client(seeded: Path) -> Iterator[HubClient]:
    from hub.settings import load_hub

    with running(load_hub(seeded)) as found:
        yield found


def post(client: HubClient, **body: Any) -> Any:
    return client.http.post("/v1/ask", json=body, headers=client.auth)


def test_the_api_answers_a_question_and_an_edited_query(client: HubClient) -> None:
    answer = post(client, question="which devices run agent 0.0.9?").json()
    assert answer["rows"][0][:2] == ["gw-lyon-02", "lyon"]
    assert (answer["author"], answer["not_understood"]) == ("grammar", [])
    edited = post(client, sql=answer["sql"].replace("0.0.9", "0.0.8")).json()
    assert (edited["author"], edited["rows"][0][0]) == ("edited", "gw-old-01")


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ({"sql": "SELECT * FROM users"}, 400, "query"),
        ({"sql": "SELECT nothing FROM alerts"}, 400, "query"),
        ({"sql": "DELETE FROM alerts"}, 400, "query"),
        ({}, 422, "bad-request"),
        ({"question": "x", "sql": "SELECT 1"}, 422, "bad-request"),
        ({"question": "x" * 501}, 422, "bad-request"),
        ({"question": "alerts", "language": "de"}, 422, "bad-request"),
        ({"question": "alerts", "more": 1}, 422, "bad-request"),
        ({"question": "x" * 40_000}, 413, "too-large"),
    ],
)
def test_the_api_says_what_is_wrong(body: dict[str, str], status: int, kind: str, client: HubClient) -> None:
    reply = post(client, **body)
    assert (reply.status_code, reply.json()["type"]) == (status, f"urn:tocsin:{kind}")


def test_asking_takes_the_right_to_read(client: HubClient) -> None:
    assert client.http.post("/v1/ask", json={"question": "alerts"}).status_code == 401
    token = token_in(client.hub.state_url, "meter", "metrics", now_ns=time.time_ns())
    reply = client.http.post("/v1/ask", json={"question": "alerts"}, headers={"Authorization": f"Bearer {token}"})
    assert reply.status_code == 403
