"""When the hub is tried next, and what a whole fleet of such devices looks like to it: in virtual time, seeded."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable

import pytest

from agent.backoff import Backoff
from agent.uplink.attempts import FIRST_WITHIN_S, Attempts
from models.errors import LinkError

N = 1000
Answer = Callable[[float, int], LinkError | None]  # (now_s, requests already in this second): None = it went well


def fleet(answer: Answer, until_s: float, every_s: float = 10.0, started: bool = True) -> Counter[int]:
    """Requests that the hub gets in each second from N devices, which all start at 0, or are in full swing there."""
    rng = random.Random(7)
    devices = [Attempts.paced(every_s) for _ in range(N)]
    for device in devices:
        if started:
            device.first(0.0, rng.random())
        else:
            device.next_s = rng.random() * every_s
    queue = [(device.next_s, n) for n, device in enumerate(devices)]
    heapq.heapify(queue)
    requests: Counter[int] = Counter()
    while queue[0][0] < until_s:
        now_s, n = heapq.heappop(queue)
        error = answer(now_s, requests[int(now_s)])
        requests[int(now_s)] += 1
        if error is None:
            devices[n].succeeded(now_s, rng.random())
        else:
            devices[n].failed(error, now_s, rng.random())
        heapq.heappush(queue, (devices[n].next_s, n))
    return requests


def test_after_a_power_cut_at_a_site_its_devices_do_not_come_all_at_once() -> None:
    requests = fleet(lambda *_: None, 120.0, every_s=60.0)
    assert max(requests[s] for s in range(int(FIRST_WITHIN_S))) < 0.06 * N  # 1/30 each, were they spread evenly
    assert max(requests[s] for s in range(30, 120)) < 0.06 * N


def test_while_all_is_well_they_stay_spread() -> None:
    requests = fleet(lambda *_: None, 600.0, started=False)
    assert max(requests.values()) < 0.16 * N  # an even spread over 10 s is a tenth each
    assert min(requests[s] for s in range(600)) > 0.05 * N


@pytest.mark.parametrize("outage_s", [3.0, 20.0, 300.0, 3600.0])
def test_a_hub_that_comes_back_is_not_run_over(outage_s: float) -> None:
    requests = fleet(lambda now_s, _: LinkError("refused") if now_s < outage_s else None, outage_s + 60.0, started=False)
    back = [requests[int(outage_s) + s] for s in range(60)]
    assert max(back) < 0.2 * N
    assert sum(back[:35]) > N  # and all of them have come within a little more than the longest wait


def test_a_hub_that_can_take_few_and_says_so_gets_through_with_all() -> None:
    """150 a second is all that this one takes; it sends the others away with Retry-After: 1, as ours does when it is full."""
    requests = fleet(lambda _, so_far: LinkError("busy", 1.0, 429) if so_far >= 150 else None, 60.0, started=False)
    assert max(requests[s] for s in range(20, 60)) < 0.2 * N


def test_a_pause_that_the_hub_asks_of_all_at_once_does_not_line_them_up() -> None:
    requests = fleet(lambda now_s, _: LinkError("maintenance", 600.0, 503) if now_s < 10.0 else None, 1000.0, started=False)
    assert sum(requests[s] for s in range(10, 600)) == 0
    assert max(requests[s] for s in range(600, 1000)) < 0.16 * N


@pytest.mark.parametrize("drawn", [0.0, 0.999])
def test_after_success_the_next_turn_is_a_period_away_and_failures_are_forgotten(drawn: float) -> None:
    attempts = Attempts(Backoff(1.0, 30.0), 60.0, failures=5, not_before_s=2000.0, last_error="x")
    attempts.succeeded(1000.0, drawn)
    assert 1045.0 <= attempts.next_s <= 1075.0
    assert (attempts.failures, attempts.last_error, attempts.due(1000.0)) == (0, "", True)


def test_the_hub_may_slow_a_device_down_but_not_hurry_it() -> None:
    attempts = Attempts(Backoff(1.0, 30.0), 60.0)
    attempts.succeeded(0.0, 0.5, asked_s=600.0)
    assert attempts.next_s == 600.0
    attempts.succeeded(0.0, 0.5, asked_s=1.0)
    assert attempts.next_s == 60.0


@pytest.mark.parametrize(
    ("failures", "error", "drawn", "expected_s"),
    [
        (0, LinkError("x"), 0.5, 0.5),
        (3, LinkError("x"), 0.5, 4.0),
        (50, LinkError("x"), 1.0, 30.0),
        (0, LinkError("x", retry_after_s=20.0), 0.0, 20.0),
        (0, LinkError("x", retry_after_s=20.0), 1.0, 30.0),
        (9, LinkError("x", retry_after_s=20.0), 1.0, 50.0),
        (0, LinkError("x", retry_after_s=0.0), 0.5, 0.5),
    ],
)
def test_how_long_it_waits(failures: int, error: LinkError, drawn: float, expected_s: float) -> None:
    attempts = Attempts(Backoff(1.0, 30.0), failures=failures)
    attempts.failed(error, 1000.0, drawn)
    assert attempts.not_before_s == attempts.next_s == pytest.approx(1000.0 + expected_s)
    assert not attempts.due(1000.0 + expected_s - 0.01)
    assert attempts.due(1000.0 + expected_s)


def test_a_new_bundle_is_not_fetched_by_all_at_once() -> None:
    """All of a wave hear of it within one round of check-ins; each fetches it at its own next update."""
    rng = random.Random(11)
    fetched: Counter[int] = Counter()
    for _ in range(N):
        checkin, update = Attempts.paced(60.0), Attempts.paced(60.0)
        checkin.first(0.0, rng.random())
        update.first(0.0, rng.random())
        while checkin.next_s < 1000.0:  # the bundle is there from now on
            checkin.succeeded(checkin.next_s, rng.random())
        while update.next_s < checkin.next_s:
            update.succeeded(update.next_s, rng.random())
        fetched[int(update.next_s)] += 1
    assert max(fetched.values()) < 0.04 * N
    assert max(fetched) < 1000 + 75 + 75
