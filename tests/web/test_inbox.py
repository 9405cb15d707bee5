"""The alert inbox: what is in it, what is done there, and who may."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import msgspec
import pytest
from sqlalchemy import Connection, Engine, event, select, update

from hub.alerts.handling import acknowledge, add_note
from hub.lake.lake import DeltaLake
from hub.notify.config import Notify
from hub.operators.rights import ROLES
from hub.settings import HubConfig
from hub.state.schema import alert_acknowledgements, alert_feedback, alert_notes, alerts, notifications
from hub.training.feedback import give_feedback, labelled_spans
from hub.web.inbox.filter import InboxFilter, inbox_filter
from hub.web.inbox.told import read_told
from hub.web.inbox.view import Inbox, inbox_digest, read_inbox
from tests.hub.operating import add_user, sign_in
from tests.waiting import PATIENCE_S
from tests.web.seeding import S, add_alert, add_device
from tests.web.serving import TOKEN, served

NOW = 1_800_000_000 * S
HOSTILE = "\"><script>alert('1')<b>&"


def seed(connection: Connection, now_ns: int) -> None:
    """Three of one site within a minute, one elsewhere, one that has closed."""
    for device, site in (("gw-1", "lyon"), ("gw-2", "lyon"), ("gw-3", "brest")):
        add_device(connection, device, site, now_ns)
    add_alert(connection, "gw-1", "pump-1", "pump", now_ns - 100 * S, alert_id="a1")
    add_alert(connection, "gw-2", "pump-2", "pump", now_ns - 90 * S, alert_id="a2", severity="critical", p_value=1e-9)
    add_alert(connection, "gw-2", "fan-2", "fan", now_ns - 80 * S, alert_id="a3")
    add_alert(connection, "gw-3", "pump-3", "pump", now_ns - 70 * S, alert_id="a4")
    add_alert(connection, "gw-3", "pump-3", "pump", now_ns - 7000 * S, alert_id="a0", closed_ns=now_ns - 6000 * S)


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    with engine.begin() as connection:
        seed(connection, NOW)
        yield connection


def ids(inbox: Inbox) -> list[list[str]]:
    return [[alert.alert_id for alert in incident.alerts] for incident in inbox.incidents]


def test_alerts_are_by_incident_those_with_a_critical_one_first(connection: Connection) -> None:
    inbox = read_inbox(connection, InboxFilter())
    assert ids(inbox) == [["a1", "a2", "a3"], ["a4"]]
    assert inbox.counts == {"open": 4, "acknowledged": 0, "closed": 1}
    assert ids(read_inbox(connection, InboxFilter(tab="closed"))) == [["a0"]]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("severity=critical", [["a2"]]),
        ("site=brest", [["a4"]]),
        ("profile=fan", [["a3"]]),
        ("q=GW-3", [["a4"]]),
        ("q=lyon&profile=pump", [["a1", "a2"]]),
        ("tab=no&severity=no&before=no", [["a1", "a2", "a3"], ["a4"]]),
    ],
)
def test_filters_narrow_what_is_shown_and_counted(connection: Connection, query: str, expected: list[list[str]]) -> None:
    inbox = read_inbox(connection, inbox_filter(dict(httpx.QueryParams(query))))
    assert ids(inbox) == expected
    assert inbox.counts["open"] == sum(map(len, expected))


def test_what_was_done_is_shown_and_moves_the_alert(connection: Connection) -> None:
    acknowledge(connection, [("gw-1", "a1")], actor="user:ann", now_ns=NOW)
    add_note(connection, "gw-1", "a1", "on my way", actor="user:ann", now_ns=NOW + 1)
    give_feedback(connection, "gw-1", "a1", "false-alarm", actor="user:bob", note="a door", now_ns=NOW + 2)
    give_feedback(connection, "gw-1", "a1", "confirm", actor="user:ann", now_ns=NOW + 3)
    inbox = read_inbox(connection, InboxFilter(tab="acknowledged"))
    [alert] = inbox.incidents[0].alerts
    assert (alert.acknowledged_by, alert.label) == ("user:ann", "confirm")
    assert [(word.label, word.note) for word in alert.words] == [("", "on my way"), ("false-alarm", "a door"), ("confirm", "")]
    assert inbox.counts == {"open": 3, "acknowledged": 1, "closed": 1}
    connection.execute(update(alerts).where(alerts.c.alert_id == "a1").values(closed_ns=NOW + 9))
    assert read_inbox(connection, InboxFilter()).counts == {"open": 3, "acknowledged": 0, "closed": 2}


def test_pages_hold_every_alert_once(connection: Connection) -> None:
    found, before = list[str](), ""
    for _ in range(9):
        inbox = read_inbox(connection, InboxFilter(before=before), n_rows=3)
        found += [name for incident in ids(inbox) for name in incident]
        before = inbox.before
        if not before:
            break
    assert sorted(found) == ["a1", "a2", "a3", "a4"]


def test_the_digest_changes_with_everything_that_is_shown(connection: Connection) -> None:
    mine = alerts.c.alert_id == "a4"
    known = [inbox_digest(connection)]
    for change in (
        lambda: connection.execute(update(alerts).where(mine).values(p_value=1e-9)),
        lambda: acknowledge(connection, [("gw-3", "a4")], actor="user:ann", now_ns=NOW),
        lambda: add_note(connection, "gw-3", "a4", "x", actor="user:ann", now_ns=NOW),
        lambda: give_feedback(connection, "gw-3", "a4", "confirm", actor="user:ann", now_ns=NOW),
        lambda: connection.execute(update(alerts).where(mine).values(closed_ns=NOW)),
        lambda: add_alert(connection, "gw-3", "pump-9", "pump", NOW),
    ):
        change()
        known.append(inbox_digest(connection))
    assert len(set(known)) == len(known)


def test_a_page_takes_as_many_statements_for_many_alerts_as_for_few(connection: Connection) -> None:
    statements: list[str] = []
    event.listen(connection, "before_cursor_execute", lambda *args: statements.append(args[2]))
    read_inbox(connection, InboxFilter())
    few = len(statements)
    for n in range(400):
        add_alert(connection, "gw-3", f"pump-{n}", "pump", NOW - n * S, alert_id=f"b{n}")
    statements.clear()
    assert read_inbox(connection, InboxFilter()).n_shown == 300
    assert len(statements) == few <= 6


# --- over the socket ----------------------------------------------------------------------------------------------


@pytest.fixture
def rung(engine: Engine, now_ns: int) -> Engine:
    with engine.begin() as connection:
        seed(connection, now_ns)
    return engine


def act(client: httpx.Client, path: str, origin: str = "", **fields: str) -> httpx.Response:
    return client.post(path, data=fields, headers={"Origin": origin or str(client.base_url).rstrip("/")})


def test_each_button_does_what_it_says_and_leads_back(rung: Engine, operator: httpx.Client) -> None:
    for step, note in (("acknowledge", ""), ("false-alarm", "a door"), ("confirm", "worn"), ("note", "new bearing")):
        response = act(operator, f"/alerts/gw-1/a1/{step}?tab=acknowledged&site=lyon&evil=//x", note=note)
        assert (response.status_code, response.headers["location"]) == (303, "/alerts?tab=acknowledged&site=lyon")
    text = operator.get("/alerts?tab=acknowledged").text
    for words in ("admin is on it", "It was a fault.", "a door", "worn", "new bearing"):
        assert words in text, words
    with rung.begin() as connection:
        assert [span.label for span in labelled_spans(connection, "pump", 2**62)] == ["confirm"]


def test_a_form_elsewhere_may_send_its_word_and_leads_to_the_asset(rung: Engine, operator: httpx.Client) -> None:
    response = act(operator, "/alerts/gw-1/a1/feedback", label="maintenance", note="oil")
    assert (response.status_code, response.headers["location"]) == (303, "/assets/gw-1/pump-1")
    assert act(operator, "/alerts/gw-1/a1/feedback", label="acknowledge").status_code == 404


def test_a_whole_incident_is_acknowledged_at_once(rung: Engine, operator: httpx.Client) -> None:
    assert act(operator, "/alerts/gw-2/a2/incident").status_code == 303
    with rung.begin() as connection:
        found = connection.execute(select(alert_acknowledgements.c.alert_id)).scalars().all()
    assert sorted(found) == ["a1", "a2", "a3"]


def test_what_cannot_be_done_changes_nothing(rung: Engine, operator: httpx.Client) -> None:
    assert act(operator, "/alerts/gw-1/no/acknowledge").status_code == 409
    assert act(operator, "/alerts/gw-1/a1/note").status_code == 409
    assert act(operator, "/alerts/gw-1/a1/nonsense").status_code == 404
    assert act(operator, "/alerts/gw-1/a1/confirm", note="x" * 20_000).status_code == 413
    assert act(operator, "/alerts/gw-1/a1/confirm", note="x" * 2001).status_code == 409
    assert act(operator, "/alerts/gw-1/a1/confirm", origin="http://evil.example").status_code == 401
    with rung.begin() as connection:
        for table in (alert_acknowledgements, alert_feedback, alert_notes):
            assert connection.execute(select(table)).all() == []


def test_a_viewer_sees_no_buttons_and_is_refused(rung: Engine, stranger: httpx.Client) -> None:
    for role in ROLES:
        add_user(rung, f"a-{role}", role)
        stranger.cookies.clear()
        assert sign_in(stranger, f"a-{role}").status_code == 303
        page = stranger.get("/alerts").text
        assert "pump-1" in page
        assert ('formaction="/alerts/gw-1/a1/confirm"' in page) == (role != "viewer")
        assert act(stranger, "/alerts/gw-1/a1/note", note="x").status_code == (403 if role == "viewer" else 303)


def test_an_empty_inbox_says_so(engine: Engine, operator: httpx.Client) -> None:
    assert "Nothing rings." in operator.get("/alerts").text
    assert "Nobody is at anything just now." in operator.get("/alerts?tab=acknowledged").text
    assert "No alert has closed yet." in operator.get("/alerts?tab=closed").text


def test_hostile_names_and_notes_are_text(engine: Engine, operator: httpx.Client, now_ns: int) -> None:
    with engine.begin() as connection:
        add_device(connection, HOSTILE, HOSTILE, now_ns)
        for n in range(5):
            names = {"alert_id": f"{HOSTILE}{n}", "top": [[HOSTILE, 0.5]], "severity": HOSTILE}
            add_alert(connection, HOSTILE, HOSTILE, HOSTILE, now_ns - n * S, **names)
        add_note(connection, HOSTILE, f"{HOSTILE}4", HOSTILE, actor=f"user:{HOSTILE}", now_ns=now_ns)
    for path in ("/alerts", f"/alerts?{httpx.QueryParams({'q': HOSTILE})}"):
        text = operator.get(path).text
        assert "<script>alert" not in text
        assert text.count("&lt;script&gt;alert") > 10


# --- who is told --------------------------------------------------------------------------------------------------

NOTIFY = msgspec.convert(
    {
        "webhook": [{"name": "ops", "url": "https://hooks.example/token-in-path"}],
        "email": [{"name": "shift", "host": "mail.example", "sender": "a@b.c", "to": ["d@e.f"]}],
    },
    Notify,
)


def tell(connection: Connection, incident: str, target: str, state: str, reason: str, at_ns: int = NOW) -> None:
    about = {"incident": incident, "rule": "all", "step": "opened", "target": target, "critical": False, "state": state}
    ended = None if state == "waiting" else at_ns
    figures = {"decided_ns": at_ns, "next_ns": at_ns, "n_attempts": 1, "ended_ns": ended, "reason": reason}
    connection.execute(notifications.insert().values({**about, **figures}))


def test_each_target_is_told_with_what_arrived_what_waits_and_why(connection: Connection) -> None:
    for n, (state, reason) in enumerate(
        [("sent", ""), ("sent", ""), ("failed", "answered 500"), ("waiting", ""), ("waiting", "no answer within 10 s")]
    ):
        tell(connection, f"i{n}", "ops", state, reason, NOW + n)
    ops, shift = read_told(connection, NOTIFY)
    assert (ops.n_sent, ops.last_ns, ops.n_waiting) == (2, NOW + 1, 2)
    assert (ops.failing, ops.given_up, ops.given_up_ns) == ("no answer within 10 s", "answered 500", NOW + 2)
    assert (shift.kind, shift.n_sent, shift.last_ns, shift.failing) == ("e-mail", 0, None, "")


def test_the_page_shows_targets_by_name_and_nothing_of_their_addresses(engine: Engine, lake: DeltaLake, now_ns: int) -> None:
    with engine.begin() as connection:
        tell(connection, "i", "ops", "waiting", "<b>answered 500", now_ns)
    with served(engine, lake, config=HubConfig(notify=NOTIFY)) as url, httpx.Client(base_url=url, timeout=PATIENCE_S) as client:
        client.get("/", params={"token": TOKEN})
        text = client.get("/alerts").text
    assert "&lt;b&gt;answered 500" in text
    assert "shift" in text
    for secret in ("token-in-path", "hooks.example", "mail.example", "d@e.f"):
        assert secret not in text


def test_a_hub_that_tells_nobody_says_so(operator: httpx.Client) -> None:
    assert "Nobody: this page is the only place" in operator.get("/alerts").text
