"""Waiting before trying again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.backoff import Backoff


def test_the_bound_doubles_with_each_failure_up_to_the_cap() -> None:
    backoff = Backoff(base_s=0.5, cap_s=3.0)
    assert [backoff.bound_s(n) for n in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]


@given(st.integers(0, 10**9), st.floats(0, 1, exclude_max=True))
def test_the_wait_is_drawn_between_zero_and_the_bound(failures: int, drawn: float) -> None:
    backoff = Backoff()
    assert 0 <= backoff.delay_s(failures, drawn) <= min(backoff.cap_s, backoff.bound_s(failures))


def test_a_fleet_that_failed_together_comes_back_spread_out() -> None:
    waits = [Backoff().delay_s(6, i / 100) for i in range(100)]
    assert max(waits) - min(waits) > 25
