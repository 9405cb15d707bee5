"""Times at the hub: corrected where a boot's clock was ever right, bounded where it never was, and marked as what they are."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.clocks.placing import FOREVER_NS, OUTSIDE_NS, Boot, Mark, Placed, Spans, place, place_window, spans_of
from hub.clocks.store import load_spans, spans_table
from hub.ingest.log import LogRecord
from hub.lake.lake import open_lake
from hub.lake.query import query
from hub.lake.rows import rows_of
from hub.lake.tables import PARTITIONS, SCHEMAS
from hub.projector.clocks import MAX_BOOTS, MAX_MARKS, Clocks
from hub.state.database import open_state, reading
from models.contract.clock import NS_PER_S, Stamp
from models.contract.items import Aggregate, Body, ClockMark, ClockSource, Item, encode_body
from tests.hub.conftest import HubClient
from tests.hub.simulated_device import NOW_NS, SimulatedDevice, aggregate, alert, fault, item
from tests.waiting import wait_until

S = NS_PER_S
HOUR = 3600 * S
DAY = 24 * HOUR
BOOTED = NOW_NS - DAY  # when the boot that most tests are about really began


def unset(mono_ns: int = 40 * S) -> Mark:
    """A clock that began at 1970 when the machine booted."""
    return Mark(mono_ns, 0, "none")


def spans(*boots: Boot) -> Spans:
    return spans_of(boots)


def boot(*marks: Mark, boot_id: str = "b", last_mono_ns: int = 2 * HOUR, high: int = NOW_NS) -> Boot:
    return Boot(boot_id, marks, last_mono_ns, high)


# --- placing ------------------------------------------------------------------------------------------------------


def test_a_boot_in_1970_is_corrected_once_a_time_server_was_heard() -> None:
    known = spans(boot(unset(), Mark(HOUR, BOOTED, "ntp")))
    early = place(600 * S, "b", 601 * S, False, known)
    assert (early.time_ns, early.quality) == (BOOTED + 600 * S, "corrected")
    assert early.error_ns == round(1e-4 * (HOUR - 600 * S)), "a free-running clock drifts"
    assert place(BOOTED + HOUR + S, "b", HOUR + 2 * S, True, known) == Placed(BOOTED + HOUR + S, "synced", 0)


def test_what_was_dated_before_a_step_and_stored_after_it_is_placed_by_the_old_time() -> None:
    known = spans(boot(unset(), Mark(HOUR, BOOTED, "ntp")))
    assert place(HOUR - S, "b", HOUR + S, True, known).time_ns == BOOTED + HOUR - S


def test_where_the_clock_was_set_back_the_time_that_was_not_yet_in_the_future_is_meant() -> None:
    right, back = Mark(0, BOOTED, "ntp"), Mark(HOUR, BOOTED - 600 * S, "none")
    known = spans(boot(right, back))
    before = place(BOOTED + HOUR - 60 * S, "b", HOUR - 59 * S, True, known)
    after = place(BOOTED + HOUR - 60 * S, "b", HOUR + 541 * S, False, known)
    assert (before.time_ns, before.quality) == (BOOTED + HOUR - 60 * S, "synced")
    assert (after.time_ns, after.quality) == (BOOTED + HOUR + 540 * S, "corrected")


def test_the_nearest_time_that_somebody_vouched_for_corrects() -> None:
    known = spans(boot(Mark(0, BOOTED, "ntp"), unset(HOUR), Mark(3 * HOUR, BOOTED + S, "ntp"), unset(4 * HOUR)))
    quality = [place(mono, "b", mono + S, False, known) for mono in (HOUR + S, 4 * HOUR + S)]
    assert [each.time_ns for each in quality] == [BOOTED + HOUR + S, BOOTED + 4 * HOUR + 2 * S]


def test_the_hub_s_time_corrects_where_there_was_no_time_server() -> None:
    known = spans(boot(unset(), Mark(HOUR, BOOTED, "hub", error_ns=S // 10)))
    assert place(BOOTED + 2 * HOUR, "b", 2 * HOUR, False, known).quality == "hub"
    early = place(HOUR - S, "b", HOUR, False, known)
    assert (early.time_ns, early.quality) == (BOOTED + HOUR - S, "corrected")
    assert early.error_ns is not None
    assert early.error_ns >= S // 10


def test_a_boot_whose_clock_was_never_set_lies_between_its_neighbours() -> None:
    first = boot(Mark(0, BOOTED, "ntp"), boot_id="1", last_mono_ns=HOUR)
    lost = boot(unset(0), boot_id="2", last_mono_ns=HOUR)
    last = boot(Mark(0, BOOTED + 4 * HOUR, "ntp"), boot_id="3", last_mono_ns=HOUR)
    found = place(600 * S, "2", 601 * S, False, spans(first, lost, last))
    low, high = BOOTED + HOUR + 600 * S, BOOTED + 3 * HOUR + 600 * S
    assert (found.time_ns, found.quality, found.error_ns) == (low, "bounded", high - low)


def test_a_clock_that_nobody_set_and_that_may_be_right_is_believed_within_the_bounds() -> None:
    first = boot(Mark(0, BOOTED, "ntp"), boot_id="1", last_mono_ns=HOUR)
    battery = boot(Mark(0, BOOTED + 2 * HOUR, "none"), boot_id="2", last_mono_ns=HOUR)
    last = boot(Mark(0, BOOTED + 4 * HOUR, "ntp"), boot_id="3", last_mono_ns=HOUR)
    found = place(BOOTED + 2 * HOUR + S, "2", 2 * S, False, spans(first, battery, last))
    assert (found.time_ns, found.quality) == (BOOTED + 2 * HOUR + S, "bounded")


def test_a_first_boot_without_any_hint_is_unknown_and_never_later_than_it_was_here() -> None:
    found = place(DAY * 40_000, "b", DAY, False, spans(boot(Mark(0, DAY * 39_999, "none"), high=BOOTED)))
    assert (found.time_ns, found.quality, found.error_ns) == (BOOTED + DAY, "unknown", None)


@pytest.mark.parametrize(("synced", "quality"), [(True, "synced"), (False, "unknown")])
def test_of_a_device_that_tells_nothing_of_its_clock_the_stamp_is_all_there_is(synced: bool, quality: str) -> None:
    assert place(NOW_NS, "b", S, synced, {}) == Placed(NOW_NS, quality)  # type: ignore[arg-type]
    assert place_window(NOW_NS, 0, "b", synced, spans(boot(unset()))) == Placed(NOW_NS, quality)  # type: ignore[arg-type]


HOSTILE = st.sampled_from([0, 1, 2**62, 2**63 - 1]) | st.integers(0, 2**63 - 1)


@given(
    st.lists(st.tuples(HOSTILE, HOSTILE, st.sampled_from(["none", "ntp", "hub"]), HOSTILE), max_size=4),
    HOSTILE,
    HOSTILE,
    HOSTILE,
)
def test_whatever_a_device_says_what_comes_out_fits_the_tables(
    told: list[tuple[int, int, ClockSource, int]], said: int, mono: int, last: int
) -> None:
    marks = [Mark(mono_ns, after - mono_ns, source, error) for mono_ns, after, source, error in sorted(told)]
    known = spans(boot(*marks, boot_id="a", last_mono_ns=last), boot(*marks[:1], boot_id="b", last_mono_ns=last))
    for boot_id in "ab":
        for found in (place(said, boot_id, mono, False, known), place_window(said, mono, boot_id, False, known)):
            assert 0 <= found.time_ns < 2**63
            assert found.error_ns is None or 0 <= found.error_ns < 2**63
    assert spans_table({"d": known}).num_rows == len(marks) + len(marks[:1])


def test_one_device_s_absurd_times_do_not_spoil_the_query_for_the_others(tmp_path: Path) -> None:
    lake = open_lake(str(tmp_path / "lake"))
    absurd = [(2**63 - 1, 1), (0, 2**63 - 1), (2**63 - 1, 2**63 - 1)]
    records = [
        record(n, msgspec.structs.replace(aggregate(), start_ns=0, end_ns=end, end_mono_ns=mono), Stamp(0, 0, "b", False))
        for n, (end, mono) in enumerate(absurd, start=1)
    ]
    lake.append("aggregates", rows_of("aggregates", records), "log", len(records))
    known = {"gw-01": spans(boot(Mark(0, 2**63 - 1, "none"), Mark(1, -(2**63) + 2, "ntp", 2**63 - 1)))}
    assert (
        query("SELECT count(corrected_end_ns) AS n, max(time_error_ns) FROM timed_aggregates", lake, known).to_pylist()[0]["n"]
        == 3
    )


SOURCES = st.sampled_from(["none", "ntp", "hub"])


@given(st.data())
def test_whatever_was_set_when_the_truth_is_within_the_error_that_is_told(data: st.DataObject) -> None:
    """Boots one after the other; a clock that is vouched for is right, any other says anything."""
    begins, boots = BOOTED, []
    for n in range(data.draw(st.integers(1, 5))):
        lasts = data.draw(st.integers(120, 100_000)) * S
        at = sorted(data.draw(st.sets(st.integers(1, 100), max_size=3)))
        marks = [Mark(0, data.draw(st.integers(-DAY, DAY)) + begins, "none")]
        for mono_ns in (lasts * percent // 101 for percent in at):
            source = data.draw(SOURCES)
            wrong = data.draw(st.sampled_from([-DAY, -600 * S, 600 * S, DAY, 20_000 * DAY]))
            marks.append(Mark(mono_ns, begins + (wrong if source == "none" else 0), source))
        boots.append((Boot(str(n), tuple(marks), lasts, begins + data.draw(st.integers(0, DAY)) + S), begins))
        begins += lasts + data.draw(st.integers(1, 100_000)) * S
    known = spans(*(each for each, _ in boots))
    for each, true_offset in boots:
        for span in known[each.boot_id]:
            mono_ns = data.draw(st.integers(span.from_mono_ns, min(span.to_mono_ns, each.last_mono_ns)))
            end_ns = max(0, mono_ns + span.offset_ns)
            placed = place_window(end_ns, end_ns - span.offset_ns, each.boot_id, False, known)
            truth = end_ns - span.offset_ns + true_offset
            assert placed.quality != "sensor"
            if placed.error_ns is not None:
                assert abs(placed.time_ns - truth) <= placed.error_ns + OUTSIDE_NS


# --- the lake -----------------------------------------------------------------------------------------------------


def window(end_ns: int, end_mono_ns: int) -> Aggregate:
    return msgspec.structs.replace(aggregate(), start_ns=end_ns - 10 * S, end_ns=end_ns, end_mono_ns=end_mono_ns)


def record(seq: int, body: Body, at: Stamp, device_id: str = "gw-01") -> LogRecord:
    return LogRecord(seq, device_id, "e1", "aggregates", seq, seq, "aggregate", at, encode_body(body), NOW_NS)


OFFSETS = st.sampled_from([0, BOOTED, BOOTED + S // 100, BOOTED - HOUR])
MARKS = st.lists(
    st.builds(Mark, st.integers(0, 4 * HOUR), OFFSETS, SOURCES, st.integers(0, S)),
    min_size=1,
    max_size=4,
    unique_by=lambda mark: mark.mono_ns,
).map(lambda marks: tuple(sorted(marks, key=lambda mark: mark.mono_ns)))
ENDS = st.tuples(
    st.sampled_from([0, BOOTED, BOOTED - HOUR, BOOTED + 7 * S, 5 * DAY]),
    st.integers(20 * S, 5 * HOUR),
    st.booleans(),
    st.booleans(),
)


@settings(max_examples=15, deadline=None)
@given(st.lists(MARKS, min_size=1, max_size=3), st.lists(st.tuples(st.integers(0, 3), ENDS), min_size=1, max_size=12))
def test_sql_places_windows_as_the_function_does(
    tmp_path_factory: pytest.TempPathFactory, marks: list[tuple[Mark, ...]], ends: list[tuple[int, tuple[int, int, bool, bool]]]
) -> None:
    lake = open_lake(str(tmp_path_factory.mktemp("lake")))
    known = spans(*(boot(*of_boot, boot_id=str(n), last_mono_ns=5 * HOUR) for n, of_boot in enumerate(marks)))
    records, expected = [], []
    for seq, (boot_id, (offset_ns, mono_ns, synced, told)) in enumerate(ends, start=1):
        end_ns, end_mono_ns = offset_ns + mono_ns, mono_ns if told else 0
        records.append(record(seq, window(end_ns, end_mono_ns), Stamp(end_ns, mono_ns, str(boot_id), synced)))
        placed = place_window(end_ns, end_mono_ns, str(boot_id), synced, known)
        expected.append((placed.time_ns - 10 * S, placed.time_ns, placed.quality, placed.error_ns))
    lake.append("aggregates", rows_of("aggregates", records), "log", len(records))
    columns = "corrected_start_ns, corrected_end_ns, time_quality, time_error_ns"
    found = query(f"SELECT {columns} FROM timed_aggregates ORDER BY seq", lake, {"gw-01": known})
    assert [tuple(row.values()) for row in found.to_pylist()] == expected


def test_a_lake_from_before_windows_told_their_monotonic_end_is_read_and_written_on(tmp_path: Path) -> None:
    old = pa.schema([field for field in SCHEMAS["aggregates"] if field.name not in ("partial", "end_mono_ns")])
    path = tmp_path / "lake"
    DeltaTable.create(str(path / "aggregates"), old, partition_by=PARTITIONS["aggregates"])
    first = rows_of("aggregates", [record(1, aggregate(1), Stamp(NOW_NS, S, "b", True))])
    write_deltalake(str(path / "aggregates"), first.select(old.names), mode="append")
    for _ in range(2):
        lake = open_lake(str(path))
    lake.append("aggregates", rows_of("aggregates", [record(2, window(NOW_NS, DAY), Stamp(NOW_NS, DAY, "b", True))]), "log", 2)
    found = query("SELECT seq, partial, end_mono_ns, time_quality FROM timed_aggregates ORDER BY seq", lake).to_pylist()
    assert [tuple(row.values()) for row in found] == [(1, None, None, "synced"), (2, False, DAY, "synced")]


# --- a hub that runs ----------------------------------------------------------------------------------------------


def at(body: Body, seq: int, mono_ns: int, offset_ns: int = 0, boot_id: str = "boot-1970", synced: bool = False) -> Item:
    stamp = Stamp(mono_ns + offset_ns, mono_ns, boot_id, synced)
    return msgspec.structs.replace(item(body, seq), at=stamp)


def mark(reason: str, mono_ns: int, before_ns: int, after_ns: int, source: str) -> ClockMark:
    return ClockMark(reason=reason, mono_ns=mono_ns, before_ns=before_ns, after_ns=after_ns, source=source)  # type: ignore[arg-type]


def opened_at(body: Body, ns: int) -> Body:
    return msgspec.structs.replace(body, opened_ns=ns)  # type: ignore[type-var]


def one(client: HubClient, path: str) -> dict[str, object]:
    rows: list[dict[str, object]] = wait_until(lambda: client.get(path))
    return rows[0]


def test_what_a_device_said_in_1970_is_corrected_when_its_clock_is_set(client: HubClient) -> None:
    device = client.enrolled()
    items = [
        at(mark("start", 40 * S, 40 * S, 40 * S, "none"), 1, 41 * S),
        at(opened_at(alert(), 100 * S), 2, 101 * S),
        at(opened_at(fault(), 90 * S), 3, 101 * S),
        at(window(100 * S, 100 * S), 1, 101 * S),
    ]
    client.ingest(device.batch(items))
    early = one(client, "/v1/alerts")
    assert (early["opened_ns"], early["said_opened_ns"], early["time_quality"]) == (100 * S, 100 * S, "unknown")

    client.ingest(device.batch([at(mark("synced", HOUR, HOUR, BOOTED + HOUR, "ntp"), 4, HOUR, BOOTED, synced=True)]))
    later = wait_until(lambda: (row := one(client, "/v1/alerts"))["time_quality"] == "corrected" and row)
    assert (later["opened_ns"], later["said_opened_ns"]) == (BOOTED + 100 * S, 100 * S)
    assert one(client, "/v1/sensor-faults")["opened_ns"] == BOOTED + 90 * S

    closing = msgspec.structs.replace(opened_at(alert(), 100 * S), closed_ns=BOOTED + HOUR + 60 * S)
    client.ingest(device.batch([at(closing, 5, HOUR + 61 * S, BOOTED, synced=True)]))
    closed = wait_until(lambda: (row := one(client, "/v1/alerts"))["closed_ns"] and row)
    assert (closed["opened_ns"], closed["closed_ns"]) == (BOOTED + 100 * S, BOOTED + HOUR + 60 * S)
    assert closed["time_quality"] == "corrected"

    assert client.settled_ledger()["lake_rows"] == 1
    row = timed(client)[0]
    assert (row["end_ns"], row["corrected_end_ns"], row["time_quality"]) == (100 * S, BOOTED + 100 * S, "corrected")


def timed(client: HubClient) -> list[dict[str, object]]:
    engine = open_state(client.hub.state_url)
    with reading(engine).begin() as connection:
        known = load_spans(connection)
    engine.dispose()
    rows: list[dict[str, object]] = query(
        "SELECT * FROM timed_aggregates ORDER BY seq", open_lake(client.hub.lake_url), known
    ).to_pylist()
    return rows


def test_a_boot_that_never_learned_the_time_is_bounded_when_the_next_one_does(client: HubClient) -> None:
    device = client.enrolled()
    lost = BOOTED + 3 * HOUR
    items = [
        at(mark("start", 0, BOOTED, BOOTED, "ntp"), 1, S, BOOTED, "boot-a", True),
        at(mark("start", 0, 0, 0, "none"), 2, S, 0, "boot-b"),
        at(opened_at(alert(), 600 * S), 3, 601 * S, 0, "boot-b"),
    ]
    client.ingest(device.batch(items))
    wait_until(lambda: client.get("/v1/alerts"))
    last = [at(mark("start", 0, lost + HOUR, lost + HOUR, "ntp"), 4, S, lost + HOUR, "boot-c", True)]
    client.ingest(device.batch(last))
    found = wait_until(lambda: (row := one(client, "/v1/alerts"))["time_error_ns"] < 5 * HOUR and row)
    assert found["time_quality"] == "bounded"
    assert abs(found["opened_ns"] - (lost + 600 * S)) <= found["time_error_ns"]
    assert found["opened_ns"] >= BOOTED + S + 600 * S


def test_two_devices_with_boots_of_the_same_name_do_not_correct_each_other(client: HubClient) -> None:
    one_device, other = client.enrolled(), client.enrolled(SimulatedDevice("gw-02"))
    for device in (one_device, other):
        client.ingest(device.batch([at(mark("start", 0, 0, 0, "none"), 1, S), at(opened_at(alert(), 60 * S), 2, 61 * S)]))
    client.ingest(other.batch([at(mark("synced", HOUR, HOUR, BOOTED + HOUR, "ntp"), 3, HOUR, BOOTED, synced=True)]))
    corrected = wait_until(lambda: [row["time_quality"] for row in client.get("/v1/alerts", device="gw-02")] == ["corrected"])
    assert corrected
    assert client.get("/v1/alerts", device="gw-01")[0]["opened_ns"] == 60 * S


def test_a_span_without_end_reaches_beyond_any_uptime() -> None:
    (span,) = spans(boot(unset()))["b"]
    assert span.to_mono_ns == FOREVER_NS > 100 * 365 * DAY


def test_a_device_that_boots_and_tells_of_its_clock_without_end_takes_so_much_and_no_more(tmp_path: Path) -> None:
    """All that is known of a device is read again with each boot and each mark."""
    engine = open_state(f"sqlite:///{tmp_path / 'hub.db'}")
    told, said = Clocks(), ClockMark(reason="synced", mono_ns=S, before_ns=NOW_NS, after_ns=NOW_NS, source="ntp")

    def marked(seq: int, mark: ClockMark, at: Stamp, device_id: str = "gw-01") -> LogRecord:
        return msgspec.structs.replace(record(seq, mark, at, device_id), kind="clock")

    for first in range(0, 3 * MAX_BOOTS, 500):
        at = [Stamp(NOW_NS, S, f"boot-{n}", synced=True) for n in range(first, first + 500)]
        with engine.begin() as connection:
            told.apply(connection, [marked(n, said, one) for n, one in enumerate(at, first + 1)])
            told.apply(connection, [marked(1, said, Stamp(NOW_NS, S, "of-another", synced=True), "gw-02")])
    with engine.begin() as connection:
        found = load_spans(connection)
        newest = f"boot-{3 * MAX_BOOTS - 1}"
        assert (len(found["gw-01"]), list(found["gw-02"])) == (MAX_BOOTS, ["of-another"])
        assert place(NOW_NS, newest, S, True, found["gw-01"]).quality == "synced"
        stamp = Stamp(NOW_NS, S, newest, synced=True)
        flood = [marked(n, msgspec.structs.replace(said, mono_ns=2 * S + n), stamp) for n in range(MAX_MARKS + 100)]
        told.apply(connection, flood)
        marks = [span for of_boot in load_spans(connection)["gw-01"].values() for span in of_boot]
        assert len(marks) == MAX_MARKS
        assert max(span.from_mono_ns for span in marks) == 2 * S + MAX_MARKS + 99
    engine.dispose()
