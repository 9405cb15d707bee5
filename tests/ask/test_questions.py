"""The test set: every question in both languages, answered as its file says."""

from __future__ import annotations

from collections import Counter

import pytest

from hub.ask.engine import AskEngine
from hub.ask.names import Names
from hub.ask.question import LANGUAGES, Language
from tests.ask.judging import Asked, fault, questions


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_question_of_the_set_is_answered_right(language: Language, runner: AskEngine, names: Names) -> None:
    wrong = {asked.ask: said for asked in questions(language) if (said := fault(asked, runner, names))}
    assert not wrong


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_set_has_its_parts_and_no_question_twice(language: Language) -> None:
    asked = questions(language)
    assert Counter(each.part for each in asked) == {"tuned": 30, "held-out": 30, "unseen": 30}
    assert len({each.ask for each in asked}) == len(asked)


@pytest.mark.parametrize(
    "expected",
    [
        {"columns": ["n"], "rows": [[4]]},
        {"columns": ["asset"], "rows": [[3]]},
        {"columns": ["n"], "rows": [[3]], "unknown": ["yesterday"]},
        {"nothing": True},
        {"n_rows": 2, "last": {"n": 3}},
    ],
)
def test_the_judge_finds_a_wrong_answer_wrong(expected: dict[str, object], runner: AskEngine, names: Names) -> None:
    assert not fault(Asked("en", "how many alerts were there yesterday?", "", {"columns": ["n"], "rows": [[3]]}), runner, names)
    assert fault(Asked("en", "how many alerts were there yesterday?", "", expected), runner, names)
