"""Identity: a key that is made once, a hub that is pinned once, and neither ever silently replaced."""

from __future__ import annotations

import hmac
import stat
from pathlib import Path

import msgspec
import pytest

from agent.identity import Enrolment, Identity
from models.contract.checkin import Enrol, EnrolReply
from models.contract.envelope import open_sealed, read_sealed
from models.contract.signing import join_proof, verified
from models.errors import ConfigError, EnvelopeError, LinkError, StorageError
from tests.agent.hub_in_memory import MemoryHub
from tests.builders import signing_key

HUB_KEY = signing_key(8).public_bytes
REPLY = msgspec.msgpack.encode(EnrolReply(hub_id="hub-1", hub_public_key=HUB_KEY))


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "join-token"
    path.write_text("open sesame\n")
    return path


def enrolled(identity: Identity, hub: MemoryHub, token_file: Path | None) -> Enrolment:
    return identity.enrol(hub, token_file, "0.1.0", "north", "x" * 900)


def test_the_key_is_made_once_and_kept_for_its_owner_alone(tmp_path: Path) -> None:
    first, second = Identity(tmp_path, "dev-1"), Identity(tmp_path, "dev-1")
    assert first.sign(b"x") == second.sign(b"x")
    assert stat.S_IMODE((tmp_path / "device.key").stat().st_mode) == 0o600
    assert (tmp_path / "device.key").stat().st_size == 32


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 33, b"-----BEGIN PRIVATE KEY-----\n"])
def test_a_damaged_key_is_never_replaced_by_a_new_one(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "device.key").write_bytes(content)
    with pytest.raises(StorageError, match="not a 32-byte Ed25519 key; restore it, or remove it to enrol as a new device"):
        Identity(tmp_path, "dev-1")
    assert (tmp_path / "device.key").read_bytes() == content


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b'{"hub_id": 5, "hub_public_key": ""}'])
def test_a_damaged_enrolment_is_never_replaced_by_a_new_one(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "enrolment.json").write_bytes(content)
    with pytest.raises(StorageError, match=r"enrolment\.json: .*; remove it to enrol again"):
        Identity(tmp_path, "dev-1")
    assert (tmp_path / "enrolment.json").read_bytes() == content


def test_a_device_introduces_itself_once_and_remembers_the_hub(tmp_path: Path, token_file: Path) -> None:
    identity, hub = Identity(tmp_path, "dev-1"), MemoryHub(replies={"/v1/enrol": REPLY})
    assert enrolled(identity, hub, token_file) == Enrolment(hub_id="hub-1", hub_public_key=HUB_KEY)
    assert enrolled(identity, hub, token_file) == identity.enrolment
    hub.replies["/v1/enrol"] = msgspec.msgpack.encode(EnrolReply(hub_id="evil", hub_public_key=bytes(32)))
    again = Identity(tmp_path, "dev-1")
    assert enrolled(again, hub, None).hub_id == "hub-1"
    assert len(hub.posts) == 1


def test_what_it_says_proves_that_it_knows_the_token_without_telling_it(tmp_path: Path, token_file: Path) -> None:
    identity, hub = Identity(tmp_path, "dev-1"), MemoryHub(replies={"/v1/enrol": REPLY})
    enrolled(identity, hub, token_file)
    ((path, body),) = hub.posts
    said: list[Enrol] = []

    def verify(device_id: str, signature: bytes, message: bytes) -> None:
        enrol = said[0]
        if not verified(enrol.public_key, signature, message):
            raise EnvelopeError(device_id)

    said.append(open_sealed(read_sealed(body, "enrol"), lambda *_: None, Enrol))
    enrol = open_sealed(read_sealed(body, "enrol"), verify, Enrol)
    assert path == "/v1/enrol"
    assert hmac.compare_digest(enrol.join_proof, join_proof("open sesame", "dev-1", enrol.public_key))
    assert b"sesame" not in body
    assert (enrol.site, enrol.agent_version, enrol.hardware) == ("north", "0.1.0", "x" * 500)


@pytest.mark.parametrize(
    "reply",
    [b"", b"<html>", b"\x80", b"\x81\xa6hub_id\xa2\xff\xfe", b"\x81\xa1x" + b"\x91" * 100_000 + b"\xc0",
     msgspec.msgpack.encode({"hub_id": "hub-1", "hub_public_key": b"short"}),
     msgspec.msgpack.encode({"hub_id": "../hub", "hub_public_key": HUB_KEY})],
    ids=["empty", "html", "fields missing", "not utf-8", "nested", "short key", "no name"],
)  # fmt: skip
def test_a_reply_that_is_no_enrolment_pins_nothing(reply: bytes, tmp_path: Path, token_file: Path) -> None:
    identity = Identity(tmp_path, "dev-1")
    with pytest.raises(LinkError, match="the hub's answer is no enrolment"):
        enrolled(identity, MemoryHub(replies={"/v1/enrol": reply}), token_file)
    assert identity.enrolment is None
    assert not (tmp_path / "enrolment.json").exists()


def test_a_hub_that_refuses_pins_nothing_and_the_next_try_may_succeed(tmp_path: Path, token_file: Path) -> None:
    identity, hub = Identity(tmp_path, "dev-1"), MemoryHub(replies={"/v1/enrol": LinkError("POST /v1/enrol: 403 wrong token")})
    with pytest.raises(LinkError, match="403"):
        enrolled(identity, hub, token_file)
    hub.replies["/v1/enrol"] = REPLY
    assert enrolled(identity, hub, token_file).hub_id == "hub-1"


def test_without_a_token_nothing_is_sent(tmp_path: Path) -> None:
    identity, hub = Identity(tmp_path, "dev-1"), MemoryHub()
    with pytest.raises(ConfigError, match="join token"):
        enrolled(identity, hub, None)
    with pytest.raises(LinkError, match=r"join token .*nowhere"):
        enrolled(identity, hub, tmp_path / "nowhere")
    assert hub.posts == []
