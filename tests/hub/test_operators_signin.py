"""Accounts, sessions, tokens and signing in, over a real database in virtual time."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, event, select
from sqlalchemy.exc import OperationalError

from hub.audit.log import read_entries, verify
from hub.operators import accounts, tokens
from hub.operators.accounts import AccountError, UnknownAccount
from hub.operators.passwords import MAX_WAITING, BadPassword, Passwords, SignInBusy
from hub.operators.sessions import Lifetime, Sessions
from hub.operators.signin import FAILURES, Outcome, SignIn
from hub.operators.tokens import principal_of_token
from hub.state.database import connect_state, open_state
from hub.state.schema import api_tokens, sessions, users
from tests.hub.operating import NOW_NS, PASSWORD, QUICK, add_token, add_user
from tests.waiting import PATIENCE_S

S = 1_000_000_000
HOME = "192.0.2.7"
ADMIN = "an-admin-token-that-is-long-enough"


class Desk:
    """Sign-in at a time of one's choosing."""

    def __init__(self, engine: Engine, admin_token: str = ADMIN) -> None:
        self.engine = engine
        self.now_ns = NOW_NS
        self.sessions = Sessions(engine, admin_token, Lifetime(idle_s=3600, max_s=86400))
        self.signin = SignIn(engine, self.sessions, QUICK, admin_token, lambda: self.now_ns, lambda: self.now_ns)

    def enter(self, name: str, password: str = PASSWORD, address: str = HOME, old: str = "") -> Outcome:
        return asyncio.run(self.signin.by_password(name, password, address, old))

    def enter_by_token(self, token: str, old: str = "") -> Outcome:
        return asyncio.run(self.signin.by_token(token, HOME, old))

    def who(self, outcome: Outcome) -> str | None:
        found = self.sessions.find(outcome.secret or "", self.now_ns)
        return found and f"{found.actor} {found.role}"

    def log(self) -> list[tuple[str, str, str]]:
        """Newest first: who, what, of."""
        with self.engine.begin() as connection:
            verify(connection)
            return [(entry.actor, entry.action, entry.subject) for entry in read_entries(connection)]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_state(f"sqlite:///{tmp_path}/hub.db")
    yield engine
    engine.dispose()


@pytest.fixture
def desk(engine: Engine) -> Desk:
    add_user(engine, "ann", "operator")
    return Desk(engine)


def test_the_right_password_begins_a_session_and_the_log_says_so(desk: Desk) -> None:
    assert desk.who(desk.enter("ann")) == "user:ann operator"
    assert desk.log()[0] == ("user:ann", "user.sign-in", "user:ann")
    with desk.engine.begin() as connection:
        assert connection.execute(select(users.c.last_sign_in_ns)).scalar_one() == NOW_NS


@pytest.mark.parametrize(
    ("name", "password"), [("ann", "wrong"), ("bob", PASSWORD), ("", ""), ("ann", ""), ("ann", "x" * 5000)]
)
def test_a_wrong_name_or_password_begins_none(desk: Desk, name: str, password: str) -> None:
    assert desk.enter(name, password) == Outcome()
    with desk.engine.begin() as connection:
        assert connection.execute(select(sessions)).all() == []


def test_a_name_that_is_none_is_not_written_down_it_may_be_a_password(desk: Desk) -> None:
    desk.enter("hunter2-hunter2", "x")
    assert desk.log()[0] == ("hub", "user.sign-in-failed", "an unknown name")
    desk.enter("ann", "x")
    assert desk.log()[0] == ("hub", "user.sign-in-failed", "user:ann")


def test_beyond_the_pace_even_the_right_password_waits(desk: Desk) -> None:
    for _ in range(5):
        desk.enter("ann", "wrong")
    assert desk.enter("ann").wait_s == 30.0
    assert desk.enter("ann", address="198.51.100.9").secret
    desk.now_ns += 30 * S
    assert desk.enter("ann").secret


def test_a_flood_of_failures_does_not_fill_the_audit_log(desk: Desk) -> None:
    for n in range(200):
        desk.enter(f"user-{n}", "x", address=f"10.0.{n}.1")
    failed = [entry for entry in desk.log() if entry[1] == "user.sign-in-failed"]
    assert len(failed) == FAILURES.burst
    desk.now_ns += int(FAILURES.refill_s * S)
    desk.enter("ann", "x")
    with desk.engine.begin() as connection:
        newest = read_entries(connection, limit=1)[0]
    assert f'"not_written":{200 - FAILURES.burst}' in newest.details


