"""Enrolment, check-in and bundles, as devices use them."""

from __future__ import annotations

import hashlib
import json

import msgspec
import pytest
from sqlalchemy import insert

from hub.devices.enrol import forget_device, read_enrol, store_enrol
from hub.devices.keys import DeviceKeys, UnknownDevice
from hub.settings import Hub
from hub.state.database import connect_state, open_state
from hub.state.schema import bundles, fleet_bundles
from models.contract.checkin import (
    AssetReport,
    BundleFailure,
    CheckInReply,
    DesiredBundle,
    EnrolReply,
    FlashWear,
    LaneBacklog,
    SlotReport,
    Survival,
    Unsent,
)
from models.contract.signing import root_message, verified
from tests.hub.conftest import HubClient, running
from tests.hub.simulated_device import NOW_NS, SPEC, SimulatedDevice, aggregates


def enrol(client: HubClient, sealed: bytes) -> tuple[int, str]:
    reply = client.http.post("/v1/enrol", content=sealed)
    return reply.status_code, "" if reply.status_code == 200 else reply.json()["type"]


def checkin(client: HubClient, sealed: bytes) -> CheckInReply:
    reply = client.http.post("/v1/checkin", content=sealed)
    assert reply.status_code == 200, reply.text
    return msgspec.msgpack.decode(reply.content, type=CheckInReply)


def test_enrolment_pins_the_key_and_tells_the_hubs(client: HubClient) -> None:
    device = SimulatedDevice()
    reply = client.http.post("/v1/enrol", content=device.enrol(client.hub.join_token))
    identity = msgspec.msgpack.decode(reply.content, type=EnrolReply)
    assert (identity.hub_id, identity.hub_public_key) == ("hub", client.hub.key.public_bytes)
    [found] = client.get("/v1/devices")
    assert (found["device_id"], found["site"], found["hardware"], found["online"]) == ("gw-01", "north", "Pi 4", True)


def test_the_same_key_again_changes_only_what_the_device_says_of_itself(client: HubClient) -> None:
    device = client.enrolled()
    before = client.get("/v1/devices")[0]
    assert enrol(client, device.enrol(client.hub.join_token, site="south")) == (200, "")
    [after] = client.get("/v1/devices")
    assert (after["site"], after["enrolled_ns"]) == ("south", before["enrolled_ns"])


def test_another_key_for_a_known_device_is_refused(client: HubClient) -> None:
    first = client.enrolled()
    assert enrol(client, SimulatedDevice().enrol(client.hub.join_token)) == (409, "urn:tocsin:key-conflict")
    assert client.ingest(first.batch([])).cursors == {}


def test_a_forgotten_device_may_enrol_with_another_key_and_its_deliveries_stay(client: HubClient) -> None:
    old = client.enrolled()
    client.ingest(old.batch(aggregates(1, 5)))
    engine = connect_state(client.hub.state_url)
    with engine.begin() as connection:
        assert forget_device(connection, old.device_id)
        assert not forget_device(connection, old.device_id)
    engine.dispose()
    new = client.enrolled(SimulatedDevice(epoch="e2"))
    assert client.http.post("/v1/ingest", content=old.batch(aggregates(6, 7))).status_code == 401
    assert client.ingest(new.batch(aggregates(1, 2))).cursors == {"aggregates": 2}
    assert client.get("/v1/devices/gw-01/ledger")["restarts"] == 1


def test_a_forgotten_device_is_refused_once_its_key_is_looked_up_again(hub: Hub) -> None:
    engine, time_s = open_state(hub.state_url), [0.0]
    keys = DeviceKeys(engine, clock=lambda: time_s[0])
    device = SimulatedDevice()
    device_id, said = read_enrol(device.enrol(hub.join_token), hub.join_token)
    with engine.begin() as connection:
        store_enrol(connection, device_id, said, NOW_NS)
    assert keys.find(device_id) == keys.remembered(device_id) == device.key.public_bytes
    with engine.begin() as connection:
        forget_device(connection, device_id)
    assert keys.remembered(device_id) is not None
    time_s[0] = 31.0
    assert keys.remembered(device_id) is None
    with pytest.raises(UnknownDevice):
        keys.find(device_id)
    engine.dispose()


