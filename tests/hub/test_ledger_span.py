"""The account of a device over a span of time."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from sqlalchemy import delete

from hub.cli import hub as hub_command
from hub.lake.lake import DeltaLake, open_lake
from hub.ledger.span import span_ledger
from hub.state.database import open_state
from hub.state.schema import device_days
from tests.hub.conftest import HubClient
from tests.hub.simulated_device import NOW_NS, aggregate, aggregates, eviction, item, rollup

S = 10**9
DAY_NS = 86_400 * S


def span(client: HubClient, device_id: str = "gw-01", **params: Any) -> dict[str, Any]:
    answer: dict[str, Any] = client.get(f"/v1/devices/{device_id}/ledger/span", **params)
    return answer


def filled(client: HubClient) -> None:
    """Windows of 10 s: 1..10 received, 11..13 evicted, 14..19 merged, 20..24 missing, 25 received; a day later 26, 27."""
    device = client.enrolled()
    gone = msgspec.structs.replace(eviction(3), start_ns=NOW_NS + 110 * S, end_ns=NOW_NS + 140 * S)
    late = msgspec.structs.replace(aggregate(10), n_late=4)
    client.ingest(device.batch([*aggregates(1, 9), item(late, 10), item(gone, 13, first_seq=11, lane="aggregates")]))
    client.ingest(device.batch([item(rollup(3, "p1", "p2"), 19, first_seq=14), item(aggregate(25), 25)]))
    client.ingest(device.batch([item(aggregate(8640 + n), n) for n in (26, 27)]))
    client.settled_ledger()


def test_a_span_tells_what_was_received_late_merged_evicted_and_why_and_what_is_missing(client: HubClient) -> None:
    filled(client)
    found = span(client, since_ns=NOW_NS, until_ns=NOW_NS + 1000 * S)
    counts = {name: found[name] for name in ("received", "merged", "evicted", "missing", "late_readings")}
    assert counts == {"received": 11, "merged": 6, "evicted": 3, "missing": 5, "late_readings": 4}
    assert [(loss["kind"], loss["first_seq"], loss["seq"], loss["reason"]) for loss in found["losses"]] == [
        ("rollup", 14, 19, "outbox full"),
        ("eviction", 11, 13, "budget"),
    ]
    [gap] = found["gaps"]
    assert (gap["first_seq"], gap["last_seq"], gap["before_ns"]) == (20, 24, NOW_NS + 250 * S)
    assert sum(day["received"] for day in found["days"]) == 11


def test_another_span_knows_nothing_of_it(client: HubClient) -> None:
    filled(client)
    found = span(client, since_ns=NOW_NS + 8000 * S, until_ns=NOW_NS + 2 * DAY_NS)
    assert (found["received"], found["merged"], found["evicted"], found["missing"], found["gaps"]) == (2, 0, 0, 0, [])


def test_a_gap_that_was_filled_is_no_longer_told(client: HubClient) -> None:
    device = client.enrolled()
    client.ingest(device.batch([*aggregates(1, 2), *aggregates(5, 6)]))
    client.settled_ledger()
    everything = {"since_ns": 0, "until_ns": NOW_NS + DAY_NS}
    assert span(client, **everything)["missing"] == 2
    client.ingest(device.batch(aggregates(3, 4)))
    client.settled_ledger()
    found = span(client, **everything)
    assert (found["missing"], found["received"]) == (0, 6)


def test_windows_that_came_more_than_an_hour_after_they_ended_are_late(client: HubClient) -> None:
    device = client.enrolled()
    long_ago = msgspec.structs.replace(aggregate(1), start_ns=10**18, end_ns=10**18 + 10 * S)
    client.ingest(device.batch([item(long_ago, 1), *aggregates(2, 3)]))
    client.settled_ledger()
    assert span(client, since_ns=0, until_ns=10**18 + DAY_NS)["late"] == 1


def test_spans_that_make_no_sense_and_strangers_are_refused(client: HubClient) -> None:
    filled(client)
    url = "/v1/devices/gw-01/ledger/span"
    for params in ({"since_ns": 5, "until_ns": 5}, {"since_ns": -1}, {"until_ns": 2**63}, {"since_ns": "x"}):
        assert client.http.get(url, params=params, headers=client.auth).status_code == 422
    assert client.http.get("/v1/devices/nobody/ledger/span", headers=client.auth).status_code == 404
    assert client.http.get(url).status_code == 401


def test_the_command_tells_the_same(client: HubClient) -> None:
    filled(client)
    arguments = ["ledger", "gw-01", "--since", "2026-09-21", "--until", "2026-09-23", "--data", str(client.hub.paths.root)]
    told = json.loads(CliRunner().invoke(hub_command, [*arguments, "--json"]).output)
    assert told == span(client, since_ns=told["since_ns"], until_ns=told["until_ns"])
    shown = CliRunner().invoke(hub_command, arguments).output
    assert "13 windows received" in shown
    assert "outbox full" in shown
    assert "20..24" in shown
    bad = CliRunner().invoke(hub_command, ["ledger", "gw-01", "--since", "soon", "--data", str(client.hub.paths.root)])
    assert "how long ago" in bad.output


def test_times_beside_a_gap_are_looked_for_on_its_days_alone_and_everywhere_once_those_are_forgotten(
    client: HubClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lake of years has thousands of files."""
    asked: list[str] = []
    dataset = DeltaLake.dataset

    class Noted:
        def __init__(self, of: Any) -> None:
            self._of = of

        def to_table(self, **how: Any) -> Any:
            asked.append(str(how["filter"]))
            return self._of.to_table(**how)

    device = client.enrolled()
    days = [item(aggregate(8640 * n), n) for n in (1, 2, 3, 7, 8, 9)]
    client.ingest(device.batch(days))
    client.settled_ledger()
    lake = open_lake(client.hub.lake_url)
    monkeypatch.setattr(DeltaLake, "dataset", lambda self, table: Noted(dataset(self, table)))
    engine = open_state(client.hub.state_url)
    with engine.begin() as connection:
        [gap] = span_ledger(connection, lake, "gw-01", 0, 2**62).gaps
        narrow = [one for one in asked if "is_in(seq" in one]
        connection.execute(delete(device_days).where(device_days.c.last_seq <= 3))
        asked.clear()
        assert span_ledger(connection, lake, "gw-01", 0, 2**62).gaps == [gap]
    assert (gap.first_seq, gap.last_seq) == (4, 6)
    assert (gap.before_ns or 0) - (gap.after_ns or 0) > 3 * DAY_NS
    assert [(one.count("-09-"), "is_in(day" in one) for one in narrow] == [(2, True), (2, True)], narrow
    assert not any("is_in(day" in one for one in asked)
    engine.dispose()
