"""Claim tokens: who gets in with one, how often, for how long, and as what."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import Engine, select

from hub.audit.log import read_entries, verify
from hub.devices.claims import ClaimRefused, create_token, list_tokens, revoke_token
from hub.devices.enrol import KeyConflict, read_enrol, store_enrol
from hub.devices.flood import BURST, EVERY_S, EnrolFailures, TooManyFailures
from hub.devices.keys import DeviceRevoked, DeviceSuspended
from hub.devices.standing import take_step
from hub.state.database import open_state
from hub.state.schema import claim_tokens, devices
from models.contract.claim import ClaimToken, new_claim
from models.errors import ConfigError, EnvelopeError
from tests.hub.simulated_device import NOW_NS, SimulatedDevice

HOUR_NS = 3_600_000_000_000


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_state(f"sqlite:///{tmp_path}/hub.db")
    yield engine
    engine.dispose()


def made(engine: Engine, *, uses: int = 1, profiles: tuple[str, ...] = ("pump",), at_ns: int = NOW_NS) -> ClaimToken:
    token = new_claim("https://hub:8700", bytes(32))
    with engine.begin() as connection:
        create_token(
            connection, token, site="lyon", profiles=profiles, max_uses=uses, ttl_h=1.0, actor="cli:root", now_ns=at_ns
        )
    return token


def enrol(engine: Engine, sealed: bytes, at_ns: int = NOW_NS) -> str:
    device_id, said = read_enrol(sealed, "")
    with engine.begin() as connection:
        return store_enrol(connection, device_id, said, at_ns)


def step(engine: Engine, device_id: str, what: str, at_ns: int = NOW_NS) -> None:
    with engine.begin() as connection:
        assert take_step(connection, device_id, what, reason="found in a pub", actor="cli:root", now_ns=at_ns)  # type: ignore[arg-type]


def state_of(engine: Engine, token: ClaimToken, at_ns: int = NOW_NS) -> tuple[str, int]:
    with engine.connect() as connection:
        row = next(row for row in list_tokens(connection, at_ns) if row["token_id"] == token.token_id)
    return row["state"], row["n_used"]


def enrolled(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return sorted(connection.execute(select(devices.c.device_id)).scalars())


def test_a_token_decides_where_a_device_stands_and_what_it_may_watch(engine: Engine) -> None:
    token = made(engine)
    assert enrol(engine, SimulatedDevice("gw-1").claim(token, site="paris")) == "lyon"
    with engine.connect() as connection:
        row = connection.execute(select(devices)).one()
        [entry, _] = read_entries(connection)
        verify(connection)
    assert (row.site, row.profiles, row.claim_id) == ("lyon", ["pump"], token.token_id)
    assert (entry.actor, entry.action) == ("device:gw-1", "device.enrol")


def test_the_hub_keeps_nothing_that_would_let_anybody_in(engine: Engine, tmp_path: Path) -> None:
    token = made(engine)
    with engine.connect() as connection:
        row = connection.execute(select(claim_tokens)).mappings().one()
    assert row["public_key"] == token.key.public_bytes
    assert all(token.seed not in path.read_bytes() for path in tmp_path.glob("hub.db*"))


def test_a_used_token_lets_nobody_else_in_and_its_device_again(engine: Engine) -> None:
    token, first = made(engine), SimulatedDevice("gw-1")
    enrol(engine, first.claim(token))
    enrol(engine, first.claim(token))
    with pytest.raises(ClaimRefused, match=f"claim token {token.token_id} is used up; `tocsin hub token` makes another"):
        enrol(engine, SimulatedDevice("gw-2").claim(token))
    assert (enrolled(engine), state_of(engine, token)) == (["gw-1"], ("used up", 1))


def test_a_token_for_three_lets_three_in_though_ten_come_at_once(engine: Engine) -> None:
    token, outcomes = made(engine, uses=3), list[str]()

    def come(n: int) -> None:
        try:
            enrol(engine, SimulatedDevice(f"gw-{n}").claim(token))
            outcomes.append("in")
        except ClaimRefused:
            outcomes.append("out")

    threads = [threading.Thread(target=come, args=(n,)) for n in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (outcomes.count("in"), outcomes.count("out"), len(enrolled(engine))) == (3, 7, 3)


def test_an_expired_or_revoked_token_lets_nobody_in(engine: Engine) -> None:
    token = made(engine, uses=5)
    with pytest.raises(ClaimRefused, match="is expired"):
        enrol(engine, SimulatedDevice().claim(token), NOW_NS + HOUR_NS)
    with engine.begin() as connection:
        assert revoke_token(connection, token.token_id, actor="cli:root", now_ns=NOW_NS)
        assert not revoke_token(connection, token.token_id, actor="cli:root", now_ns=NOW_NS)
        assert not revoke_token(connection, "nope", actor="cli:root", now_ns=NOW_NS)
    with pytest.raises(ClaimRefused, match="is revoked"):
        enrol(engine, SimulatedDevice().claim(token))
    assert (enrolled(engine), state_of(engine, token)) == ([], ("revoked", 0))


def test_a_stranger_is_not_told_whether_there_is_such_a_token(engine: Engine) -> None:
    token = made(engine)
    guessed = msgspec.structs.replace(new_claim("", None), token_id=token.token_id)
    says = "its claim token is not of this hub"
    for forged in (guessed, new_claim("", None)):
        with pytest.raises(ClaimRefused, match=says):
            enrol(engine, SimulatedDevice().claim(forged))
    assert enrolled(engine) == []


def test_a_proof_that_was_overheard_serves_neither_another_device_nor_another_key(engine: Engine) -> None:
    token, device, thief = made(engine, uses=2), SimulatedDevice("gw-1"), SimulatedDevice("gw-2")
    _, said = read_enrol(device.claim(token), "")
    from models.contract.envelope import seal

    for stolen in (said, msgspec.structs.replace(said, public_key=thief.key.public_bytes)):
        with pytest.raises(EnvelopeError):
            enrol(engine, seal(stolen, "enrol", "gw-2", thief.key.sign))
    assert enrolled(engine) == []


@pytest.mark.parametrize("profiles", [["fan"], ["pump", "fan"]])
def test_a_device_that_watches_what_its_token_is_not_for_stays_out(profiles: list[str], engine: Engine) -> None:
    token = made(engine)
    with pytest.raises(ClaimRefused, match=r"watches fan; claim token c\w+ is for pump"):
        enrol(engine, SimulatedDevice().claim(token, profiles=profiles))
    assert (enrolled(engine), state_of(engine, token)) == ([], ("usable", 0))
    enrol(engine, SimulatedDevice().claim(made(engine, profiles=()), profiles=profiles))


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "a'; DROP TABLE devices; --", "a\nb", "a" * 65, "", "-rf", "a/b", "%2e%2e", "a\x00b", "ä"]
)
def test_names_that_are_none_get_nowhere(name: str, engine: Engine) -> None:
    token = made(engine, uses=9)
    with pytest.raises(EnvelopeError):
        enrol(engine, SimulatedDevice(name).claim(token))
    with pytest.raises(EnvelopeError):
        enrol(engine, SimulatedDevice().claim(token, site=name))
    with pytest.raises(EnvelopeError):
        enrol(engine, SimulatedDevice().claim(token, profiles=[name]))
    odd = msgspec.structs.replace(token, token_id="' OR 1=1 --")
    with pytest.raises(ClaimRefused):
        enrol(engine, SimulatedDevice().claim(odd))
    assert (enrolled(engine), state_of(engine, token)) == ([], ("usable", 0))


@pytest.mark.parametrize(("uses", "ttl_h"), [(0, 1.0), (10_001, 1.0), (1, 0.0), (1, -1.0), (1, 1e6), (1, float("nan"))])
def test_a_token_that_would_let_in_nobody_or_everybody_is_not_made(uses: int, ttl_h: float, engine: Engine) -> None:
    with engine.begin() as connection, pytest.raises(ConfigError, match="claim token"):
        create_token(
            connection, new_claim("", None), site="x", profiles=(), max_uses=uses, ttl_h=ttl_h, actor="hub", now_ns=NOW_NS
        )


# --- devices that are kept out --------------------------------------------------------------------------------------


def test_a_suspended_device_cannot_enrol_its_way_back(engine: Engine) -> None:
    device = SimulatedDevice("gw-1")
    enrol(engine, device.claim(made(engine)))
    step(engine, "gw-1", "suspend")
    for comer, told in (
        (device, "device gw-1 is suspended: found in a pub"),
        (SimulatedDevice("gw-1"), "device gw-1 is suspended"),
    ):
        with pytest.raises(DeviceSuspended) as refused:
            enrol(engine, comer.claim(made(engine)))
        assert str(refused.value) == told


def test_a_revoked_name_is_free_for_a_new_key_by_a_token_made_since_then_only(engine: Engine) -> None:
    old, new, before = SimulatedDevice("gw-1"), SimulatedDevice("gw-1"), made(engine, uses=9)
    enrol(engine, old.claim(before))
    step(engine, "gw-1", "revoke", NOW_NS + 1)
    for comer in (old, new):
        with pytest.raises(DeviceRevoked):
            enrol(engine, comer.claim(before))
    since = made(engine, uses=9, at_ns=NOW_NS + 2)
    with pytest.raises(DeviceRevoked):
        enrol(engine, old.claim(since))
    enrol(engine, new.claim(since))
    with pytest.raises(KeyConflict):
        enrol(engine, old.claim(since))
    with engine.connect() as connection:
        assert connection.execute(select(devices.c.state, devices.c.public_key)).one() == ("active", new.key.public_bytes)


def test_a_revoked_device_is_not_resumed_and_each_step_is_in_the_audit_log(engine: Engine) -> None:
    enrol(engine, SimulatedDevice("gw-1").claim(made(engine)))
    for what in ("suspend", "resume", "revoke"):
        step(engine, "gw-1", what)
    with engine.begin() as connection:
        with pytest.raises(ConfigError, match="its key is out of use for good"):
            take_step(connection, "gw-1", "resume", reason="", actor="cli:root", now_ns=NOW_NS)
        assert not take_step(connection, "gw-2", "suspend", reason="", actor="cli:root", now_ns=NOW_NS)
    step(engine, "gw-1", "forget")
    with engine.connect() as connection:
        told = [entry.action for entry in read_entries(connection)]
        verify(connection)
    assert told[:4] == ["device.forget", "device.revoke", "device.resume", "device.suspend"]


# --- floods ---------------------------------------------------------------------------------------------------------


def test_an_address_that_fails_too_often_waits_and_others_do_not() -> None:
    failures = EnrolFailures()
    for _ in range(int(BURST)):
        failures.check("10.0.0.1", 0.0)
        failures.failed("10.0.0.1", 0.0)
    with pytest.raises(TooManyFailures) as refused:
        failures.check("10.0.0.1", 0.0)
    assert refused.value.retry_after_s == EVERY_S
    failures.check("10.0.0.2", 0.0)
    failures.check("10.0.0.1", EVERY_S)
    failures.failed("10.0.0.1", EVERY_S)
    with pytest.raises(TooManyFailures):
        failures.check("10.0.0.1", EVERY_S)
    failures.check("10.0.0.1", EVERY_S * (BURST + 2))


def test_a_host_s_whole_ipv6_network_counts_as_one_and_memory_is_bounded() -> None:
    failures = EnrolFailures()
    for n in range(int(BURST)):
        failures.failed(f"2001:db8::{n:x}", 0.0)
    with pytest.raises(TooManyFailures):
        failures.check("2001:db8::ffff:1%eth0", 0.0)
    for n in range(10_000):
        failures.failed(f"10.{n // 65536}.{n // 256 % 256}.{n % 256}", 0.0)
    assert len(failures._spent) == 4096