@pytest.mark.parametrize("token", ["", "wrong", "x" * 43])
def test_a_wrong_join_token_is_refused(client: HubClient, token: str) -> None:
    assert enrol(client, SimulatedDevice().enrol(token)) == (403, "urn:tocsin:join-refused")
    assert client.get("/v1/devices") == []


def test_a_proof_taken_from_another_device_is_refused(client: HubClient) -> None:
    sealed = msgspec.msgpack.decode(SimulatedDevice("gw-01").enrol(client.hub.join_token))
    assert enrol(client, msgspec.msgpack.encode(sealed | {"device_id": "gw-02"})) == (401, "urn:tocsin:bad-signature")


def test_enrolment_with_an_odd_key_is_refused(client: HubClient) -> None:
    assert enrol(client, b"junk") == (400, "urn:tocsin:bad-envelope")
    assert enrol(client, bytes(100_000)) == (413, "urn:tocsin:too-large")


def test_a_pinned_key_survives_a_restart_of_the_hub(hub: Hub) -> None:
    with running(hub) as client:
        device = client.enrolled()
    with running(hub) as client:
        assert client.ingest(device.batch([])).cursors == {}


def test_a_checkin_shows_in_the_devices_row(client: HubClient) -> None:
    device = client.enrolled()
    reply = checkin(client, device.checkin(survival_days=float("nan")))
    assert (reply.slots, reply.next_checkin_s) == ([], 30.0)
    found = client.get("/v1/devices/gw-01")
    assert [(asset["asset"], asset["state"], asset["p_value"]) for asset in found["assets"]] == [("p1", "normal", 0.5)]
    assert [(slot["slot"], slot["bundle_id"]) for slot in found["slots"]] == [("active", "pump-1")]
    assert (found["checkin"]["backlog_items"], found["checkin"]["survival_days"]) == (3, None)


def test_how_long_a_device_lasts_alone_shows_in_the_list_once_it_has_said_so(client: HubClient) -> None:
    device = client.enrolled()
    assert client.get("/v1/devices")[0]["survival"] is None
    said = Survival(
        lanes={"alerts": LaneBacklog(items=2, bytes=600)},
        oldest=Unsent(kind="alert", lane="alerts", age_s=12.5),
        bytes_per_day=5e6,
        measured_s=86_400.0,
        days=41.5,
        flash=FlashWear(agent_bytes_per_day=1.2e7, endurance_bytes=3e13, years=float("inf")),
    )
    checkin(client, device.checkin(survival=said))
    found = client.get("/v1/devices")[0]["survival"]
    assert (found["days"], found["lanes"]["alerts"]["items"], found["oldest"]["kind"]) == (41.5, 2, "alert")
    assert found["flash"]["years"] is None
    assert client.get("/v1/devices/gw-01")["survival"] == found


def test_what_a_device_no_longer_reports_is_gone(client: HubClient) -> None:
    device = client.enrolled()
    checkin(client, device.checkin())
    other = AssetReport(asset="p2", profile="pump", spec_hash=SPEC, state="silent")
    checkin(client, device.checkin(assets=[other, other], slots=[], at_ns=NOW_NS + 1))
    found = client.get("/v1/devices/gw-01")
    assert [asset["asset"] for asset in found["assets"]] == ["p2"]
    assert found["slots"] == []


