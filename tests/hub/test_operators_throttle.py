"""The pace of sign-in, in virtual time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hub.operators.throttle import ACCOUNT, ACCOUNT_FROM_ADDRESS, ADDRESS, Buckets, Pace, Throttle

S = 1_000_000_000


def test_five_guesses_at_an_account_then_one_in_half_a_minute() -> None:
    throttle = Throttle()
    assert [throttle.take("ann", "10.0.0.1", 0) for _ in range(5)] == [0.0] * 5
    assert throttle.take("ann", "10.0.0.1", 0) == 30.0
    assert throttle.take("ann", "10.0.0.1", 29 * S) == 1.0
    assert throttle.take("ann", "10.0.0.1", 30 * S) == 0.0
    assert throttle.take("ann", "10.0.0.1", 30 * S) == 30.0


def test_an_address_that_tries_many_names_is_slowed_down_and_others_are_not() -> None:
    throttle = Throttle()
    assert all(throttle.take(f"user-{n}", "10.0.0.1", 0) == 0.0 for n in range(ADDRESS.burst))
    assert throttle.take("another", "10.0.0.1", 0) == ADDRESS.refill_s
    assert throttle.take("another", "10.0.0.2", 0) == 0.0


def test_an_account_tried_from_many_addresses_is_slowed_down() -> None:
    throttle = Throttle()
    assert all(throttle.take("ann", f"10.0.{n}.1", 0) == 0.0 for n in range(ACCOUNT.burst))
    assert throttle.take("ann", "10.1.0.1", 0) == ACCOUNT.refill_s


def test_an_ipv6_network_counts_as_one_address() -> None:
    throttle = Throttle()
    assert all(throttle.take("ann", f"2001:db8::{n:x}", 0) == 0.0 for n in range(ACCOUNT_FROM_ADDRESS.burst))
    assert throttle.take("ann", "2001:db8::ffff%eth0", 0) > 0
    assert throttle.take("ann", "2001:db8:0:1::1", 0) == 0.0
    assert all(throttle.take("bob", address, 0) == 0.0 for address in ["::ffff:10.0.0.9"] * 4 + ["10.0.0.9"])
    assert throttle.take("bob", "10.0.0.9", 0) > 0


def test_signing_in_rightly_costs_nothing() -> None:
    throttle = Throttle()
    for _ in range(1000):
        assert throttle.take("ann", "10.0.0.1", 0) == 0.0
        throttle.give_back("ann", "10.0.0.1")


def test_what_is_remembered_is_bounded_whatever_strangers_make_up() -> None:
    buckets = Buckets(Pace(5, 30.0), max_keys=100)
    for n in range(10_000):
        buckets.take((f"name-{n}", ""), n)
        assert len(buckets) <= 100


@given(st.lists(st.integers(0, 20 * S), min_size=1, max_size=200))
def test_never_more_than_the_burst_and_the_refill(gaps: list[int]) -> None:
    pace, now_ns, taken = Pace(4, 7.0), 0, 0
    buckets = Buckets(pace)
    for gap in gaps:
        now_ns += gap
        if buckets.wait_ns(("a", "b"), now_ns) == 0:
            buckets.take(("a", "b"), now_ns)
            taken += 1
    assert taken <= pace.burst + now_ns / (pace.refill_s * S)
