"""What somebody on the line or with a stolen device can try at the hub, and what comes of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hub.devices.flood import BURST
from hub.devices.keys import DeviceKeys, DeviceRevoked, DeviceSuspended
from hub.devices.standing import take_step
from hub.settings import Hub, init_hub
from hub.state.database import connect_state
from models.contract.checkin import Rotated
from models.contract.claim import ClaimToken, read_claim
from models.contract.signing import SigningKey
from tests.hub.conftest import FAST, HubClient, running
from tests.hub.simulated_device import NOW_NS, SimulatedDevice, aggregates


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubClient]:
    """One hub for all of these; each device has a name of its own. It has no join token."""
    with running(init_hub(tmp_path_factory.mktemp("hub"), FAST, join_token=False)) as client:
        yield client


@pytest.fixture(autouse=True)
def own_address(shared: HubClient, request: pytest.FixtureRequest) -> None:
    """Each test comes from a host of its own, as by a proxy on the hub's machine: failures of one slow down no other."""
    digest = hashlib.sha256(request.node.name.encode()).digest()
    shared.http.headers["X-Forwarded-For"] = f"10.{digest[0]}.{digest[1]}.{digest[2]}"


@pytest.fixture
def device(shared: HubClient, request: pytest.FixtureRequest) -> SimulatedDevice:
    device = SimulatedDevice(f"gw-{hashlib.sha256(request.node.name.encode()).hexdigest()[:12]}")
    assert post(shared, "/v1/enrol", device.claim(token(shared))) == (200, "")
    return device


def token(client: HubClient, **wanted: object) -> ClaimToken:
    reply = client.http.post("/v1/claim-tokens", json={"site": "lyon", "count": 9} | wanted, headers=client.auth)
    assert reply.status_code == 201, reply.text
    return read_claim(reply.json()["token"])


def post(client: HubClient, path: str, sealed: bytes) -> tuple[int, str]:
    reply = client.http.post(path, content=sealed)
    return reply.status_code, "" if reply.status_code == 200 else reply.json()["type"].removeprefix("urn:tocsin:")


def step(client: HubClient, device: SimulatedDevice, what: str) -> None:
    path = f"/v1/devices/{device.device_id}/{what}"
    assert client.http.post(path, json={"reason": "stolen"}, headers=client.auth).status_code == 200


def new_key() -> SigningKey:
    return SigningKey(Ed25519PrivateKey.generate())


Make = Callable[[SimulatedDevice], bytes]
ASKS: dict[str, Make] = {
    "/v1/ingest": lambda device: device.batch(aggregates(1, 2)),
    "/v1/checkin": lambda device: device.checkin(),
    "/v1/rotate": lambda device: device.rotation(new_key()),
}


@pytest.mark.parametrize("path", ASKS)
def test_unsigned_or_wrongly_signed_changes_nothing(path: str, shared: HubClient, device: SimulatedDevice) -> None:
    sealed = msgspec.msgpack.decode(ASKS[path](device))
    forged = SimulatedDevice(device.device_id)
    for attempt in (
        sealed | {"signature": b""},
        sealed | {"signature": bytes(64)},
        sealed | {"payload": sealed["payload"] + b"x"},
        sealed | {"device_id": "gw-other"},
        msgspec.msgpack.decode(ASKS[path](forged)),
    ):
        status, kind = post(shared, path, msgspec.msgpack.encode(attempt))
        assert (status, kind) in ((401, "bad-signature"), (401, "unknown-device"))
    assert shared.get(f"/v1/devices/{device.device_id}/ledger")["lanes"] == []
    assert shared.get(f"/v1/devices/{device.device_id}")["checkin"] is None
    assert shared.get(f"/v1/devices/{device.device_id}")["key_since_ns"] is None


def test_what_was_signed_for_one_purpose_serves_no_other(shared: HubClient, device: SimulatedDevice) -> None:
    for path, make in ASKS.items():
        for other in {*ASKS, "/v1/enrol"} - {path}:
            assert post(shared, other, make(device)) == (400, "bad-envelope")
            relabelled = msgspec.msgpack.decode(make(device)) | {"purpose": other.removeprefix("/v1/")}
            assert post(shared, other, msgspec.msgpack.encode(relabelled))[0] in (400, 401)