def test_each_sign_in_has_an_id_of_its_own_and_ends_the_one_before(desk: Desk) -> None:
    first = desk.enter("ann")
    second = desk.enter("ann", old=first.secret or "")
    assert first.secret != second.secret
    assert (desk.who(first), desk.who(second)) == (None, "user:ann operator")


def test_an_id_that_somebody_else_chose_is_never_taken_over(desk: Desk) -> None:
    chosen = "chosen-by-an-attacker"
    outcome = desk.enter("ann", old=chosen)
    assert outcome.secret != chosen
    assert desk.sessions.find(chosen, desk.now_ns) is None


def test_a_session_ends_when_it_is_idle_and_at_the_latest_when_its_time_is_over(desk: Desk) -> None:
    idle, used = desk.enter("ann"), desk.enter("ann")
    for _ in range(47):
        desk.now_ns += 1800 * S
        assert desk.who(used)
    assert desk.who(idle) is None
    desk.now_ns += 1800 * S
    assert desk.who(used) is None


def test_sessions_that_are_over_leave_the_database(desk: Desk) -> None:
    desk.enter("ann")
    desk.now_ns += 86400 * S
    desk.enter("ann")
    with desk.engine.begin() as connection:
        assert len(connection.execute(select(sessions)).all()) == 1


@pytest.mark.parametrize("change", ["disable", "password", "remove", "sign-out"])
def test_what_is_taken_away_is_gone_at_once(desk: Desk, change: str) -> None:
    outcome = desk.enter("ann")
    how = {"actor": "user:root", "now_ns": NOW_NS}
    with desk.engine.begin() as connection:
        if change == "disable":
            accounts.set_enabled(connection, "ann", False, **how)  # type: ignore[arg-type]
        elif change == "password":
            accounts.set_password(connection, "ann", QUICK.hash("ann", "another password"), **how)  # type: ignore[arg-type]
        elif change == "remove":
            accounts.remove_user(connection, "ann", **how)  # type: ignore[arg-type]
        else:
            assert accounts.sign_out_everywhere(connection, "ann", **how) == 1  # type: ignore[arg-type]
    assert desk.who(outcome) is None
    assert bool(desk.enter("ann").secret) == (change == "sign-out")
    assert ("user:root", "user.end-sessions" if change == "sign-out" else f"user.{change}", "user:ann") in desk.log()


def test_another_role_counts_from_the_next_request_on(desk: Desk) -> None:
    outcome = desk.enter("ann")
    with desk.engine.begin() as connection:
        accounts.set_role(connection, "ann", "viewer", actor="user:root", now_ns=NOW_NS)
    assert desk.who(outcome) == "user:ann viewer"


def test_signing_out_ends_the_session_for_whoever_has_its_id(desk: Desk) -> None:
    outcome = desk.enter("ann")
    principal = desk.sessions.find(outcome.secret or "", NOW_NS)
    assert principal is not None
    desk.signin.end(principal, outcome.secret or "")
    assert desk.who(outcome) is None
    assert desk.log()[0] == ("user:ann", "user.sign-out", "user:ann")


def test_sessions_of_the_admin_token_end_when_it_is_replaced(desk: Desk) -> None:
    outcome = desk.enter_by_token(ADMIN)
    assert desk.who(outcome) == "token:admin admin"
    assert desk.enter_by_token("another token") == Outcome()
    assert Desk(desk.engine, "a-new-admin-token-of-some-length").who(outcome) is None


def test_the_database_holds_no_secret_that_opens_anything(desk: Desk, tmp_path: Path) -> None:
    secret = desk.enter("ann").secret
    token = add_token(desk.engine, "ci", "read", now_ns=NOW_NS)
    with sqlite3.connect(tmp_path / "hub.db") as raw:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    raw.close()
    stored = (tmp_path / "hub.db").read_bytes()
    assert secret
    assert secret.encode() not in stored
    assert token.encode() not in stored
    assert PASSWORD.encode() not in stored
    assert hashlib.sha256(token.encode()).hexdigest().encode() in stored


def test_a_token_opens_what_its_scopes_say_until_it_expires_or_is_revoked(engine: Engine) -> None:
    token = add_token(engine, "ci", "rollout", "read", ttl_s=100, now_ns=NOW_NS)
    found = principal_of_token(engine, token, NOW_NS)
    assert found is not None
    assert (found.actor, found.role, found.scopes) == ("token:ci", None, {"read", "rollout"})
    assert principal_of_token(engine, token, NOW_NS + 100 * S) is None
    assert principal_of_token(engine, token + "x", NOW_NS) is None
    with engine.begin() as connection:
        tokens.revoke_token(connection, "ci", actor="cli:x", now_ns=NOW_NS)
    assert principal_of_token(engine, token, NOW_NS) is None


