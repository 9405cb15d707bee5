"""Delivery at least once, effect exactly once: what batches do to ledger, tables and lake."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from hub.lake.lake import open_lake
from hub.settings import Hub
from tests.hub.conftest import HubClient, running
from tests.hub.simulated_device import (
    NOW_NS,
    SPEC,
    SimulatedDevice,
    aggregate,
    aggregates,
    alert,
    eviction,
    evidence,
    fault,
    health,
    item,
    poison,
    rollup,
)
from tests.waiting import wait_until


def lanes(client: HubClient, device: SimulatedDevice) -> dict[tuple[str, str], dict[str, Any]]:
    answer = client.get(f"/v1/devices/{device.device_id}/ledger")
    return {(lane["epoch"], lane["lane"]): lane for lane in answer["lanes"]}


def test_a_batch_is_acknowledged_by_lane_and_reaches_the_lake(client: HubClient) -> None:
    device = client.enrolled()
    ack = client.ingest(device.batch([item(alert(), 1), *aggregates(1, 20), item(evidence(), 1)]))
    assert ack.cursors == {"alerts": 1, "aggregates": 20, "evidence": 1}
    assert ack.rejected == []
    ledger = client.settled_ledger()
    assert (ledger["items"], ledger["lake_rows"], ledger["lake_duplicates"], ledger["missing"]) == (22, 21, 0, 0)
    table = open_lake(client.hub.lake_url).aggregates("pump", SPEC, columns=["seq", "features", "start_ns", "scores"])
    row = next(row for row in table.to_pylist() if row["seq"] == 7)
    assert row["features"] == [7.0] * 26
    assert row["scores"] == [{"detector": "baseline", "score": 1.5, "p_value": 0.4, "alarm": False}]


def test_redelivery_has_no_effect_but_is_counted(client: HubClient) -> None:
    device = client.enrolled()
    sealed = device.batch([*aggregates(1, 10), item(alert(), 1)])
    first = client.ingest(sealed)
    for _ in range(3):
        assert client.ingest(sealed).cursors == first.cursors
    ledger = client.settled_ledger()
    assert (ledger["items"], ledger["redelivered"], ledger["lake_rows"], ledger["lake_duplicates"]) == (11, 33, 10, 0)
    assert len(client.get("/v1/alerts")) == 1


def test_an_alert_by_a_single_reading_keeps_what_it_says_when_it_closes(client: HubClient) -> None:
    device, said = client.enrolled(), "17.5 degC; the nearest ever seen is 5.1 degC"
    opened = msgspec.structs.replace(alert(), detector="streaming", detail=said)
    client.ingest(device.batch([item(opened, 1), item(msgspec.structs.replace(opened, closed_ns=opened.opened_ns + 1), 2)]))
    client.settled_ledger()
    (told,) = client.get("/v1/alerts")
    assert (told["detector"], told["detail"], told["closed_ns"] is not None) == ("streaming", said, True)


def test_a_gap_holds_the_cursor_until_it_is_filled(client: HubClient) -> None:
    device = client.enrolled()
    assert client.ingest(device.batch(aggregates(1, 3))).cursors["aggregates"] == 3
    assert client.ingest(device.batch(aggregates(6, 8))).cursors["aggregates"] == 3
    lane = lanes(client, device)["e1", "aggregates"]
    assert (lane["missing"], lane["n_missing"], lane["highest"]) == ([[4, 5]], 2, 8)
    assert client.ingest(device.batch(aggregates(4, 5))).cursors["aggregates"] == 8
    assert client.settled_ledger()["missing"] == 0


def test_an_eviction_stands_for_what_it_took(client: HubClient) -> None:
    device = client.enrolled()
    client.ingest(device.batch(aggregates(1, 2)))
    gone = item(eviction(5), 7, first_seq=3, lane="aggregates")
    assert client.ingest(device.batch([gone, *aggregates(8, 9)])).cursors["aggregates"] == 9
    lane = lanes(client, device)["e1", "aggregates"]
    assert (lane["received"], lane["evicted"], lane["n_missing"]) == (4, 5, 0)


def test_an_eviction_of_what_had_arrived_counts_only_the_rest(client: HubClient) -> None:
    """The acknowledgement was lost, the device filled up and evicted 1..6, of which the hub has 1..4."""
    device = client.enrolled()
    client.ingest(device.batch(aggregates(1, 4)))
    ack = client.ingest(device.batch([item(eviction(6), 6, first_seq=1, lane="aggregates")]))
    assert ack.cursors["aggregates"] == 6
    lane = lanes(client, device)["e1", "aggregates"]
    assert (lane["received"], lane["evicted"], lane["redelivered"]) == (4, 2, 0)


def test_a_rollup_stands_for_the_windows_that_were_merged_in_it(client: HubClient) -> None:
    device = client.enrolled()
    client.ingest(device.batch(aggregates(1, 2)))
    merged = item(rollup(3, "pump-1", "pump-2"), 8, first_seq=3)
    assert client.ingest(device.batch([merged, *aggregates(9, 9)])).cursors["aggregates"] == 9
    lane = lanes(client, device)["e1", "aggregates"]
    assert (lane["received"], lane["evicted"], lane["merged"], lane["n_missing"]) == (3, 0, 6, 0)
    ledger = client.settled_ledger()
    assert (ledger["items"], ledger["merged"], ledger["lake_rows"], ledger["lake_duplicates"]) == (9, 6, 5, 0)


@pytest.mark.parametrize(
    ("changes", "first_seq", "reason"),
    [
        ({}, 4, "rollup: 6 windows in place of 4..8"),
        ({"n_windows": 7}, 2, "rollup: groups of 6 windows, 7 stated"),
        ({"groups": []}, 3, "rollup: groups of 0 windows"),
    ],
)
def test_a_rollup_that_does_not_add_up_is_quarantined(
    client: HubClient, changes: dict[str, Any], first_seq: int, reason: str
) -> None:
    device = client.enrolled()
    body = msgspec.structs.replace(rollup(3, "pump-1", "pump-2"), **changes)
    ack = client.ingest(device.batch([*aggregates(1, first_seq - 1), item(body, 8, first_seq=first_seq)]))
    assert ack.cursors["aggregates"] == 8
    assert reason in ack.rejected[0].reason


def test_a_poison_item_is_quarantined_alone(client: HubClient) -> None:
    device = client.enrolled()
    items = [*aggregates(1, 2), poison(3), poison(4, kind="hologram"), *aggregates(5, 6)]
    ack = client.ingest(device.batch(items))
    assert ack.cursors["aggregates"] == 6
    assert client.ingest(device.batch(items)).rejected == ack.rejected  # told again, and counted once
    assert [(rejection.seq, rejection.lane) for rejection in ack.rejected] == [(3, "aggregates"), (4, "aggregates")]
    assert "hologram" in ack.rejected[1].reason
    kept = client.get("/v1/quarantine")
    assert {(row["seq"], row["kind"]) for row in kept} == {(3, "aggregate"), (4, "hologram")}
    ledger = client.settled_ledger()
    assert (ledger["items"], ledger["rejected"], ledger["lake_rows"]) == (6, 2, 4)


def test_bodies_that_decode_but_make_no_sense_are_quarantined(client: HubClient) -> None:
    device = client.enrolled()
    replace = msgspec.structs.replace
    bad = [
        replace(aggregate(1), features=b"abc"),
        replace(aggregate(2), features=b""),
        replace(aggregate(3), end_ns=0),
        replace(aggregate(4), n_readings=2**64 - 1),
        replace(aggregate(5), n_late=-1),
        replace(health(), uptime_s=float("nan")),
        replace(aggregate(7), n_readings=2**48 + 1),  # counts are summed up in 64 bits
    ]
    items = [item(body, n) for n, body in enumerate(bad, 1)]
    items += [item(alert(p_value=float("inf")), 1), item(fault(), 2, first_seq=1)]
    items.append(msgspec.structs.replace(item(alert(), 8), lane="aggregates"))
    ack = client.ingest(device.batch(items))
    assert len(ack.rejected) == len(items), ack.rejected
    assert ack.cursors == {"aggregates": 8, "alerts": 2}
    assert client.get("/v1/alerts") == []


def test_the_reason_for_a_rejection_is_short_however_long_the_fault(client: HubClient) -> None:
    ack = client.ingest(client.enrolled().batch([poison(1, kind="hologram" * 10_000)]))
    assert [len(rejection.reason) for rejection in ack.rejected] == [500]
    assert [len(row["reason"]) for row in client.get("/v1/quarantine")] == [500]


def test_a_new_epoch_starts_again_at_one_and_shows_as_a_restart(client: HubClient) -> None:
    device = client.enrolled()
    client.ingest(device.batch(aggregates(1, 5)))
    assert client.ingest(device.batch(aggregates(1, 2), epoch="e2")).cursors == {"aggregates": 2}
    answer = client.get(f"/v1/devices/{device.device_id}/ledger")
    assert answer["restarts"] == 1
    assert client.settled_ledger()["lake_rows"] == 7


def test_an_empty_batch_asks_for_the_cursors(client: HubClient) -> None:
    device = client.enrolled()
    client.ingest(device.batch(aggregates(1, 5)))
    assert client.ingest(device.batch([])).cursors == {"aggregates": 5}


def test_a_closed_alert_stays_closed_whatever_comes_later(client: HubClient) -> None:
    device = client.enrolled()
    closed = item(alert(closed_ns=NOW_NS + 5, p_value=1e-6), 2)
    client.ingest(device.batch([closed]))
    client.ingest(device.batch([item(alert(p_value=1e-3), 1), item(fault(), 3), item(fault(closed_ns=NOW_NS + 1), 4)]))

    def told() -> bool:
        return len(client.get("/v1/sensor-faults")) == 1

    wait_until(told)
    [row] = client.get("/v1/alerts")
    assert (row["closed_ns"], row["p_value"], row["top"]) == (NOW_NS + 5, 1e-6, [["flow", 0.7], ["pressure", 0.3]])
    assert client.get("/v1/alerts", open=True) == []
    assert client.get("/v1/sensor-faults", open=True) == []


def test_older_health_does_not_replace_newer(client: HubClient) -> None:
    device = client.enrolled()
    client.ingest(device.batch([item(health(200.0), 2)]))
    client.ingest(device.batch([item(health(100.0), 1), item(alert(), 1)]))
    wait_until(lambda: client.get("/v1/alerts"))
    found = client.get(f"/v1/devices/{device.device_id}")
    assert found["health"]["uptime_s"] == 200.0


def test_a_restart_keeps_everything(hub: Hub) -> None:
    with running(hub) as client:
        device = client.enrolled()
        client.ingest(device.batch([*aggregates(1, 10), item(alert(), 1)]))
    with running(hub) as client:
        assert client.ingest(device.batch(aggregates(10, 12))).cursors["aggregates"] == 12
        ledger = client.settled_ledger()
        assert (ledger["items"], ledger["redelivered"], ledger["lake_rows"], ledger["lake_duplicates"]) == (13, 1, 12, 0)
        assert len(client.get("/v1/alerts")) == 1