def test_replayed_envelopes_and_check_ins_have_no_effect(shared: HubClient, device: SimulatedDevice) -> None:
    batch, first = device.batch(aggregates(1, 3)), device.checkin(backlog_items=7)
    for sealed in (batch, batch):
        assert post(shared, "/v1/ingest", sealed) == (200, "")
    for sealed in (first, device.checkin(at_ns=NOW_NS + 10**9, backlog_items=8), first):
        assert post(shared, "/v1/checkin", sealed) == (200, "")
    [lane] = shared.get(f"/v1/devices/{device.device_id}/ledger")["lanes"]
    assert (lane["received"], lane["redelivered"]) == (3, 3)
    found = shared.get(f"/v1/devices/{device.device_id}")
    assert (found["checkin"]["backlog_items"], found["cloned"]) == (8, None)


@pytest.mark.parametrize(("what", "kind"), [("suspend", "device-suspended"), ("revoke", "device-revoked")])
def test_a_device_that_is_kept_out_gets_the_reason_and_nothing_else_at_once(
    what: str, kind: str, shared: HubClient, device: SimulatedDevice
) -> None:
    assert post(shared, "/v1/ingest", device.batch(aggregates(1, 1))) == (200, "")
    step(shared, device, what)
    for path, make in ASKS.items():
        reply = shared.http.post(path, content=make(device))
        assert (reply.status_code, reply.json()["type"]) == (403, f"urn:tocsin:{kind}")
        assert reply.json()["detail"].endswith(": stolen")
        assert int(reply.headers["Retry-After"]) >= 300
        stranger = SimulatedDevice(device.device_id)
        assert post(shared, path, make(stranger)) == (401, "bad-signature")  # who has no business with it learns nothing
    assert post(shared, "/v1/enrol", device.claim(token(shared))) == (403, kind)
    found = shared.get(f"/v1/devices/{device.device_id}")
    assert (found["state_reason"], found["checkin"]) == ("stolen", None)
    if what == "suspend":
        step(shared, device, "resume")
        assert post(shared, "/v1/ingest", device.batch(aggregates(1, 2))) == (200, "")


def test_a_device_that_another_process_has_revoked_is_refused_within_half_a_minute(hub: Hub) -> None:
    with running(hub) as client:
        device = client.enrolled()
        engine, time_s = connect_state(hub.state_url), [0.0]
        keys = DeviceKeys(engine, clock=lambda: time_s[0])
        assert keys.find(device.device_id) == device.key.public_bytes
        for what, error in (("suspend", DeviceSuspended), ("revoke", DeviceRevoked)):
            with engine.begin() as connection:
                take_step(connection, device.device_id, what, reason="", actor="cli:root", now_ns=NOW_NS)  # type: ignore[arg-type]
            time_s[0] += 30.0
            assert keys.remembered(device.device_id) is None
            with pytest.raises(error):
                keys.find(device.device_id)
        engine.dispose()
        # A check-in looks at the state itself, whatever is remembered of the key.
        assert post(client, "/v1/checkin", device.checkin()) == (403, "device-revoked")


def test_a_new_key_is_pinned_in_place_of_the_old_one_and_asking_again_changes_nothing(
    shared: HubClient, device: SimulatedDevice
) -> None:
    new = SimulatedDevice(device.device_id, key=new_key())
    asked = device.rotation(new.key)
    for _ in range(3):
        reply = shared.http.post("/v1/rotate", content=asked)
        assert msgspec.msgpack.decode(reply.content, type=Rotated).public_key == new.key.public_bytes
    assert post(shared, "/v1/ingest", device.batch(aggregates(1, 1))) == (401, "bad-signature")
    assert post(shared, "/v1/ingest", new.batch(aggregates(1, 1))) == (200, "")
    since_ns = shared.get(f"/v1/devices/{device.device_id}")["key_since_ns"]
    assert since_ns is not None
    newest = SimulatedDevice(device.device_id, key=new_key())
    assert post(shared, "/v1/rotate", new.rotation(newest.key)) == (200, "")
    assert post(shared, "/v1/rotate", asked) == (401, "bad-signature")
    assert post(shared, "/v1/ingest", newest.batch(aggregates(1, 1))) == (200, "")


def test_whoever_has_an_old_key_or_not_the_new_one_changes_no_key(shared: HubClient, device: SimulatedDevice) -> None:
    new, thief = new_key(), new_key()
    assert post(shared, "/v1/rotate", device.rotation(new, proof=thief.sign(b"x"))) == (401, "bad-signature")
    assert post(shared, "/v1/rotate", device.rotation(new, signed_by=thief)) == (401, "bad-signature")
    assert post(shared, "/v1/rotate", device.rotation(new)) == (200, "")
    assert post(shared, "/v1/rotate", device.rotation(thief)) == (401, "bad-signature")  # signed by the key that was replaced
    assert post(shared, "/v1/ingest", SimulatedDevice(device.device_id, key=new).batch([])) == (200, "")