def test_a_tokens_last_use_is_noted_to_the_minute(engine: Engine) -> None:
    token = add_token(engine, "ci", "read", now_ns=NOW_NS)
    noted = []
    for at_s in (1, 30, 61):
        principal_of_token(engine, token, NOW_NS + at_s * S)
        with engine.begin() as connection:
            noted.append(connection.execute(select(api_tokens.c.last_used_ns)).scalar_one() - NOW_NS)
    assert noted == [S, S, 61 * S]


def test_where_nothing_can_be_written_tokens_and_sessions_still_open_what_they_do(desk: Desk) -> None:
    token, outcome = add_token(desk.engine, "ci", "read", now_ns=NOW_NS), desk.enter("ann")
    stuck = connect_state(str(desk.engine.url))
    event.listen(stuck, "connect", lambda raw, _record: raw.execute("PRAGMA query_only = ON"))
    later = Desk(stuck)
    later.now_ns += 600 * S  # long enough for a use to be noted
    assert principal_of_token(stuck, token, later.now_ns) is not None
    assert later.who(outcome) == "user:ann operator"
    with pytest.raises(OperationalError):
        later.enter("ann")
    stuck.dispose()


@pytest.mark.parametrize(
    ("name", "scopes", "ttl_s", "why"),
    [
        ("admin", ["read"], 3600, "admin token"),
        ("../ci", ["read"], 3600, "a name has"),
        ("ci", [], 3600, "needs a scope"),
        ("ci", ["nothing"], 3600, "needs a scope"),
        ("ci", ["read"], 1, "ten years"),
        ("there", ["read"], 3600, "already"),
    ],
)
def test_a_token_that_cannot_be_is_refused(engine: Engine, name: str, scopes: list[str], ttl_s: float, why: str) -> None:
    add_token(engine, "there", "read", now_ns=NOW_NS)
    with pytest.raises(AccountError, match=why), engine.begin() as connection:
        tokens.create_token(connection, name, scopes, ttl_s, actor="x", now_ns=NOW_NS)  # type: ignore[arg-type]


def test_accounts_that_cannot_be_are_refused(engine: Engine) -> None:
    add_user(engine, "ann")
    with pytest.raises(AccountError, match="already"):
        add_user(engine, "ann")
    for name in ("", "a b", "<b>", "x" * 65, "'; DROP TABLE users; --"):
        with pytest.raises(AccountError, match="a name has"):
            add_user(engine, name)
    with pytest.raises(UnknownAccount), engine.begin() as connection:
        accounts.set_role(connection, "bob", "admin", actor="x", now_ns=1)


@pytest.mark.parametrize("password", ["", "short", "eleven char", "x" * 257, "AnnAnnAnnAnn"])
def test_a_poor_password_is_refused(password: str) -> None:
    with pytest.raises(BadPassword):
        QUICK.hash("annannannann", password)


def test_real_hashes_are_argon2id_with_the_parameters_that_are_stated_and_old_ones_are_renewed(engine: Engine) -> None:
    real = Passwords()
    assert real.hash("ann", PASSWORD).startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    add_user(engine, "ann")
    signin = SignIn(engine, Sessions(engine, ADMIN, Lifetime(60, 60)), real, ADMIN)
    assert asyncio.run(signin.by_password("ann", PASSWORD, HOME, "")).secret
    with engine.begin() as connection:
        assert connection.execute(select(users.c.password_hash)).scalar_one().startswith("$argon2id$v=19$m=65536")


def test_a_password_matches_however_it_was_composed() -> None:
    assert QUICK.matches(
        QUICK.hash("ann", "cafe\N{COMBINING ACUTE ACCENT} au lait !"), "caf\N{LATIN SMALL LETTER E WITH ACUTE} au lait !"
    )


def test_a_flood_of_sign_ins_is_refused_beyond_what_may_wait() -> None:
    gate, busy = threading.Event(), Passwords(QUICK._hasher)

    async def flood() -> list[object]:
        waiting = [asyncio.create_task(busy.apart(gate.wait, PATIENCE_S)) for _ in range(MAX_WAITING + 10)]
        while sum(task.done() for task in waiting) < 8:  # two run, sixteen wait
            await asyncio.sleep(0)
        gate.set()
        return await asyncio.gather(*waiting, return_exceptions=True)

    outcomes = asyncio.run(flood())
    assert sum(isinstance(outcome, SignInBusy) for outcome in outcomes) == 8
    assert outcomes.count(True) == MAX_WAITING + 2
