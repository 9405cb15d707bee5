"""A question's text as tokens: folded to plain lower-case letters and stripped of plurals, each with its place in the text."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

MAX_TEXT: Final = 500  # characters of a question
_TOKEN: Final = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}|\d{1,2}:\d{2}|\d+(?:[.,]\d+)+|[^\W_]+(?:[-_.][^\W_]+)*")
_ELIDED: Final = re.compile(r"\b(l|d|n|s|j|m|t|c|qu|jusqu|lorsqu|puisqu|aujourd)['’]", re.IGNORECASE)
_JOINED: Final = re.compile(r"-(t-)?(il|elle|on|ils|elles|nous|vous|je|tu|ce|ci|la|moi)\b", re.IGNORECASE)  # a-t-elle, mois-ci
_POSSESSIVE: Final = re.compile(r"['’]s\b")
_PLURALS: Final = {
    "mois": "mois",
    "vus": "vu",
    "canaux": "canal",
    "signaux": "signal",
    "anormaux": "anormal",
    "normaux": "normal",
}


@dataclass(frozen=True, slots=True)
class Token:
    """`text`: as written. `folded`: without accents and capitals. `stem`: and without a plural's ending."""

    text: str
    folded: str
    stem: str
    start: int
    end: int


def fold(text: str) -> str:
    """Lower case without accents: Saint-Étienne is saint-etienne."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(c for c in decomposed if not unicodedata.combining(c))


@lru_cache(8192)
def stem(folded: str) -> str:
    """Plural and singular alike, in both languages; short words, and words with a digit, as they are."""
    if folded in _PLURALS:
        return _PLURALS[folded]
    if len(folded) > 3 and folded[-1] in "sx" and folded[-2] != "s" and folded.isalpha():
        return folded[:-1]
    return folded


def tokens(text: str) -> list[Token]:
    """The words and numbers of a text, in order. French elisions are taken apart: l'alerte is l, alerte."""
    spaced = _spaced(_POSSESSIVE, text)
    spaced = _ELIDED.sub(lambda found: found[0] if found[1].lower() == "aujourd" else found[1] + " ", spaced)
    spaced = re.sub(r"(?i)aujourd['’]hui", lambda found: found[0].replace("'", "_").replace("’", "_"), spaced)
    spaced = _spaced(_JOINED, spaced)
    found = []
    for match in _TOKEN.finditer(spaced):
        folded = fold(match[0])
        found.append(Token(text[match.start() : match.end()], folded, stem(folded), match.start(), match.end()))
    return found


def _spaced(pattern: re.Pattern[str], text: str) -> str:
    """Hyphens and apostrophes of the matches become spaces; places stay."""
    return pattern.sub(lambda found: re.sub(r"['’-]", " ", found[0]), text)