def test_a_failure_told_of_a_bundle_that_is_held_keeps_the_time_at_which_it_was_first_told(client: HubClient) -> None:
    device = client.enrolled()
    told = {
        "failures": [BundleFailure(bundle_id="pump-1", reason="latency")],
        "slots": [SlotReport(profile="pump", slot="previous", bundle_id="pump-1")],
    }
    checkin(client, device.checkin(**told))
    [first] = client.get("/v1/devices/gw-01")["failures"]
    checkin(client, device.checkin(**told, at_ns=NOW_NS + 1))
    assert client.get("/v1/devices/gw-01")["failures"] == [first]


def test_a_figure_that_is_no_number_is_left_out_and_the_rest_of_the_checkin_stands(client: HubClient) -> None:
    device = client.enrolled()
    odd = AssetReport(asset="p1", profile="pump", spec_hash=SPEC, state="alarm", p_value=float("inf"))
    slow = SlotReport(profile="pump", slot="active", bundle_id="pump-1", score_us_median=float("nan"))
    checkin(client, device.checkin(assets=[odd], slots=[slow]))
    [found] = client.get("/v1/devices")
    assert [(asset["state"], asset["p_value"]) for asset in found["assets"]] == [("alarm", None)]
    assert [slot["score_us_median"] for slot in found["slots"]] == [None]


def test_a_checkin_with_numbers_that_fit_no_table_is_refused(client: HubClient) -> None:
    device = client.enrolled()
    asset = {"asset": "p1", "profile": "pump", "spec_hash": SPEC, "state": "normal"}
    many = SlotReport(profile="pump", slot="active", bundle_id="pump-1", n_windows=2**63)
    for bad in ({"assets": [AssetReport(**asset, since_ns=2**64 - 1)]}, {"slots": [many]}, {"starts": -1}):
        reply = client.http.post("/v1/checkin", content=device.checkin(**bad))
        assert (reply.status_code, reply.json()["type"]) == (400, "urn:tocsin:bad-envelope")
    assert client.get("/v1/devices/gw-01")["checkin"] is None


def test_a_device_that_was_just_forgotten_leaves_no_trace_by_checking_in(client: HubClient) -> None:
    device = client.enrolled()
    engine = connect_state(client.hub.state_url)
    with engine.begin() as connection:
        forget_device(connection, device.device_id)
    engine.dispose()
    assert client.http.post("/v1/checkin", content=device.checkin()).status_code == 401
    assert client.get("/v1/summary")["assets"] == {}


@pytest.mark.parametrize("older", [{"starts": 2, "at_ns": NOW_NS - 1}, {"starts": 1, "at_ns": NOW_NS + 5}])
def test_a_replayed_checkin_is_answered_and_not_stored(client: HubClient, older: dict[str, int]) -> None:
    device = client.enrolled()
    checkin(client, device.checkin(starts=2))
    checkin(client, device.checkin(**older, backlog_items=99))
    assert client.get("/v1/devices/gw-01")["checkin"]["backlog_items"] == 3
    checkin(client, device.checkin(starts=3, at_ns=NOW_NS - 10, backlog_items=98))
    assert client.get("/v1/devices/gw-01")["checkin"]["backlog_items"] == 98


def test_a_failure_stands_until_the_device_holds_the_bundle(client: HubClient) -> None:
    device = client.enrolled()
    failure = BundleFailure(bundle_id="pump-2", reason="self-test: 3 of 16 golden vectors differ")
    checkin(client, device.checkin(failures=[failure]))
    [first] = client.get("/v1/devices/gw-01")["failures"]
    checkin(client, device.checkin(failures=[failure]))
    checkin(client, device.checkin(failures=[]))
    assert client.get("/v1/devices/gw-01")["failures"] == [first]
    checkin(client, device.checkin(slots=[SlotReport(profile="pump", slot="shadow", bundle_id="pump-2")]))
    assert client.get("/v1/devices/gw-01")["failures"] == []


def test_a_checkin_of_a_stranger_is_refused(client: HubClient) -> None:
    assert client.http.post("/v1/checkin", content=SimulatedDevice().checkin()).status_code == 401


