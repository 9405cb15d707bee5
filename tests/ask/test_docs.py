"""docs/ask.md tells the truth: its examples are asked, its tables are those of the code."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest

from hub.ask.answer import Ask
from hub.ask.catalog import VIEW_NAMES, VIEWS
from hub.ask.names import SYNONYMS
from hub.ask.question import LANGUAGES, Language
from hub.ask.vocabulary import FILLER, vocabulary
from tests.docs.pages import ROOT, blocks

PAGE = (ROOT / "docs" / "ask.md").read_text(encoding="utf-8")


def table(comment: str) -> list[list[str]]:
    """The cells below the header of the table under that comment."""
    found = re.search(rf"^<!-- {re.escape(comment)} -->\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    assert found, f"no table {comment}"
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in found[1].splitlines()[2:]]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_example_is_understood_to_the_last_word_and_answered(language: Language, asked: Ask) -> None:
    (block,) = blocks(f"ask {language}")
    for line in block.text.splitlines():
        answer = asked.ask(line)
        assert (answer.language, answer.unknown, bool(answer.sql)) == (language, (), True), line


def test_the_query_that_is_shown_is_that_of_the_first_example(asked: Ask) -> None:
    (shown,), (examples,) = blocks("sql asked"), blocks("ask en")
    assert asked.ask(examples.text.splitlines()[0]).sql == shown.text.strip()


def test_the_vocabulary_is_all_there() -> None:
    for kind, values in vocabulary().items():
        if kind != FILLER:
            told = {row[0].strip("`"): row[1:] for row in table(f"vocabulary: {kind}")}
            assert told == {value: [", ".join(said[language]) for language in LANGUAGES] for value, said in values.items()}


def test_the_synonyms_are_all_there() -> None:
    wanted: Mapping[str, Any] = SYNONYMS
    rows = [[f"{kind} `{value}`", ways.replace("|", ", ")] for kind, values in wanted.items() for value, ways in values.items()]
    assert table("synonyms") == rows


def test_the_views_are_all_there() -> None:
    for view in VIEW_NAMES:
        assert table(f"view: {view}") == [[f"`{column}`", said] for column, said in VIEWS[view].columns.items()]
