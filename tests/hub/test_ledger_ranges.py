"""The ranges against the plainest model there is: a set of numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.ledger.ledger import LaneAccount
from hub.ledger.ranges import Seen, add, size

spans = st.tuples(st.integers(1, 60), st.integers(0, 8)).map(lambda pair: (pair[0], pair[0] + pair[1]))


def numbers(seen: Seen) -> set[int]:
    return set(range(1, seen.cursor + 1)).union(*(range(first, last + 1) for first, last in seen.ahead))


@given(st.lists(spans, max_size=40))
def test_ranges_agree_with_a_set_of_numbers(incoming: list[tuple[int, int]]) -> None:
    seen, model = Seen(), set[int]()
    for first, last in incoming:
        seen, new = add(seen, first, last)
        span = set(range(first, last + 1))
        assert {n for a, b in new for n in range(a, b + 1)} == span - model
        assert size(new) == len(span - model)
        model |= span
        assert numbers(seen) == model
        assert seen.highest == max(model)
        assert {n for a, b in seen.missing for n in range(a, b + 1)} == set(range(1, max(model))) - model


@given(st.lists(spans, max_size=30))
def test_the_form_is_canonical(incoming: list[tuple[int, int]]) -> None:
    one, other = Seen(), Seen()
    for first, last in incoming:
        one, _ = add(one, first, last)
    for first, last in reversed(incoming):
        other, _ = add(other, first, last)
    assert one == other
    edges = [one.cursor, *(edge for span in one.ahead for edge in span)]
    assert all(first > last + 1 for last, first in zip(edges[0::2], edges[1::2], strict=False))


@given(st.lists(st.tuples(spans, st.sampled_from(["aggregate", "eviction", "rollup"])), max_size=40))
def test_every_number_counts_once_as_received_evicted_or_merged(items: list[tuple[tuple[int, int], str]]) -> None:
    account = LaneAccount()
    redelivered = 0
    for (first, last), kind in items:
        account, new = account.with_item(first, last, 1, kind=kind, rejected=False)
        redelivered += not new
    assert account.n_received + account.n_evicted + account.n_merged == len(numbers(account.seen))
    assert account.n_redelivered == redelivered


@pytest.mark.parametrize(("first", "last"), [(0, 1), (-3, 2), (5, 4)])
def test_what_is_no_range_is_refused(first: int, last: int) -> None:
    with pytest.raises(ValueError, match="no range"):
        add(Seen(), first, last)
