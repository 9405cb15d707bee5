"""Rollups and what gives way first: decisions, without a database."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.storage.rollup import WINDOWS, evict, merge_windows
from agent.storage.room import EVICTION_BYTES, Row, steps_to_free
from models.contract.items import Aggregate, Body, Eviction, Lane, Rollup, SlotScore, decode_body, pack_floats, unpack_floats
from tests.builders import aggregate, health, items_of, stamp


def window(n: int, asset: str = "rig-1", **changes: object) -> Aggregate:
    return msgspec.structs.replace(aggregate(n), asset=asset, **changes)


def rolled(*bodies: Body) -> list[Rollup]:
    found = [decode_body(item.kind, item.body) for item in merge_windows(items_of(bodies), "outbox full")]
    return [body for body in found if isinstance(body, Rollup)]


def test_ten_windows_of_each_asset_become_one_rollup_in_their_place() -> None:
    items = items_of([window(n, f"rig-{i}") for n in range(20) for i in range(3)], first_seq=5)
    merged = merge_windows(items, "outbox full")
    assert [(item.kind, item.first_seq, item.seq) for item in merged] == [("rollup", 5, 34), ("rollup", 35, 64)]
    body = decode_body("rollup", merged[0].body)
    assert isinstance(body, Rollup)
    assert [(group.asset, group.n_windows) for group in body.groups] == [("rig-0", 10), ("rig-1", 10), ("rig-2", 10)]
    assert (body.groups[0].start_ns, body.groups[0].end_ns) == (window(0).start_ns, window(9).end_ns)


def test_the_mean_weighs_by_readings_and_leaves_out_what_is_missing() -> None:
    rows = [([1.0, np.nan, np.nan], 100), ([4.0, 2.0, np.nan], 50)]
    windows = [window(n, features=pack_floats(np.array(row)), n_readings=count) for n, (row, count) in enumerate(rows)]
    [group] = rolled(*windows)[0].groups
    np.testing.assert_allclose(unpack_floats(group.mean), [2.0, 2.0, np.nan])
    np.testing.assert_allclose(unpack_floats(group.low), [1.0, 2.0, np.nan])
    np.testing.assert_allclose(unpack_floats(group.high), [4.0, 2.0, np.nan])
    assert group.n_readings == 150


@pytest.mark.parametrize(
    "changes",
    [{"alarm": True}, {"commissioning": True}, {"partial": True}, {"faulty": ["flow"]}, {"spec_hash": "f" * 16},
     {"profile": "other"}, {"scores": [SlotScore(detector="rig-v2", score=1.0)]}],
)  # fmt: skip
def test_windows_in_another_state_are_never_merged_with_ordinary_ones(changes: dict[str, object]) -> None:
    body = rolled(window(0), window(1, **changes), window(2), window(3, **changes))[0]
    assert [group.n_windows for group in body.groups] == [2, 2]
    assert [(group.start_ns, group.end_ns) for group in body.groups] == [
        (window(0).start_ns, window(2).end_ns),
        (window(1).start_ns, window(3).end_ns),
    ]


def test_the_worst_score_is_kept() -> None:
    scores = [SlotScore(detector="baseline", score=s, p_value=p) for s, p in ((1.0, 0.5), (9.0, 0.001), (3.0, 0.2))]
    [group] = rolled(*(window(n, scores=[score]) for n, score in enumerate(scores)))[0].groups
    assert group.worst == scores[1]


def test_other_kinds_and_what_does_not_decode_stay_in_their_places() -> None:
    items = items_of([window(0), window(1), health(1), window(2)])
    items[3] = msgspec.structs.replace(items[3], body=msgspec.Raw(b"\xc0"))
    merged = merge_windows(items, "outbox full")
    assert [(item.kind, item.first_seq, item.seq) for item in merged] == [
        ("rollup", 1, 2), ("health", 3, 3), ("aggregate", 4, 4),
    ]  # fmt: skip


bodies = st.one_of(
    st.builds(health, st.integers(0, 9)),
    st.builds(window, st.integers(0, 99), st.sampled_from(["a", "b", "c"]), alarm=st.booleans()),
)


@given(st.lists(bodies, min_size=1, max_size=80))
def test_every_number_is_accounted_for_whatever_is_merged(made: list[Body]) -> None:
    items = items_of(made)
    merged = merge_windows(items, "outbox full")
    ends = [0, *(item.seq for item in merged)]
    assert [item.first_seq for item in merged] == [end + 1 for end in ends[:-1]]
    assert ends[-1] == len(made)
    for item in merged:
        body = decode_body(item.kind, item.body)
        if isinstance(body, Rollup):
            assert body.n_windows == sum(g.n_windows for g in body.groups) == item.seq - item.first_seq + 1
            assert all(group.n_windows <= WINDOWS for group in body.groups)
    assert merge_windows(merged, "outbox full") == merged, "what is merged is not merged again"


def test_an_eviction_counts_what_earlier_ones_and_rollups_stand_for() -> None:
    items = merge_windows(items_of([window(n) for n in range(20)]), "outbox full")
    first = evict(items[:1], "outbox full", stamp(50.0), 700)
    both = evict([first, items[1]], "outbox full", stamp(60.0), 300)
    body = decode_body("eviction", both.body)
    assert isinstance(body, Eviction)
    assert (both.first_seq, both.seq, body.n_items, body.n_bytes) == (1, 20, 20, 1000)
    assert (body.start_ns, body.end_ns) == (items[0].at.wall_ns, items[1].at.wall_ns)


# --- what gives way -------------------------------------------------------------------------------------------------


def chunk(lane: Lane, number: int, n_bytes: int = 50_000, *, merged: bool = False) -> Row:
    return Row(lane, number * 500 + 1, number * 500 + 500, 500, n_bytes, merged)


ROWS = [chunk(lane, n) for lane in ("aggregates", "alerts", "evidence") for n in range(4)]  # type: ignore[arg-type]


def what(rows: list[Row], n_bytes: int) -> list[tuple[str, str, list[int]]]:
    return [(step.what, step.rows[0].lane, [row.first_seq for row in step.rows]) for step in steps_to_free(rows, n_bytes)]


def test_the_oldest_evidence_goes_first() -> None:
    assert what(ROWS, 60_000) == [("evict", "evidence", [1, 501])]


def test_then_the_oldest_windows_are_merged_and_none_is_evicted_before_all_are() -> None:
    steps = what(ROWS, 250_000)
    assert steps[0] == ("evict", "evidence", [1, 501, 1001, 1501])
    assert steps[1:] == [("merge", "aggregates", [1]), ("merge", "aggregates", [501])]
    assert {step[0] for step in what(ROWS, 10**9)} == {"evict", "merge"}
    assert {step[1] for step in what(ROWS, 10**9)} == {"evidence", "aggregates"}


def test_alerts_go_last() -> None:
    rows = [chunk("aggregates", n, merged=True) for n in range(2)] + [chunk("alerts", n) for n in range(2)]
    assert what(rows, 60_000) == [("evict", "aggregates", [1, 501])]
    assert what(rows, 130_000)[1] == ("evict", "alerts", [1])


def test_only_neighbours_are_merged() -> None:
    rows = [
        Row("aggregates", 1, 10, 10, 9000, merged=False),
        Row("aggregates", 11, 90, 4, 9000, merged=True),
        Row("aggregates", 91, 100, 10, 9000, merged=False),
    ]
    assert what(rows, 10**6) == [("merge", "aggregates", [1]), ("merge", "aggregates", [91])]


def test_a_lane_that_is_one_eviction_already_frees_nothing() -> None:
    assert what([Row("alerts", 1, 900, 1, EVICTION_BYTES // 10, merged=True)], 10**6) == []