def test_assets_that_a_claim_token_does_not_allow_are_not_known_to_rollouts(shared: HubClient) -> None:
    device = SimulatedDevice("gw-fan")
    assert post(shared, "/v1/enrol", device.claim(token(shared, profiles=["fan"]), profiles=["fan"])) == (200, "")
    assert post(shared, "/v1/checkin", device.checkin()) == (200, "")  # it says that it watches a pump
    found = shared.get("/v1/devices/gw-fan")
    assert (found["assets"], found["slots"], found["profiles"]) == ([], [], ["fan"])


def test_a_hub_without_a_join_token_lets_nobody_in_by_one(shared: HubClient) -> None:
    for guess in ("", "x" * 43):
        assert post(shared, "/v1/enrol", SimulatedDevice("gw-x").enrol(guess)) == (403, "join-refused")


@pytest.mark.parametrize("name", ["%27%20OR%201=1", "..%2f..%2fetc", "a%00b", "gw-nobody"])
def test_names_in_addresses_lead_nowhere(name: str, shared: HubClient) -> None:
    for path in (f"/v1/devices/{name}/suspend", f"/v1/claim-tokens/{name}/revoke"):
        assert shared.http.post(path, headers=shared.auth).status_code == 404
    assert shared.http.post("/v1/devices/gw-nobody/explode", headers=shared.auth).status_code == 422


@pytest.mark.parametrize(
    "wanted",
    [{"site": "../x"}, {"site": "a'b"}, {"profiles": ["p/q"]}, {"count": 0}, {"ttl_h": 0}, {"ttl_h": 1e9}, {"site": "a\n"}],
)
def test_claim_tokens_for_nonsense_are_not_made(wanted: dict[str, object], shared: HubClient) -> None:
    reply = shared.http.post("/v1/claim-tokens", json={"site": "lyon"} | wanted, headers=shared.auth)
    assert reply.status_code in (400, 422)


@pytest.mark.parametrize("path", ["/v1/claim-tokens", "/v1/devices/gw-01/revoke", "/v1/claim-tokens/c1/revoke"])
def test_strangers_make_no_tokens_and_revoke_nobody(path: str, shared: HubClient) -> None:
    assert shared.http.post(path, json={"site": "lyon"}).status_code == 401


def test_a_flood_of_enrolments_is_slowed_down_and_the_rest_goes_on(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.devices.flood.EVERY_S", 600.0)  # nothing is forgiven while this test takes its time
    with running(hub) as client:
        device = client.enrolled()
        answers = [post(client, "/v1/enrol", SimulatedDevice(f"gw-{n}").enrol("wrong")) for n in range(int(BURST) + 5)]
        assert answers[0] == (403, "join-refused")
        assert answers[-1] == (429, "too-many-failures")
        reply = client.http.post("/v1/enrol", content=b"x")
        assert 300 <= int(reply.headers["Retry-After"]) <= 600
        assert post(client, "/v1/rotate", device.rotation(new_key())) == (429, "too-many-failures")
        assert post(client, "/v1/ingest", device.batch(aggregates(1, 1))) == (200, "")


def test_an_oversized_enrolment_is_not_taken_in(hub: Hub) -> None:
    with running(hub) as client:
        device = SimulatedDevice()
        assert post(client, "/v1/enrol", bytes(17 * 1024)) == (413, "too-large")
        assert post(client, "/v1/rotate", bytes(5 * 1024)) == (413, "too-large")
        bomb = device.claim(token(client), profiles=["p" * 60] * 100_000)  # 6 MB, packed into less than 16 kB
        assert len(bomb) < 16 * 1024
        assert post(client, "/v1/enrol", bomb) == (400, "bad-envelope")
        assert client.get("/v1/devices") == []


def test_what_unpacks_to_far_more_than_a_check_in_or_an_enrolment_can_be_is_refused(
    shared: HubClient, device: SimulatedDevice
) -> None:
    """A few kilobytes that unpack to megabytes: a check-in is kept, and a stranger's enrolment is unpacked unverified."""
    assert post(shared, "/v1/checkin", device.checkin(sources={"s": "x" * 900_000})) == (200, "")
    large = device.checkin(at_ns=NOW_NS + 1, sources={"s": "x" * 2_000_000})
    assert post(shared, "/v1/checkin", large) == (400, "bad-envelope")
    stranger = SimulatedDevice("gw-stranger")
    padded = stranger.enrol("", proof=b"x" * 1_000_000)
    reply = shared.http.post("/v1/enrol", content=padded)
    assert reply.status_code == 400
    assert "unpacks to" in reply.json()["detail"]
