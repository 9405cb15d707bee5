"""Hostile envelopes: what is answered, and that nothing of them is stored; and names that would like to be more than names."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Iterator

import msgspec
import psutil
import pytest
import zstandard

from hub.settings import init_hub
from models.contract.envelope import Sealed, signed_message
from models.contract.items import Item
from models.contract.names import MAX_ITEMS, MAX_UNPACKED_BYTES
from tests.hub.conftest import FAST, HubClient, running
from tests.hub.simulated_device import SimulatedDevice, aggregate, aggregates, alert, eviction, fault, item, stamp
from tests.hub.test_ingest_envelopes import resealed
from tests.waiting import wait_until

replace = msgspec.structs.replace
DEEP = b"\x91" * 200_000 + b"\xc0"  # lists in lists
HOSTILE = (
    "'; DROP TABLE ledger; --",
    '" OR 1=1 --',
    "../../../../etc/passwd",
    "..",
    "/etc/passwd",
    "a/b",
    "a\x00b",
    "a\nb",
    "<script>alert(1)</script>",
    "{{7*7}}",
    "%s%n",
    "\u202egpj.exe",
    "",
    "x" * 65,
)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubClient]:
    with running(init_hub(tmp_path_factory.mktemp("attacks"), FAST)) as found:
        yield found


def newcomer(client: HubClient) -> SimulatedDevice:
    return client.enrolled(SimulatedDevice(f"gw-{secrets.token_hex(4)}"))


def stored(client: HubClient) -> dict[str, int]:
    """How much the hub has, wherever it keeps it."""
    with sqlite3.connect(f"file:{client.hub.paths.ingest}?mode=ro", uri=True) as log:
        counts = {"log": log.execute("SELECT coalesce(max(last), 0) FROM chunks").fetchone()[0]}
    log.close()
    with sqlite3.connect(f"file:{client.hub.paths.state}?mode=ro", uri=True) as state:
        for table in ("ledger", "quarantine", "alerts", "sensor_faults", "boots", "losses"):
            counts[table] = state.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    state.close()
    return counts


def refused(client: HubClient, sealed: bytes, status: int, kind: str) -> str:
    before = stored(client)
    reply = client.http.post("/v1/ingest", content=sealed)
    assert (reply.status_code, reply.json()["type"]) == (status, f"urn:tocsin:{kind}"), reply.text
    assert stored(client) == before
    assert client.http.get("/readyz").status_code == 200
    return str(reply.json()["detail"])


def frame(claimed: int, plain: bytes) -> bytes:
    """A zstd frame of `plain` whose header claims another size (RFC 8878, 3.1.1.1): a single segment, eight bytes of size."""
    inner = zstandard.ZstdCompressor(write_content_size=False).compress(plain)
    descriptor = inner[4]
    assert descriptor & 0b1110_0000 == 0  # no size, a window byte
    return inner[:4] + bytes([0b1110_0000]) + claimed.to_bytes(8, "little") + inner[6:]


def test_a_bomb_that_understates_its_size_is_refused_and_takes_no_memory(client: HubClient) -> None:
    device = newcomer(client)
    bomb = resealed(device, frame(1000, bytes(50 * MAX_UNPACKED_BYTES)))
    assert len(bomb) < 200_000
    refused(client, bomb, 400, "bad-envelope")  # what a first time loads is not the bomb's
    before = psutil.Process().memory_info().rss
    for _ in range(5):
        refused(client, bomb, 400, "bad-envelope")
    assert psutil.Process().memory_info().rss - before < 3 * MAX_UNPACKED_BYTES


@pytest.mark.parametrize("claimed", [MAX_UNPACKED_BYTES + 1, 2**40, 2**63, 2**64 - 3])
def test_a_bomb_that_claims_a_huge_size_is_refused_for_its_claim(client: HubClient, claimed: int) -> None:
    assert "unpacks to" in refused(client, resealed(newcomer(client), frame(claimed, b"small")), 400, "bad-envelope")


def test_a_payload_that_falls_short_of_its_claim_is_refused(client: HubClient) -> None:
    refused(client, resealed(newcomer(client), frame(1_000_000, b"small")), 400, "bad-envelope")


@pytest.mark.parametrize("inside", [lambda device: DEEP, lambda device: resealed(device, zstandard.compress(DEEP))])
def test_lists_in_lists_without_end_are_refused(client: HubClient, inside: Callable[[SimulatedDevice], bytes]) -> None:
    refused(client, inside(newcomer(client)), 400, "bad-envelope")


def test_a_body_of_lists_in_lists_refuses_its_batch_or_is_quarantined_alone(client: HubClient) -> None:
    device = newcomer(client)
    deep = msgspec.Raw(b"\x81\xa5asset" + b"\x91" * 400 + b"\xc0")
    ack = client.ingest(device.batch([replace(item(aggregate(1), 1), body=deep), item(aggregate(2), 2)]))
    assert ([rejection.seq for rejection in ack.rejected], ack.cursors) == ([1], {"aggregates": 2})


def test_more_items_than_a_batch_may_hold_are_refused(client: HubClient) -> None:
    detail = refused(client, newcomer(client).batch(aggregates(1, MAX_ITEMS + 1)), 400, "bad-envelope")
    assert "at most" in detail


def test_a_replayed_envelope_is_counted_and_has_no_effect_and_after_another_enrolment_it_is_refused(client: HubClient) -> None:
    device = newcomer(client)
    sealed = device.batch([*aggregates(1, 3), item(alert(), 1)])
    client.ingest(sealed)
    before = wait_until(lambda: (found := stored(client))["alerts"] and found)
    assert client.ingest(sealed).cursors == {"alerts": 1, "aggregates": 3}
    assert stored(client) == before
    [lane, _] = client.get(f"/v1/devices/{device.device_id}/ledger")["lanes"]
    assert lane["redelivered"] == lane["received"]
    other = SimulatedDevice(device.device_id)
    assert client.http.post("/v1/enrol", content=other.enrol(client.hub.join_token)).status_code == 409
    refused(client, other.batch(aggregates(4, 4)), 401, "bad-signature")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_device_id_is_no_name(client: HubClient, name: str) -> None:
    device = newcomer(client)
    sealed = msgspec.msgpack.decode(device.batch(aggregates(1, 1)), type=Sealed)
    message = signed_message("ingest", name, sealed.payload)
    refused(
        client,
        msgspec.msgpack.encode(replace(sealed, device_id=name, signature=device.key.sign(message))),
        400,
        "bad-envelope",
    )


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_epoch_or_lane_refuses_the_batch(client: HubClient, name: str) -> None:
    device = newcomer(client)
    refused(client, device.batch(aggregates(1, 1), epoch=name or " "), 400, "bad-envelope")
    refused(client, device.batch([replace(item(aggregate(1), 1), lane=name)]), 400, "bad-envelope")


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_in_items_are_quarantined_each_alone(client: HubClient, name: str) -> None:
    device = newcomer(client)
    bad: list[Item] = [
        item(replace(aggregate(1), asset=name), 1),
        item(replace(aggregate(2), profile=name), 2),
        item(replace(aggregate(3), spec_hash=name), 3),
        replace(item(aggregate(4), 4), kind=name),
    ]
    bad += [
        item(replace(alert(), alert_id=name), 1),
        item(replace(alert(), profile=name), 2),
        item(replace(fault(), fault_id=name), 3),
    ]
    good = item(aggregate(5), 5)
    ack = client.ingest(device.batch([*bad, good]))
    assert {(rejection.lane, rejection.seq) for rejection in ack.rejected} == {(one.lane, one.seq) for one in bad}
    assert ack.cursors == {"aggregates": 5, "alerts": 3}


@pytest.mark.parametrize("text", [text for text in HOSTILE if text and len(text) <= 64])
def test_hostile_texts_are_kept_as_texts_and_nothing_else(client: HubClient, text: str) -> None:
    """Fields that are texts, not names: a detector, a boot id, a detail, the channels that contribute."""
    device = newcomer(client)
    at = replace(stamp(), boot_id=text)
    said = [
        item(replace(alert(), detector=text, top=[(text, 1.0)]), 1),
        item(replace(fault(), channel=text, source=text, detail=text), 2),
        item(replace(aggregate(1, detector=text), top=[text], faulty=[text]), 1),
        item(replace(eviction(1), reason=text), 2, lane="aggregates"),
    ]
    ack = client.ingest(device.batch([replace(one, at=at) for one in said]))
    assert ack.rejected == []
    client.settled_ledger()
    [row] = client.get("/v1/alerts", device=device.device_id)
    assert (row["detector"], row["top"]) == (text, [[text, 1.0]])
    [row] = client.get("/v1/sensor-faults", device=device.device_id)
    assert (row["channel"], row["detail"]) == (text, text)
    span = client.get(f"/v1/devices/{device.device_id}/ledger/span", since_ns=0, until_ns=2**62)
    assert (span["received"], [loss["reason"] for loss in span["losses"]]) == (1, [text])
    outside = {path.name for path in client.hub.paths.lake.rglob("profile=*")}
    assert outside <= {"profile=pump"}
