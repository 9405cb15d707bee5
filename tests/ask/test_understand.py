"""What is understood, what is guessed, and above all what is told as not understood."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.ask.catalog import VIEW_NAMES
from hub.ask.engine import AskEngine
from hub.ask.gate import check
from hub.ask.names import Name, Names
from hub.ask.question import Understood
from hub.ask.sql import to_sql
from hub.ask.text import MAX_TEXT, fold, stem
from hub.ask.understand import QuestionTooLong, understand
from hub.ask.vocabulary import phrases
from tests.ask.seeding import NOW_NS, ZONE


def read(text: str, names: Names) -> Understood:
    return understand(text, names, NOW_NS, ZONE)


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("which purple pumps alarmed last week?", ("purple",)),
        ("alerts of pump-9", ("pump-9",)),  # a number is never guessed
        ("pumps in Nantes", ("Nantes",)),
        ("alertes du ventilateur à Nice", ("Nice",)),
        ("alerts because of vibration and rust", ("rust",)),
        ("alerts per flavour", ("per", "flavour")),
        ("the 7 alerts", ("7",)),
        ("rollouts longer than 2 hours", ("longer", "than", "2", "hours")),  # a rollout has no duration
        ("models because of vibration", ("vibration",)),
        ("models in Lyon at sunrise", ("sunrise",)),
        ("alertes sans gravité particulière", ("sans", "particulière")),
    ],
)
def test_what_is_not_understood_is_told(text: str, unknown: tuple[str, ...], names: Names) -> None:
    assert set(unknown) <= set(read(text, names).unknown), read(text, names)


@pytest.mark.parametrize(
    ("text", "guessed"),
    [
        ("alrets in Lyon", ("alrets", "alert")),
        ("alerts in Brset", ("Brset", "brest")),
        ("alerts on comprssor-1", ("comprssor-1", "compressor-1")),
        ("alertes à cause de la températrue", ("températrue", "temperature")),
        ("alerts since Wensday", None),  # two slips in a short word
        ("inactive devices", None),  # a prefix is no slip
        ("alerts since Wednseday", ("Wednseday", "wednesday")),
    ],
)
def test_slips_are_mended_and_told(text: str, guessed: tuple[str, str] | None, names: Names) -> None:
    understood = read(text, names)
    assert understood.guessed == ((guessed,) if guessed else ())
    assert bool(understood.unknown) == (guessed is None)


@pytest.mark.parametrize(
    ("text", "columns", "rows"),
    [
        ("how many pumps alarmed per site?", ("site", "n"), [("lyon", 3), ("brest", 1), ("saint-etienne", 1)]),
        ("combien de pompes ont sonné par site ?", ("site", "n"), [("lyon", 3), ("brest", 1), ("saint-etienne", 1)]),
        ("which motors alarmed on each site?", ("site", "asset", "device", "n"), [("brest", "motor-1", "gw-brest-01", 2)]),
        (
            "alerts of motors by site and severity",
            ("site", "severity", "n"),
            [("brest", "critical", 1), ("brest", "warning", 1)],
        ),
        (
            "pumps that did not alarm last week",
            ("asset", "device", "site", "profile"),
            [("pump-4", "gw-brest-01", "brest", "pump")],
        ),
        ("how many motors never alarmed?", ("n",), [(1,)]),
        ("how many unconfirmed alerts in Lyon?", ("n",), [(5,)]),
        ("how many alerts are not because of vibration?", ("n",), [(11,)]),
        ("nombre d'alertes de la pompe 2", ("n",), [(3,)]),
    ],
)
def test_the_finer_points(text: str, columns: tuple[str, ...], rows: list[Any], names: Names, runner: AskEngine) -> None:
    understood = read(text, names)
    assert understood.unknown == ()
    assert understood.question is not None
    result = runner.run(to_sql(understood.question), ZONE)
    assert (result.columns, sorted(result.rows, key=str)) == (columns, sorted(rows, key=str))


@pytest.mark.parametrize("text", ["", "?", "hello", "bonjour", "the of and", "le la les", "42", "x" * 60, "日本語", "🙂"])
def test_where_nothing_is_understood_no_query_is_made(text: str, names: Names) -> None:
    assert read(text, names).question is None


def test_a_text_that_is_too_long_is_no_question(names: Names) -> None:
    with pytest.raises(QuestionTooLong):
        read("a" * (MAX_TEXT + 1), names)


@pytest.mark.parametrize(
    ("text", "language"),
    [("alerts in Lyon", "en"), ("alertes à Lyon", "fr"), ("pump-2", "en"), ("pompes", "en"), ("combien de pompes ?", "fr")],
)
def test_the_language_is_found_out(text: str, language: str, names: Names) -> None:
    assert read(text, names).language == language


def test_names_are_told_apart_by_capitals_and_found_without_accents() -> None:
    known = Names([(Name("asset", "P-1"), "P-1"), (Name("asset", "p-1"), "p-1"), (Name("site", "Évry"), "Évry")])
    assert [name.value for name in known.at(["p-1"], ["P-1"])] == ["P-1"]
    assert [name.value for name in known.at(["p-1"], ["p-1"])] == ["p-1"]
    assert [name.value for name in known.at([stem(fold("evry"))], ["evry"])] == ["Évry"]


def test_a_name_that_is_also_a_word_does_not_take_the_word_away(names: Names) -> None:
    hostile = Names([(Name("site", word), word) for word in ("alerts", "last", "week", "by", "how", "many")])
    understood = understand("how many alerts last week", hostile, NOW_NS, ZONE)
    assert understood.question is not None
    assert (understood.question.view, understood.question.count) == ("alerts", True)
    assert understood.question.span is not None


_WORDS = sorted({word for language in ("en", "fr") for phrase in phrases(language) for word in phrase})  # type: ignore[arg-type]
_MIXED: Any = st.lists(
    st.sampled_from(
        [*_WORDS, "Lyon", "pump-2", "pompe", "vibration", "3", "more", "than", "2", "hours", "yesterday", "since", "mardi"]
    ),
    min_size=1,
    max_size=9,
)


@given(words=_MIXED)
@settings(max_examples=80, deadline=None)
def test_whatever_is_said_the_query_passes_the_gate(words: list[str], names: Names) -> None:
    understood = read(" ".join(words), names)
    if understood.question is not None:
        check(to_sql(understood.question), VIEW_NAMES)


@given(words=_MIXED)
@settings(max_examples=20, deadline=None)
def test_whatever_is_said_the_query_runs(words: list[str], names: Names, runner: AskEngine) -> None:
    understood = read(" ".join(words), names)
    if understood.question is not None:
        runner.run(to_sql(understood.question), ZONE)


@given(text=st.text(max_size=80))
@settings(max_examples=60, deadline=None)
def test_no_text_breaks_it(text: str, names: Names) -> None:
    read(text, names)


@pytest.mark.parametrize(
    "text", ["which machines are at rest?", "which pumps are idle?", "quelles pompes sont à l'arrêt ?", "moteurs au repos"]
)
def test_what_is_not_judged_is_asked_for_as_what_rests(text: str, names: Names) -> None:
    understood = read(text, names)
    assert understood.question is not None
    assert understood.question.view == "assets"
    assert ("state", ("not_judged",)) in [(each.column, each.values) for each in understood.question.filters]
    assert understood.unknown == ()
