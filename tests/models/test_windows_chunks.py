"""However readings are grouped into calls, the windows are the same, and every reading is accounted for."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from models.contract.clock import NS_PER_S
from models.windows import Windower
from tests.builders import T0_NS, plain

LATENESS_S = 2.0
Event = tuple[float, int]  # (seconds, channel)


@st.composite
def histories(draw: st.DrawFn, jumps: bool = False) -> list[Event]:
    """Readings of two channels: mostly forward, with gaps, and out of order by no more than the lateness."""
    steps = st.sampled_from([0.0, 0.25, 0.5, 1.0, 1.0, 3.0, 17.0, 60.0] + ([5000.0, -5000.0, 90000.0, -400.0] if jumps else []))
    now = draw(st.floats(0, 20).map(lambda s: round(s, 2)))
    events = []
    for step, back, channel in draw(st.lists(st.tuples(steps, st.sampled_from([0.0, 0.0, 0.4, 1.9]), st.integers(0, 1)))):
        now += step
        events.append((round(now - back, 3), channel))
    return events


def chunked(events: list[Event], sizes: list[int]) -> Iterator[list[Event]]:
    rest = list(events)
    for size in sizes:
        if rest:
            yield rest[:size]
            rest = rest[size:]
    if rest:
        yield rest


def windows_of(events: list[Event], sizes: list[int], as_blocks: bool, hop_s: float | None) -> tuple[list, Windower]:
    """Everything there is to see of the windows; a burst as blocks is one block for each run of a channel."""
    windower = Windower(plain("x", "y", lateness_s=LATENESS_S, hop_s=hop_s))
    windows = []
    for burst in chunked(events, sizes):
        if as_blocks:
            _add_blocks(windower, burst)
        else:
            for s, channel in burst:
                windower.add(channel, T0_NS + round(s * NS_PER_S), s, 0)
        windows += windower.closed()
    seen = [(w.end_ns, w.n_late, [t.tolist() for t in w.times], [v.tolist() for v in w.values]) for w in windows]
    return seen, windower


def _add_blocks(windower: Windower, burst: list[Event]) -> None:
    start = 0
    for i in range(1, len(burst) + 1):
        if i == len(burst) or burst[i][1] != burst[start][1]:
            seconds = np.array([s for s, _ in burst[start:i]])
            windower.add_block(burst[start][1], T0_NS + np.round(seconds * NS_PER_S).astype(np.int64), seconds, 0)
            start = i


@given(histories(), st.lists(st.integers(1, 9)), st.booleans(), st.sampled_from([None, 5.0]))
@example([(3.0, 0), (4.0, 0), (25.0, 0), (40.0, 0)], [1, 1, 1], True, None)  # nothing in the first whole window
@example([(21.5, 0), (19.6, 0), (38.5, 0), (41.5, 0), (42.0, 0)], [], False, None)  # a straggler before the first window
@example([(9.0, 0), (40.5, 0), (39.8, 0), (60.0, 0)], [1, 1, 1], False, None)  # a straggler after a skipped gap
def test_the_same_windows_whatever_the_burst_chunking(
    events: list[Event], sizes: list[int], as_blocks: bool, hop_s: float | None
) -> None:
    whole, _ = windows_of(events, [], as_blocks=False, hop_s=hop_s)
    cut, _ = windows_of(events, sizes, as_blocks, hop_s)
    assert cut == whole
    assert all(n_late == 0 for _, n_late, _, _ in whole)


@given(histories(jumps=True), st.lists(st.integers(1, 9), min_size=1))
def test_blocks_and_readings_are_the_same_also_when_clocks_jump(events: list[Event], sizes: list[int]) -> None:
    singly, one = windows_of(events, sizes, as_blocks=False, hop_s=None)
    blocks, other = windows_of(events, sizes, as_blocks=True, hop_s=None)
    assert blocks == singly
    assert (one.n_restarts, one.n_left_out, one._suspects.readings) == (
        other.n_restarts,
        other.n_left_out,
        other._suspects.readings,
    )


@given(histories(jumps=True), st.lists(st.integers(1, 9), min_size=1))
def test_every_reading_is_in_a_window_or_counted(events: list[Event], sizes: list[int]) -> None:
    windows, windower = windows_of(events, sizes, as_blocks=False, hop_s=None)
    in_windows = sum(len(t) for _, _, times, _ in windows for t in times)
    n_late = sum(n for _, n, _, _ in windows) + windower._n_late
    waiting = sum(len(channel.times) for channel in windower._channels) + len(windower._suspects.readings)
    counted = windower.n_left_out + windower.n_overflow + windower.n_repeated
    assert in_windows + n_late + waiting + counted == len(events)


@given(histories(jumps=True), st.lists(st.integers(1, 9), min_size=1))
def test_windows_only_go_forward_between_restarts_and_hold_what_is_theirs(events: list[Event], sizes: list[int]) -> None:
    windows, windower = windows_of(events, sizes, as_blocks=False, hop_s=None)
    ends = [end for end, *_ in windows]
    assert sum(b <= a for a, b in pairwise(ends)) <= windower.n_restarts
    for end_ns, _, times, _ in windows:
        assert any(times)
        assert all(end_ns - 10 * NS_PER_S < t <= end_ns for channel in times for t in channel)
