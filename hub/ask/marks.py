"""A question's words, each taken for something: a phrase of the vocabulary, a name of the fleet, a number, or nothing.

1. The longest phrase or name that stands at a word is taken; of equals the vocabulary's.
2. A word that is none of all these and resembles exactly one of them by a slip (one letter wrong, missing, too many or two
   swapped; two in long words) is taken for it, and that is told. Digits are never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

from hub.ask.calendar import AMBIGUOUS, MONTHS, UNITS, WEEKDAYS
from hub.ask.names import Name, Names
from hub.ask.numbers import number
from hub.ask.question import Language
from hub.ask.text import Token, fold
from hub.ask.vocabulary import Meaning, fillers, phrases, telling

_MIN_GUESSED: Final = 5  # letters: shorter words resemble too many others
_LONG: Final = 8  # letters from which two slips are forgiven
_TIME_WORDS: Final = frozenset(
    [
        "since",
        "before",
        "until",
        "till",
        "after",
        "between",
        "yesterday",
        "today",
        "week",
        "ago",
        "past",
        "previous",
        "preceding",
        "noon",
        "midnight",
        "morning",
        "afternoon",
        "evening",
        "depuis",
        "avant",
        "apres",
        "jusqu",
        "entre",
        "hier",
        "aujourd_hui",
        "passe",
        "passee",
        "precedent",
        "precedente",
        "midi",
        "minuit",
        "matin",
        "soir",
        "partir",
        "dernier",
        "derniere",
        "am",
        "pm",
        "current",
        "this",
        "last",
        "cette",
    ]
)


@dataclass(frozen=True, slots=True)
class Mark:
    """Tokens `first`..`last` (exclusive), as written, and what they may mean."""

    first: int
    last: int
    text: str
    meanings: tuple[Meaning, ...] = ()
    names: tuple[Name, ...] = ()
    number: float | None = None

    def value(self, kind: str) -> str:
        """Of its meaning of that kind; "" where it has none."""
        return next((meaning.value for meaning in self.meanings if meaning.kind == kind), "")

    def values(self, kind: str) -> tuple[str, ...]:
        return tuple(meaning.value for meaning in self.meanings if meaning.kind == kind)


def language_of(tokens: Sequence[Token]) -> Language:
    """The one of whose own words there are more; English where neither has more."""
    words = {token.stem for token in tokens} | {token.folded for token in tokens}
    french = len(words & telling("fr")) + sum(any(ord(c) > 127 for c in token.text) for token in tokens)
    return "fr" if french > len(words & telling("en")) else "en"


def corrected(tokens: Sequence[Token], language: Language, names: Names) -> tuple[list[Token], list[tuple[str, str]]]:
    """The tokens with slips mended, and which ones were: as written, as taken."""
    mended, guessed = [], []
    for token in tokens:
        better = _guess(token, language, names) if _is_strange(token, language, names) else None
        if better is not None:
            guessed.append((token.text, better))
            token = replace(token, folded=fold(better), stem=better)  # noqa: PLW2901
        mended.append(token)
    return mended, guessed


def marks(tokens: Sequence[Token], language: Language, names: Names, taken: set[int]) -> tuple[list[Mark], list[int]]:
    """What the tokens beside `taken` mean, in order, and which of them mean nothing."""
    known, found, unknown, i = phrases(language), [], [], 0
    longest = max(names.longest, *map(len, known))
    while i < len(tokens):
        mark = None if i in taken else _longest(tokens, i, longest, known, names, taken)
        if mark is not None:
            found.append(mark)
        elif i not in taken and tokens[i].stem not in fillers(language) and tokens[i].folded not in fillers(language):
            unknown.append(i)
        i = mark.last if mark else i + 1
    return found, unknown


def _longest(
    tokens: Sequence[Token],
    i: int,
    longest: int,
    known: Mapping[tuple[str, ...], tuple[Meaning, ...]],
    names: Names,
    taken: set[int],
) -> Mark | None:
    for n in range(min(longest, len(tokens) - i), 0, -1):
        part = tokens[i : i + n]
        if any(k in taken for k in range(i, i + n)):
            continue
        stems = tuple(token.stem for token in part)
        meanings = known.get(stems, ())
        called = names.at(stems, [token.text for token in part]) or names.at(("-".join(stems),), []) if n < 4 else []
        if meanings or called:
            return Mark(i, i + n, " ".join(token.text for token in part), tuple(meanings), tuple(called))
        if n == 1 and (figure := number(part[0].folded)) is not None:
            return Mark(i, i + 1, part[0].text, number=figure)
    return None


def _is_strange(token: Token, language: Language, names: Names) -> bool:
    known = token.stem in _words(language) or token.folded in _words(language)
    return not known and token.stem not in names.singles and number(token.folded) is None


def _guess(token: Token, language: Language, names: Names) -> str | None:
    from rapidfuzz import process
    from rapidfuzz.distance import OSA

    if len(token.stem) < _MIN_GUESSED:
        return None
    digits = "".join(c for c in token.stem if c.isdigit())
    plain = [word for word in _guessable(language) if not digits]
    called = [word for word in names.singles if "".join(c for c in word if c.isdigit()) == digits]
    allowed = 2 if len(token.stem) >= _LONG else 1
    similar = [word for word in (*plain, *called) if not _is_prefixed(token.stem, word)]
    found = process.extract(token.stem, similar, scorer=OSA.distance, score_cutoff=allowed, limit=3)
    if not found or (len(found) > 1 and found[1][1] == found[0][1] and found[1][0] != found[0][0]):
        return None
    return str(found[0][0])


def _is_prefixed(word: str, other: str) -> bool:
    """Unconfirmed and confirmed, inactif and actif: a prefix is no slip, it turns a word round."""
    return word != other and (word.endswith(other) or other.endswith(word))


@cache
def _words(language: Language) -> frozenset[str]:
    """Every word that means something somewhere."""
    calendar = {*UNITS, *WEEKDAYS, *MONTHS, *_TIME_WORDS}
    return frozenset(calendar) | fillers(language) | {word for phrase in phrases(language) for word in phrase}


@cache
def _guessable(language: Language) -> tuple[str, ...]:
    """Words that a misspelt one may be taken for."""
    return tuple(
        sorted(word for word in _words(language) - AMBIGUOUS if len(word) >= _MIN_GUESSED - 1 and word not in fillers(language))
    )