def test_a_device_is_told_its_bundle_and_can_fetch_it(client: HubClient) -> None:
    archive = b"an archive" * 1000
    sha256 = hashlib.sha256(archive).hexdigest()
    (client.hub.paths.bundles / f"{sha256}.bundle").write_bytes(archive)
    engine = connect_state(client.hub.state_url)
    row = {"bundle_id": "pump-7", "profile": "pump", "version": 7, "spec_hash": SPEC, "sha256": sha256, "size": len(archive)}
    with engine.begin() as connection:
        connection.execute(insert(bundles).values(**row, created_ns=1, signed_ns=1, manifest={}, card={}))
        connection.execute(insert(fleet_bundles).values(profile="pump", bundle_id="pump-7", since_ns=1))
    engine.dispose()
    device = client.enrolled()
    [slots] = checkin(client, device.checkin()).slots
    assert slots.active is not None
    assert slots.active == DesiredBundle("pump-7", sha256, len(archive))
    path = f"/v1/tuf/targets/pump/{sha256}.pump-7.bundle"
    reply = client.http.get(path)
    assert reply.content == archive
    part = client.http.get(path, headers={"Range": "bytes=9000-"})
    assert (part.status_code, part.content) == (206, archive[9000:])
    assert client.http.get(path.replace(sha256, "0" * 64)).status_code == 404


def test_a_device_of_before_tuf_is_told_nothing_that_it_could_not_read(client: HubClient) -> None:
    engine = connect_state(client.hub.state_url)
    with engine.begin() as connection:
        connection.execute(insert(fleet_bundles).values(profile="pump", bundle_id=None, since_ns=1))
    engine.dispose()
    device = client.enrolled()
    assert checkin(client, device.checkin(root_version=None)).slots == []
    assert len(checkin(client, device.checkin()).slots) == 1


def test_a_bundle_that_waits_for_its_signature_is_told_to_nobody(client: HubClient) -> None:
    engine = connect_state(client.hub.state_url)
    row = {"bundle_id": "pump-7", "profile": "pump", "version": 7, "spec_hash": SPEC, "sha256": "a" * 64, "size": 1}
    with engine.begin() as connection:
        connection.execute(insert(bundles).values(**row, created_ns=1, manifest={}, card={}))
        connection.execute(insert(fleet_bundles).values(profile="pump", bundle_id="pump-7", since_ns=1))
    engine.dispose()
    assert checkin(client, client.enrolled().checkin()).slots == []


def test_a_device_without_a_root_is_sent_one_that_the_hub_has_signed(client: HubClient) -> None:
    device = client.enrolled()
    reply = checkin(client, device.checkin(root_version=0))
    assert verified(client.hub.key.public_bytes, reply.root_signature, root_message(reply.root))
    assert json.loads(reply.root)["signed"]["_type"] == "root"
    assert checkin(client, device.checkin(root_version=1)).root == b""


def test_metadata_is_there_by_version_and_its_path_leads_nowhere_else(client: HubClient) -> None:
    newest = client.http.get("/v1/tuf/metadata/timestamp.json")
    assert json.loads(newest.content)["signed"]["_type"] == "timestamp"
    assert client.http.get("/v1/tuf/metadata/1.root.json").status_code == 200
    for name in ("root.json", "2.root.json", "1.timestamp.json", "0.root.json", "..%2f..%2fhub.toml", "%2e%2e", "1.x%00.json"):
        assert client.http.get(f"/v1/tuf/metadata/{name}").status_code in (401, 404)


def test_a_bundles_path_leads_nowhere_else(client: HubClient) -> None:
    names = ("..%2Fhub.toml", "%2e%2e/admin.token", "A" * 64, "a" * 64 + "..%2f.bundle", "a" * 64 + ".x.bundle")
    for path in [f"/v1/tuf/targets/{profile}/{name}" for profile in ("pump", "%2e%2e") for name in names]:
        assert client.http.get(path).status_code in (401, 404)
