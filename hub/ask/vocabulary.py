"""The stated vocabulary, read from vocabulary.toml: each phrase of both languages, and what it means.

A meaning has a kind and a value. `thing`: what is asked about. `event`: a thing, as a verb. `bucket`: a stretch of time that is
grouped by. `ask`: what is wanted. `order`, `aggregate`, `measure`: which, which figure, of what. `value`: a state or kind, told
apart by the thing. `time`: a column of times.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from hub.ask.question import Language
from hub.ask.text import tokens

FILLER = "filler"


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a phrase stands for; see above."""

    kind: str
    value: str


@cache
def vocabulary() -> Mapping[str, Any]:
    """The table: kind, value, language, phrases; and the fillers, as a text a language."""
    return tomllib.loads(files("hub.ask").joinpath("vocabulary.toml").read_text(encoding="utf-8"))


@cache
def phrases(language: Language) -> Mapping[tuple[str, ...], tuple[Meaning, ...]]:
    """Each phrase as stems, to its meanings: a few words have two."""
    found: dict[tuple[str, ...], tuple[Meaning, ...]] = {}
    for kind, values in vocabulary().items():
        for value, said in values.items() if kind != FILLER else ():
            for phrase in said[language]:
                key = tuple(token.stem for token in tokens(phrase))
                found[key] = tuple(dict.fromkeys((*found.get(key, ()), Meaning(kind, value))))
    return found


@cache
def fillers(language: Language) -> frozenset[str]:
    """Words that carry nothing of their own."""
    words = vocabulary()[FILLER][language]
    return frozenset(words.split()) | {token.stem for token in tokens(words)}


@cache
def telling(language: Language) -> frozenset[str]:
    """Words by which a language is known: those that only it has."""
    return _all_words(language) - _all_words("fr" if language == "en" else "en")


def _all_words(language: Language) -> frozenset[str]:
    return fillers(language) | {word for phrase in phrases(language) for word in phrase}
