"""What Prometheus is told: by its own parser, with names and units as its guide asks for, and few label values."""

from __future__ import annotations

import time

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import insert

from hub.metrics.fleet import MAX_PROFILES
from hub.metrics.meters import Meters
from hub.state.database import connect_state
from hub.state.schema import assets, devices
from tests.hub.conftest import HubClient
from tests.hub.operating import token_in
from tests.hub.simulated_device import SimulatedDevice, aggregates, alert, item, poison
from tests.waiting import wait_until


def scrape(client: HubClient) -> dict[str, Metric]:
    reply = client.http.get("/metrics", headers=client.auth)
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith("text/plain; version=")
    families = list(text_string_to_metric_families(reply.text))
    assert len({family.name for family in families}) == len(families)
    return {family.name: family for family in families}


def value(families: dict[str, Metric], sample: str, **labels: str) -> float:
    found = [s.value for f in families.values() for s in f.samples if s.name == sample and s.labels == labels]
    assert len(found) == 1, (sample, labels, found)
    return found[0]


def test_ingest_and_the_fleet_are_counted(client: HubClient) -> None:
    device = client.enrolled()
    client.enrolled(SimulatedDevice("gw-02"))
    client.http.post("/v1/checkin", content=device.checkin())
    client.ingest(device.batch([*aggregates(1, 5), poison(6), item(alert(), 1)]))
    client.http.post("/v1/ingest", content=b"garbage")
    wait_until(lambda: client.get("/v1/summary")["ingest_pending"] == {"projector": 0, "lake": 0})
    found = scrape(client)
    assert value(found, "tocsin_ingest_envelopes_total", outcome="committed") == 1
    assert value(found, "tocsin_ingest_items_total") == 7
    assert value(found, "tocsin_ingest_rejected_items_total") == 1
    assert value(found, "tocsin_ingest_commit_seconds_count") == 1
    assert value(found, "tocsin_http_requests_total", area="ingest", status="200") == 1
    assert value(found, "tocsin_http_requests_total", area="ingest", status="400") == 1
    assert value(found, "tocsin_devices", online="true") == 2
    assert value(found, "tocsin_devices_online", profile="pump") == 1
    assert value(found, "tocsin_alerts_open", severity="warning") == 1
    assert value(found, "tocsin_backlog_records", consumer="lake") == 0
    assert value(found, "tocsin_failing", part="ingest") == 0
    assert value(found, "tocsin_quarantine_items") == 1
    assert value(found, "tocsin_lake_rows", table="aggregates") == 5
    assert value(found, "tocsin_lake_bytes", table="aggregates") > 100
    assert value(found, "process_resident_memory_bytes") > 1e6


def test_every_metric_has_a_help_text_and_counters_are_called_total(client: HubClient) -> None:
    for name, family in scrape(client).items():
        assert family.documentation, name
        assert name.startswith(("tocsin_", "process_"))
        if family.type == "counter":
            assert all(sample.name.endswith(("_total", "_created")) for sample in family.samples)


def test_no_device_is_a_label_and_profiles_are_bounded(client: HubClient) -> None:
    engine = connect_state(client.hub.state_url)
    shared = {"public_key": b"", "site": "s", "hardware": "", "agent_version": "", "enrolled_ns": 1}
    with engine.begin() as connection:
        for n in range(2 * MAX_PROFILES):
            device = {"device_id": f"gw-{n}", "last_seen_ns": time.time_ns(), **shared}
            connection.execute(insert(devices).values(device))
            watched = {"device_id": f"gw-{n}", "asset": "a", "profile": f"made-up-{n}", "spec_hash": "", "state": "normal"}
            connection.execute(insert(assets).values(watched))
    engine.dispose()
    text = client.http.get("/metrics", headers=client.auth).text
    assert "gw-1" not in text
    found = scrape(client)
    assert len(found["tocsin_devices_online"].samples) == MAX_PROFILES + 1
    assert value(found, "tocsin_devices_online", profile="other") == MAX_PROFILES


def test_hubs_in_one_process_count_apart() -> None:
    first, second = CollectorRegistry(), CollectorRegistry()
    Meters(first).answered("/v1/ingest", 200)
    Meters(second)
    labels = {"area": "ingest", "status": "200"}
    assert first.get_sample_value("tocsin_http_requests_total", labels) == 1
    assert second.get_sample_value("tocsin_http_requests_total", labels) is None


@pytest.mark.parametrize(("scope", "status"), [("metrics", 200), ("read", 200), ("train", 403)])
def test_metrics_take_a_scope_of_their_own(client: HubClient, scope: str, status: int) -> None:
    token = token_in(client.hub.state_url, "prometheus", scope, now_ns=time.time_ns())  # type: ignore[arg-type]
    assert client.http.get("/metrics", headers={"Authorization": f"Bearer {token}"}).status_code == status
    assert client.http.get("/metrics").status_code == 401
