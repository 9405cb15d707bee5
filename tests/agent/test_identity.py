"""Identity: a key that is made once, a hub that is pinned once, and neither ever silently replaced."""

from __future__ import annotations

import hmac
import stat
from pathlib import Path

import msgspec
import pytest

from agent.uplink.enrol import Introduction, Said, check_no_downgrade
from agent.uplink.identity import Enrolment, Identity
from models.contract.checkin import Enrol, EnrolReply, Rotate, Rotated
from models.contract.claim import ClaimToken, claim_message, claim_text, new_claim, read_claim
from models.contract.envelope import open_sealed, read_sealed
from models.contract.signing import join_proof, rotation_message, verified
from models.errors import ConfigError, EnvelopeError, LinkError, StorageError
from tests.agent.hub_in_memory import MemoryHub
from tests.builders import signing_key

HUB_KEY = signing_key(8).public_bytes
REPLY = msgspec.msgpack.encode(EnrolReply(hub_id="hub-1", hub_public_key=HUB_KEY))
URL = "http://127.0.0.1:8700"


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "join-token"
    path.write_text("open sesame\n")
    return path


def introduction(identity: Identity, hub: MemoryHub, token_file: Path | None, url: str = URL) -> Introduction:
    return Introduction(identity, hub, url, 5.0, Said("0.1.0", "north", "x" * 900, ["pump", "fan", "pump"]), token_file)


def enrolled(identity: Identity, hub: MemoryHub, token_file: Path | None) -> Enrolment:
    return introduction(identity, hub, token_file).settle()


def said_by(body: bytes) -> Enrol:
    return open_sealed(read_sealed(body, "enrol"), lambda *_: None, Enrol)


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
    enrol = said_by(body)

    def verify(device_id: str, signature: bytes, message: bytes) -> None:
        if not verified(enrol.public_key, signature, message):
            raise EnvelopeError(device_id)

    assert open_sealed(read_sealed(body, "enrol"), verify, Enrol) == enrol
    assert path == "/v1/enrol"
    assert hmac.compare_digest(enrol.join_proof, join_proof("open sesame", "dev-1", enrol.public_key))
    assert b"sesame" not in body
    assert (enrol.site, enrol.agent_version, enrol.hardware) == ("north", "0.1.0", "x" * 500)
    assert (enrol.profiles, enrol.claim_id) == (["fan", "pump"], "")


def test_with_a_claim_token_it_signs_for_itself_alone_and_keeps_the_secret(tmp_path: Path, token_file: Path) -> None:
    token = new_claim(URL, None)
    token_file.write_text(claim_text(token))
    identity, hub = Identity(tmp_path, "dev-1"), MemoryHub(replies={"/v1/enrol": REPLY})
    enrolled(identity, hub, token_file)
    enrol = said_by(hub.posts[0][1])
    assert (enrol.claim_id, enrol.join_proof) == (token.token_id, b"")
    assert verified(token.key.public_bytes, enrol.claim_proof, claim_message(token.token_id, "dev-1", identity.public_key))
    assert not verified(token.key.public_bytes, enrol.claim_proof, claim_message(token.token_id, "dev-2", identity.public_key))
    assert token.seed not in msgspec.msgpack.encode(enrol)


def test_a_claim_token_reads_back_and_a_torn_one_is_told_without_being_repeated() -> None:
    token = ClaimToken("c1", bytes(range(32)), "https://hub.example:8700", bytes(32))
    text = claim_text(token)
    assert read_claim(f" {text}\n") == token
    for torn in (text[:-1], text[:40], text.replace("A", "B", 1), "tocsin1.", "tocsin1.\xff", "xyz"):
        with pytest.raises(ConfigError) as refused:
            read_claim(torn)
        assert torn[8:] not in str(refused.value) or len(torn) <= 9


@pytest.mark.parametrize("url", ["http://hub.plant:8700", "http://10.0.0.1", "http://127.0.0.1.evil.example"])
def test_a_token_that_pins_its_hub_is_never_used_in_clear(url: str, tmp_path: Path, token_file: Path) -> None:
    token_file.write_text(claim_text(new_claim("https://hub.plant:8700", bytes(32))))
    identity, hub = Identity(tmp_path, "dev-1"), MemoryHub(replies={"/v1/enrol": REPLY})
    with pytest.raises(ConfigError, match=r"https://…, for the token pins the hub's certificate"):
        introduction(identity, hub, token_file, url).settle()
    assert hub.posts == []
    assert identity.enrolment is None


