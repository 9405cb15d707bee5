"""What a hub has confirmed once, and says now that it never had.

It was restored from a back-up, or erased what this device had sent. Here those items are gone: the device keeps nothing that
was confirmed. An eviction stands for them on the way, so that the hub need not wait for numbers that nobody has any more, and
its ledger tells of them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from models.contract.clock import Stamp
from models.contract.items import LANES, Eviction, Item, Lane, encode_body

REASON = "delivered once, and forgotten by the hub"


class Forgotten:
    """By lane, the numbers that the hub asks for in vain."""

    def __init__(self) -> None:
        self._spans: dict[Lane, tuple[int, int]] = {}

    def note(self, cursors: Mapping[str, int], confirmed: Mapping[str, int]) -> bool:
        """Take in what the hub said it has, beside what it had `confirmed`; whether there is something new to tell it."""
        before = dict(self._spans)
        for lane in LANES:
            if lane not in cursors:
                continue
            first = max(0, cursors[lane]) + 1
            if first <= confirmed[lane]:
                self._spans[lane] = (first, confirmed[lane])
            else:
                self._spans.pop(lane, None)
        return any(span != before.get(lane) for lane, span in self._spans.items())

    def items(self, lanes: Collection[str], at: Stamp) -> list[Item]:
        """What is to travel ahead of items of these lanes."""
        return [_eviction(lane, span, at) for lane, span in self._spans.items() if lane in lanes]


def _eviction(lane: Lane, span: tuple[int, int], at: Stamp) -> Item:
    first, last = span
    body = Eviction(reason=REASON, n_items=last - first + 1, n_bytes=0, start_ns=at.wall_ns, end_ns=at.wall_ns)
    return Item(lane=lane, seq=last, first_seq=first, kind="eviction", at=at, body=msgspec.Raw(encode_body(body)))
