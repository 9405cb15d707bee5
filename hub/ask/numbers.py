"""Numbers in words and figures."""

from __future__ import annotations

import re
from typing import Final

_WORDS: Final = {
    "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "twelve": 12,
    "once": 1, "twice": 2, "few": 3,
    "un": 1, "une": 1, "deux": 2, "trois": 3, "quatre": 4, "cinq": 5, "sept": 7, "huit": 8, "neuf": 9, "dix": 10, "douze": 12,
    "quelques": 3,
}  # fmt: skip


def number(word: str) -> float | None:
    """`word` as a number: 3, 2.5, 2,5, 1e-3, two, deux; None where it is none."""
    if word in _WORDS:
        return _WORDS[word]
    return float(word.replace(",", ".")) if re.fullmatch(r"\d+(?:[.,]\d+)?(?:e-?\d+)?", word) else None