def test_a_device_that_has_pinned_a_ca_speaks_to_its_hub_by_tls_or_on_its_own_machine_only(tmp_path: Path) -> None:
    identity = Identity(tmp_path, "dev-1")
    check_no_downgrade(identity, "http://hub.plant:8700")
    identity.pin_ca(b"pem")
    for url in ("https://hub.plant:8700", "http://127.0.0.1:8700"):
        check_no_downgrade(identity, url)
    with pytest.raises(ConfigError, match=r"hub\.url: https://…, not http://hub\.plant:8700: this device has pinned"):
        check_no_downgrade(identity, "http://hub.plant:8700")


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
    with pytest.raises(ConfigError, match="tocsin agent enrol URL TOKEN"):
        enrolled(identity, hub, None)
    with pytest.raises(LinkError, match=r"token .*nowhere"):
        enrolled(identity, hub, tmp_path / "nowhere")
    assert hub.posts == []


# --- a change of keys -----------------------------------------------------------------------------------------------


class RotatingHub(MemoryHub):
    """Pins what it is told, by the rules of the real one."""

    def __init__(self, identity: Identity) -> None:
        super().__init__()
        self.pinned, self.previous = identity.public_key, b""

    def post(self, path: str, body: bytes) -> bytes:
        if path != "/v1/rotate":
            return super().post(path, body)
        self.posts.append((path, body))
        by = [key for key in (self.pinned, self.previous) if key]
        sealed = read_sealed(body, "rotate")

        def verify(_device_id: str, signature: bytes, message: bytes) -> None:
            by[:] = [key for key in by if verified(key, signature, message)]
            if not by:
                raise LinkError("401", status=401)

        asked = open_sealed(sealed, verify, Rotate)
        assert verified(asked.new_key, asked.proof, rotation_message("dev-1", by[0], asked.new_key))
        if by[0] == self.pinned:
            self.pinned, self.previous = asked.new_key, by[0]
        assert self.pinned == asked.new_key
        return msgspec.msgpack.encode(Rotated(public_key=self.pinned))


class PowerCut(BaseException):
    """The process ends here, whatever it was about to do."""


@pytest.mark.parametrize("cut_at", ["before the hub hears", "before its answer comes", "before the key is taken", "after"])
def test_a_change_of_keys_that_breaks_off_anywhere_is_gone_on_with(
    cut_at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = Identity(tmp_path, "dev-1")
    identity.remember(Enrolment(hub_id="hub-1", hub_public_key=HUB_KEY))
    old, hub = identity.public_key, RotatingHub(identity)
    identity.next_key()

    def cut(*_: object) -> None:
        raise PowerCut

    with monkeypatch.context() as patched:
        if cut_at == "before the hub hears":
            patched.setattr(hub, "post", cut)
        elif cut_at == "before its answer comes":
            real = hub.post
            patched.setattr(hub, "post", lambda path, body: (real(path, body), cut()))
        elif cut_at == "before the key is taken":
            patched.setattr(Identity, "take_next", cut)
        try:
            introduction(identity, hub, None).settle()
        except PowerCut:
            assert cut_at != "after"

    after = Identity(tmp_path, "dev-1")
    assert after.enrolment == identity.enrolment
    introduction(after, hub, None).settle()
    assert after.public_key == hub.pinned != old
    assert not after.rotating
    assert Identity(tmp_path, "dev-1").public_key == hub.pinned
    assert stat.S_IMODE((tmp_path / "device.key").stat().st_mode) == 0o600


def test_a_hub_that_is_away_leaves_the_old_key_signing_until_it_is_back(tmp_path: Path) -> None:
    identity = Identity(tmp_path, "dev-1")
    identity.remember(Enrolment(hub_id="hub-1", hub_public_key=HUB_KEY))
    hub, old = MemoryHub(replies={"/v1/rotate": LinkError("connection refused")}), identity.public_key
    identity.next_key()
    with pytest.raises(LinkError, match="refused"):
        introduction(identity, hub, None).settle()
    assert (identity.public_key, identity.rotating) == (old, True)


def test_a_hub_that_is_too_busy_for_a_new_key_does_not_hold_up_the_rest(tmp_path: Path) -> None:
    identity = Identity(tmp_path, "dev-1")
    identity.remember(Enrolment(hub_id="hub-1", hub_public_key=HUB_KEY))
    hub, old = MemoryHub(replies={"/v1/rotate": LinkError("too many failures", 6.0, 429)}), identity.public_key
    identity.next_key()
    assert introduction(identity, hub, None).settle() == identity.enrolment
    assert (identity.public_key, identity.rotating) == (old, True)


def test_an_answer_that_names_another_key_changes_nothing(tmp_path: Path) -> None:
    identity = Identity(tmp_path, "dev-1")
    identity.remember(Enrolment(hub_id="hub-1", hub_public_key=HUB_KEY))
    hub, old = MemoryHub(replies={"/v1/rotate": msgspec.msgpack.encode(Rotated(public_key=bytes(32)))}), identity.public_key
    identity.next_key()
    with pytest.raises(LinkError, match="another key"):
        introduction(identity, hub, None).settle()
    assert Identity(tmp_path, "dev-1").public_key == old
