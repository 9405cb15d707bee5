"""Two that speak under one name: noticed by their check-ins and by their items, and never by a device alone."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.devices.clones import Writers, observe
from models.contract.clock import Stamp
from models.contract.envelope import Rejection
from models.contract.items import Item
from tests.hub.conftest import HubClient
from tests.hub.simulated_device import NOW_NS, SimulatedDevice, aggregates, eviction, item

Checkin = tuple[str, int, str, int]  # epoch, starts, boot, monotonic s


def heard(*checkins: Checkin) -> Writers:
    writers = Writers()
    for n, (epoch, starts, boot, mono_s) in enumerate(checkins):
        writers = observe(writers, epoch, starts, Stamp(0, mono_s * 10**9, boot, synced=True), n)
    return writers


def test_two_boots_with_the_same_number_of_starts_are_two_writers_at_once() -> None:
    cloned = heard(("e1", 4, "a", 10), ("e1", 5, "b", 10), ("e1", 5, "c", 3)).cloned
    assert cloned is not None
    assert (cloned.epoch, cloned.boots, cloned.since_ns) == ("e1", ("b", "c"), 2)


def test_an_older_state_that_comes_back_to_life_is_named_once_it_goes_on() -> None:
    """A card's image of start 3 is put into another machine, while the first one is at start 9."""
    before = [("e1", 9, "a", 100), ("e1", 4, "b", 5)]
    assert heard(*before).cloned is None
    cloned = heard(*before, ("e1", 9, "a", 160), ("e1", 4, "b", 65)).cloned
    assert cloned is not None
    assert cloned.boots == ("a", "b")
    assert heard(*before, ("e1", 4, "b", 65)).cloned is not None


def test_what_is_replayed_or_late_is_no_second_writer() -> None:
    once = [("e1", 1, "a", 10), ("e1", 1, "a", 20), ("e1", 2, "a", 50), ("e1", 3, "b", 5)]
    assert heard(*once, *once, *once[:2]).cloned is None
    assert heard(*once, ("e1", 2, "a", 55)).cloned is None


def test_an_image_of_long_ago_is_named_though_many_starts_lie_between() -> None:
    life = [("e1", n, f"a{n}", 100) for n in range(2, 60)]
    both = [checkin for n in range(1, 4) for checkin in (("e1", 59, "a59", 100 + n), ("e1", 2, "other", 7 * n))]
    cloned = heard(*life, *both, ("e1", 60, "a60", 1)).cloned
    assert cloned is not None
    assert cloned.boots[1] == "other"


def test_a_finding_stands_until_it_is_closed() -> None:
    found = heard(("e1", 5, "b", 10), ("e1", 5, "c", 3), ("e2", 1, "c", 90), ("e2", 1, "c", 95))
    assert found.cloned is not None


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 5)), min_size=1, max_size=8),
    st.lists(st.integers(0, 60), max_size=20),
)
@settings(max_examples=150, deadline=None)
def test_one_device_with_any_restarts_reboots_and_replays_is_never_named(
    life: list[tuple[int, int]], replayed: list[int]
) -> None:
    said: list[Checkin] = []
    starts, boot, mono, epoch = 1, 0, 0, 0
    for what, passed in life:
        if what == 1:
            starts += 1
        elif what == 2:
            starts, boot, mono = starts + 1, boot + 1, 0
        mono += passed
        said.append((f"e{epoch}", starts, f"b{boot}", mono))
    again = [said[n % len(said)] for n in replayed]  # by somebody who listened, at any later moment
    assert heard(*said, *again).cloned is None


def test_the_state_fits_its_column() -> None:
    writers = heard(*[("e1", n, f"boot-{n}", n) for n in range(1, 100)])
    assert len(writers.seen) == 8
    assert msgspec.convert(msgspec.to_builtins(writers), Writers) == writers


# --- at the hub ------------------------------------------------------------------------------------------------------


def made_in(boot: str, items: list[Item]) -> list[Item]:
    return [msgspec.structs.replace(each, at=msgspec.structs.replace(each.at, boot_id=boot)) for each in items]


def test_what_a_clone_sends_under_known_numbers_lies_in_quarantine_and_the_operator_is_told(client: HubClient) -> None:
    device = client.enrolled()
    client.ingest(device.batch(made_in("a", aggregates(1, 5))))
    clone = SimulatedDevice(key=device.key)
    ack = client.ingest(clone.batch(made_in("b", aggregates(4, 7))))
    reason = "another item is already stored under this number"
    assert ack.cursors == {"aggregates": 7}
    assert ack.rejected == [Rejection("aggregates", 4, reason), Rejection("aggregates", 5, reason)]
    assert {(row["seq"], row["reason"]) for row in client.get("/v1/quarantine")} == {(4, reason), (5, reason)}
    cloned = client.get("/v1/devices")[0]["cloned"]
    assert (cloned["epoch"], cloned["boots"]) == ("e1", ["a", "b"])
    assert client.get("/v1/devices/gw-01")["cloned"] == cloned
    assert client.settled_ledger()["lake_rows"] == 7


def test_what_one_device_sends_again_is_a_redelivery_over_reboots_gaps_and_evictions(client: HubClient) -> None:
    device = client.enrolled()
    first, second = made_in("a", aggregates(1, 5)), made_in("b", aggregates(6, 9))
    client.ingest(device.batch([second[2]]))  # a witness goes before the rest
    for batch in (first, second, first, second, [*first[3:], *second]):
        assert client.ingest(device.batch(batch)).rejected == []
    evicted = made_in("c", [item(eviction(4), 13, first_seq=10, lane="aggregates")])
    client.ingest(device.batch(evicted))
    later = made_in("b", aggregates(14, 16))
    for batch in (later, evicted, later, made_in("b", aggregates(13, 13))):
        assert client.ingest(device.batch(batch)).rejected == []
    assert client.get("/v1/devices")[0]["cloned"] is None
    assert client.get("/v1/quarantine") == []


def test_check_ins_of_two_show_in_the_list_and_close_when_the_operator_resumes(client: HubClient) -> None:
    device = client.enrolled()
    for boot, starts in (("a", 3), ("b", 3)):
        at = Stamp(NOW_NS, 10**12, boot, synced=True)
        assert client.http.post("/v1/checkin", content=device.checkin(at=at, starts=starts)).status_code == 200
    assert client.get("/v1/devices")[0]["cloned"]["boots"] == ["a", "b"]
    assert client.http.post("/v1/devices/gw-01/resume", headers=client.auth).status_code == 200
    assert client.get("/v1/devices")[0]["cloned"] is None
