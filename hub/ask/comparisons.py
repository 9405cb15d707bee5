"""Comparisons with a number: longer than 2 hours, plus de 3, at least 100, below 0.001."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from hub.ask.calendar import SECONDS, UNITS
from hub.ask.numbers import number
from hub.ask.question import Operator
from hub.ask.text import Token

_PHRASES: Final[tuple[tuple[Operator, str], ...]] = (
    (">", "more than|longer than|greater than|higher than|larger than|bigger than|over|above|exceeding"),
    (">", "plus de|de plus de|plus longue de|plus long de|plus longue que|plus long que|plus grand que|plus grande que"),
    (">", "superieur a|superieure a|au dessus de|au-dessus de|depassant"),
    (">=", "at least|au moins|minimum"),
    ("<", "less than|fewer than|shorter than|smaller than|lower than|under|below"),
    ("<", "moins de|de moins de|plus courte que|plus court que|plus petit que|plus petite que"),
    ("<", "inferieur a|inferieure a|en dessous de|au dessous de"),
    ("<=", "at most|au plus"),
)
_FORMS: Final = sorted(
    ((tuple(phrase.split()), operator) for operator, phrases in _PHRASES for phrase in phrases.split("|")),
    key=lambda form: -len(form[0]),
)
_TIMES: Final = frozenset({"time", "fois"})  # more than 2 times


@dataclass(frozen=True, slots=True)
class Comparison:
    """Over tokens `first`..`last` (exclusive). `is_time`: `number` is in seconds."""

    operator: Operator
    number: float
    is_time: bool
    first: int
    last: int


def find_comparisons(tokens: Sequence[Token]) -> list[Comparison]:
    """All of them, in order."""
    found, i = [], 0
    while i < len(tokens):
        comparison = _at(tokens, i)
        if comparison is not None:
            found.append(comparison)
        i = comparison.last if comparison else i + 1
    return found


def _at(tokens: Sequence[Token], i: int) -> Comparison | None:
    for words, operator in _FORMS:
        at = i + len(words)
        if at >= len(tokens) or any(tokens[i + k].folded not in (word, word + "s") for k, word in enumerate(words)):
            continue
        compared = 1.0 if tokens[at].folded in ("a", "an") else number(tokens[at].folded)
        if compared is None:
            return None
        stem = tokens[at + 1].stem if at + 1 < len(tokens) else ""
        if unit := UNITS.get(stem):
            return Comparison(operator, compared * SECONDS[unit], True, i, at + 2)
        return Comparison(operator, compared, False, i, at + 1 + (stem in _TIMES))
    return None
