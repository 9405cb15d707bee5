"""From a text to a `Question`: words are marked, then put together. What is left over is told.

The order is what makes it work: slips are mended, comparisons with numbers are taken out, then times, then phrases and names.
`compose.py` makes the question of what was marked.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from hub.ask.comparisons import find_comparisons
from hub.ask.compose import Composed, compose
from hub.ask.marks import Mark, corrected, language_of, marks
from hub.ask.names import Names
from hub.ask.question import Chip, Language, Span, Understood
from hub.ask.reader import Parts
from hub.ask.spans import find_span
from hub.ask.text import MAX_TEXT, Token, tokens
from hub.ask.vocabulary import fillers
from models.errors import TocsinError

_VERSION = re.compile(r"\d+\.\d+(\.\d+)+\Z")


class QuestionTooLong(TocsinError):
    """A text that is no question any more."""


def understand(text: str, names: Names, now_ns: int, zone: str, language: Language | None = None) -> Understood:
    """What `text` asks, at `now_ns` and in `zone`. `language` None: whichever it looks like. Raises QuestionTooLong."""
    if len(text) > MAX_TEXT:
        raise QuestionTooLong(f"a question of {len(text)} characters; at most {MAX_TEXT}")
    written = tokens(text)
    language = language or language_of(written)
    read, guessed = corrected(written, language, names)
    versions = {i for i, token in enumerate(read) if _VERSION.match(token.folded)}
    comparisons = find_comparisons(read)
    compared = {i for each in comparisons for i in range(each.first, each.last)}
    now = datetime.fromtimestamp(now_ns / 1e9, UTC).astimezone(ZoneInfo(zone))
    span, timed = find_span(_without(read, compared | versions), now, language, text)
    marked, unknown = marks(read, language, names, compared | timed | versions)
    parts = Parts(language, marked, span, comparisons, tuple(read[i].folded for i in sorted(versions)))
    composed = compose(parts)
    unused = {mark.first for mark in marked if mark not in composed.used and not _is_article(read[mark.first], mark, language)}
    unused |= {i for each in comparisons if each not in composed.compared for i in range(each.first, each.last)}
    if composed.question is None:
        unused = {i for i in unused if i in unknown}
    return Understood(
        language,
        composed.question,
        tuple(_chips(composed, span, text, read)),
        tuple(read[i].text for i in sorted(unused | set(unknown))),
        tuple(guessed),
    )


def _is_article(token: Token, mark: Mark, language: Language) -> bool:
    """Un, une, one: a number that nobody meant."""
    return mark.number == 1 and token.folded in fillers(language)


def _without(read: Sequence[Token], taken: set[int]) -> list[Token]:
    """The tokens with the taken ones made mute, so that places stay."""
    return [Token("", "", "", token.start, token.end) if i in taken else token for i, token in enumerate(read)]


def _chips(composed: Composed, span: Span | None, text: str, read: Sequence[Token]) -> list[Chip]:
    if composed.question is None:
        return []
    found = [(mark.first, mark.last, meaning_of(mark)) for mark in composed.used if mark.value("ask") != "per"]
    found += [
        (each.first, each.last, f"{each.operator} {each.number:g}{' s' if each.is_time else ''}") for each in composed.compared
    ]
    chips = [Chip(text[read[first].start : read[last - 1].end], meaning) for first, last, meaning in sorted(found)]
    return [*chips, *([Chip(span.words, span_text(span))] if span else [])]


def meaning_of(mark: Mark) -> str:
    """A mark's meaning in a word or two."""
    if mark.names:
        return f"{mark.names[0].kind} {mark.names[0].value}"
    return mark.meanings[0].value.replace("_", " ") if mark.meanings else f"{mark.number:g}"


def span_text(span: Span) -> str:
    """From … to …, to the minute."""
    start, end = (f"{moment:%Y-%m-%d %H:%M}" if moment else "" for moment in (span.start, span.end))
    return f"{start or '…'} – {end or '…'}"
