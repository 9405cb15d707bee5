"""The marks of a question while it is put together: what was said, what stands beside it, and what has been made use of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from hub.ask.comparisons import Comparison
from hub.ask.marks import Mark
from hub.ask.question import Language, Span

_GAP: Final = 3  # tokens between a word and what it belongs to: not in Lyon, pas à Lyon


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that was read off a text."""

    language: Language
    marks: Sequence[Mark]
    span: Span | None
    comparisons: Sequence[Comparison]
    versions: tuple[str, ...]


class Reader:
    """`used`, `compared`: what the question is made of, so far."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.marks = list(parts.marks)
        self.used: set[Mark] = set()
        self.compared: set[Comparison] = set()

    def said(self, kind: str, *values: str) -> bool:
        """Whether there is a mark with one of these meanings."""
        return any(value in mark.values(kind) for mark in self.marks for value in values)

    def take(self, kind: str, *values: str) -> Mark | None:
        """The first mark with one of these meanings; all of them count as used."""
        found = [mark for mark in self.marks if any(value in mark.values(kind) for value in values)]
        self.used.update(found)
        return found[0] if found else None

    def after(self, mark: Mark) -> Mark | None:
        """The mark close behind."""
        at = self.marks.index(mark) + 1
        return self.marks[at] if at < len(self.marks) and self.marks[at].first - mark.last < _GAP else None

    def before(self, mark: Mark) -> Mark | None:
        """The mark close before."""
        at = self.marks.index(mark) - 1
        return self.marks[at] if at >= 0 and mark.first - self.marks[at].last < _GAP else None

    def negation(self, mark: Mark) -> bool:
        """Whether a `not`, or a `without` that means nothing else, stands before; it counts as used."""
        before = self.before(mark)
        if before is None or before in self.used or before.value("ask") not in ("not", "never"):
            return False
        self.used.add(before)
        return True

    def negated_event(self, *things: str) -> bool:
        """Whether it is said that something did not happen: did not alarm, n'ont pas sonné."""
        events = [mark for mark in self.marks if mark.value("event") == "alert" or mark.value("thing") in things]
        return any(self.negation(mark) for mark in events)

    def number(self, *marks: Mark | None) -> int:
        """A number beside one of the marks, from now on used: the last 3, top 5, les 3 dernières; 0 where there is none."""
        for mark in marks:
            for near in (self.before(mark), self.after(mark)) if mark else ():
                if near is not None and near.number is not None and near.number >= 1 and near not in self.used:
                    self.used.add(near)
                    return int(near.number)
        return 0

    def named(self, kind: str) -> list[Mark]:
        """Marks that name something of that kind."""
        return [mark for mark in self.marks if any(name.kind == kind for name in mark.names)]
