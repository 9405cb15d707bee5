"""Which sequence numbers have been accounted for, as a cursor and the ranges beyond a gap.

Invariants of a `Seen`:
1. Everything in 1..cursor is accounted for, and `cursor + 1` is not.
2. `ahead` holds what came beyond the gap: ascending, disjoint, never touching (so `[[4, 5], [6, 6]]` is `[[4, 6]]`).
Equal sets of numbers are therefore equal values. Sequences start at 1.
"""

from __future__ import annotations

from dataclasses import dataclass

Range = tuple[int, int]  # first and last, both included


@dataclass(frozen=True, slots=True)
class Seen:
    """See the module's text."""

    cursor: int = 0
    ahead: tuple[Range, ...] = ()

    @property
    def highest(self) -> int:
        return self.ahead[-1][1] if self.ahead else self.cursor

    @property
    def missing(self) -> list[Range]:
        """The gaps below the highest number seen, ascending."""
        ends = [self.cursor, *(last for _, last in self.ahead)]
        return [(end + 1, first - 1) for end, (first, _) in zip(ends, self.ahead, strict=False)]


def add(seen: Seen, first: int, last: int) -> tuple[Seen, list[Range]]:
    """`seen` with first..last in it, and the parts of first..last that are new. Raises ValueError unless 1 <= first <= last."""
    if not 1 <= first <= last:
        raise ValueError(f"{first}..{last} is no range of sequence numbers")
    if not seen.ahead and first == seen.cursor + 1:
        return Seen(last), [(first, last)]  # the ordinary case: the next one
    known = [(1, seen.cursor), *seen.ahead] if seen.cursor else list(seen.ahead)
    merged = _merge(known, (first, last))
    cursor = merged[0][1] if merged[0][0] == 1 else 0
    return Seen(cursor, tuple(merged[1:] if cursor else merged)), _without((first, last), known)


def size(ranges: list[Range]) -> int:
    """How many numbers the ranges hold."""
    return sum(last - first + 1 for first, last in ranges)


def _merge(known: list[Range], new: Range) -> list[Range]:
    """`known` with `new`, touching ranges joined."""
    first, last = new
    before = [known_range for known_range in known if known_range[1] < first - 1]
    after = [known_range for known_range in known if known_range[0] > last + 1]
    joined = known[len(before) : len(known) - len(after)]
    if joined:
        first, last = min(first, joined[0][0]), max(last, joined[-1][1])
    return [*before, (first, last), *after]


def _without(wanted: Range, known: list[Range]) -> list[Range]:
    """The parts of `wanted` that no range of `known` covers."""
    first, last = wanted
    left = []
    for known_first, known_last in known:
        if known_last < first or known_first > last:
            continue
        if known_first > first:
            left.append((first, known_first - 1))
        first = known_last + 1
    if first <= last:
        left.append((first, last))
    return left
