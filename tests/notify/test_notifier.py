"""The round over a real state and real receivers, by a clock that the test moves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from sqlalchemy import Engine, delete, insert, select, update

from hub.alerts.handling import acknowledge
from hub.notify.config import Notify, check_notify
from hub.notify.notifier import Notifier
from hub.notify.outbox import KEEP_DAYS
from hub.settings import init_hub, load_hub
from hub.state.database import open_state
from hub.state.schema import alerts, incident_alerts, incidents, notifications
from models.errors import ConfigError
from tests.hub.conftest import FAST, running
from tests.notify.receivers import Hook, webhook
from tests.waiting import wait_until
from tests.web.seeding import S, add_alert, add_device
from tocsin.cli import cli

T0 = 1_800_000_000 * S


class World:
    """A hub's state with devices on two sites, two webhooks, and a notifier whose time the test moves."""

    def __init__(self, engine: Engine, root: Path, ops: Hook, boss: Hook, **rule: Any) -> None:
        self.engine, self.now_ns, self.ops, self.boss = engine, T0, ops, boss
        hooks = [{"name": "ops", "url": ops.url, "per_hour": 3}, {"name": "boss", "url": boss.url}]
        rules = [{"name": "all", "to": ["ops"], "escalate": [{"after_min": 10, "to": ["boss"]}], **rule}]
        self.notify = msgspec.convert({"webhook": hooks, "rule": rules}, Notify)
        self.root = root
        self.notifier = self.restarted()
        with engine.begin() as connection:
            for n in range(40):
                add_device(connection, f"gw-{n}", "lyon" if n % 2 else "brest", T0)

    def restarted(self) -> Notifier:
        return Notifier(self.engine, self.notify, self.root, "https://hub.example", clock=lambda: self.now_ns)

    def ring(self, device: int, alert: str, **values: Any) -> None:
        with self.engine.begin() as connection:
            add_alert(connection, f"gw-{device}", "pump-1", "pump", self.now_ns, alert_id=alert, **values)

    def change(self, alert: str, **values: Any) -> None:
        with self.engine.begin() as connection:
            connection.execute(update(alerts).where(alerts.c.alert_id == alert).values(values))

    def after(self, seconds: float) -> int:
        """How many messages a round sends that much later."""
        self.now_ns += int(seconds * S)
        return self.notifier.run()

    def rows(self, *names: str) -> list[tuple[Any, ...]]:
        with self.engine.begin() as connection:
            chosen = select(*(notifications.c[name] for name in names)).order_by(notifications.c.number)
            return [tuple(row) for row in connection.execute(chosen)]


def said(hook: Hook) -> list[tuple[str, int]]:
    """Step and number of alerts of each message that arrived."""
    documents = [json.loads(body) for _, body in hook.requests]
    return [(document["step"], document["n_alerts"]) for document in documents]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    engine = open_state(f"sqlite:///{tmp_path}/hub.db")
    with webhook() as ops, webhook() as boss:
        yield World(engine, tmp_path, ops, boss)
    engine.dispose()


def test_a_power_cut_is_one_message_and_its_end_another(world: World) -> None:
    for n in range(1, 40, 2):
        world.ring(n, f"a{n}", severity="critical")
    assert [world.after(1), world.after(10), world.after(20)] == [0, 0, 1]
    world.ring(2, "elsewhere")
    assert world.after(31) == 0  # noticed now, and gathered for a while
    assert world.after(30) == 1
    for n in range(1, 40, 2):
        world.change(f"a{n}", closed_ns=world.now_ns)
    assert [world.after(1), world.after(30), world.after(60)] == [0, 1, 0]
    assert said(world.ops) == [("opened", 20), ("opened", 1), ("recovered", 20)]
    document = json.loads(world.ops.requests[0][1])
    assert (document["place"], document["severity"], document["n_open"]) == ("lyon", "critical", 20)


def test_what_goes_on_ringing_joins_and_is_told_no_more(world: World) -> None:
    world.ring(1, "a")
    world.after(0)
    assert world.after(30) == 1
    world.now_ns += 60 * S
    world.ring(1, "b")
    assert [world.after(1), world.after(60)] == [0, 0]
    world.change("a", closed_ns=world.now_ns)
    assert world.after(60) == 0  # the other still rings
    world.change("b", closed_ns=world.now_ns)
    world.after(1)
    assert world.after(30) == 1
    assert said(world.ops) == [("opened", 1), ("recovered", 2)]


def test_what_rings_again_after_it_was_over_is_told_again(world: World) -> None:
    world.ring(1, "a")
    world.after(0)
    world.after(30)
    world.change("a", closed_ns=world.now_ns)
    world.after(1)
    world.after(30)
    world.after(2)
    world.ring(1, "b")
    world.after(1)
    world.after(30)
    assert said(world.ops) == [("opened", 1), ("recovered", 1), ("opened", 1)]


def test_nobody_on_it_is_told_to_the_next_and_acknowledging_stops_that(world: World) -> None:
    world.ring(1, "a")
    world.after(0)
    world.after(30)
    world.now_ns += 4000 * S
    world.ring(4, "b")
    with world.engine.begin() as connection:
        acknowledge(connection, [("gw-4", "b")], actor="user:ann", now_ns=world.now_ns)
    for _ in range(4):
        world.after(400)
    assert said(world.boss) == [("escalation-1", 1)]
    assert json.loads(world.boss.requests[0][1])["alerts"][0]["alert_id"] == "a"


def test_a_receiver_that_fails_is_tried_again_later_each_time_with_the_same_delivery(world: World) -> None:
    world.ops.answers += [500, 503]
    world.ring(1, "a")
    world.after(0)
    assert [world.after(30), world.after(14), world.after(1), world.after(29), world.after(1)] == [0, 0, 0, 0, 1]
    assert len({headers["Tocsin-Delivery"] for headers, _ in world.ops.requests}) == 1
    assert world.rows("state", "n_attempts", "reason") == [("sent", 3, "")]


def test_a_delivery_is_given_up_with_its_reason_and_the_end_is_not_told_to_who_never_heard(world: World) -> None:
    world.ops.answers += [500] * 100
    world.ring(1, "a")
    world.change("a", profile="pump")
    with world.engine.begin() as connection:
        acknowledge(connection, [("gw-1", "a")], actor="user:ann", now_ns=T0)
    world.after(0)
    for _ in range(60):
        world.after(1800)
    assert world.rows("step", "state", "reason") == [("opened", "failed", "answered 500")]
    assert 45 < len(world.ops.requests) < 60
    world.change("a", closed_ns=world.now_ns)
    world.ops.answers.clear()
    assert [world.after(1), world.after(60), world.after(60)] == [0, 0, 0]


def test_what_is_over_before_it_arrives_is_dropped(world: World) -> None:
    world.ops.answers += [500]
    world.ring(1, "a")
    world.after(0)
    world.after(30)
    world.change("a", closed_ns=world.now_ns)
    world.after(60)
    assert world.rows("state", "reason") == [("dropped", "over before it could be told")]
    assert len(world.ops.requests) == 1


def test_a_restart_tells_nothing_twice_and_goes_on_with_what_waits(world: World) -> None:
    world.ring(1, "a")
    world.after(0)
    world.after(30)
    world.notifier = world.restarted()
    assert [world.after(1), world.after(60)] == [0, 0]
    world.ops.answers += [500]
    world.now_ns += 4000 * S
    world.ring(3, "b")
    world.after(1)
    world.after(30)
    world.notifier = world.restarted()
    world.after(15)
    assert [step for step, _ in said(world.ops)] == ["opened", "opened", "opened"]
    assert world.rows("state")[0:1] == [("sent",)]


def test_a_hub_that_was_killed_before_it_noted_a_message_sends_it_again_as_the_same(world: World) -> None:
    world.ring(1, "a")
    world.after(0)
    world.after(30)
    with world.engine.begin() as connection:
        connection.execute(update(notifications).values(state="waiting", ended_ns=None))
    world.notifier = world.restarted()
    assert world.after(1) == 1
    assert len({headers["Tocsin-Delivery"] for headers, _ in world.ops.requests}) == 1


def test_a_target_gets_no_more_than_so_many_an_hour_and_the_rest_later(world: World) -> None:
    for n in range(5):  # on the same site, but too far apart for one incident
        world.ring(1 + 2 * n, f"a{n}")
        world.after(1)
        world.after(30)
        world.now_ns += 400 * S
    assert len(world.ops.requests) == 3
    assert world.rows("state").count(("waiting",)) == 2
    for _ in range(8):
        world.after(600)
    assert len(world.ops.requests) == 5


def test_what_waits_for_one_target_keeps_no_other_waiting(world: World) -> None:
    """A target that is down, or has had its fill, may have more waiting than a round looks at."""
    row = {"incident": "gw-1/a", "rule": "all", "target": "ops", "critical": False, "state": "waiting", "reason": ""}
    with world.engine.begin() as connection:
        rows = [{**row, "step": f"escalation-{n}", "decided_ns": T0, "next_ns": T0, "n_attempts": 0} for n in range(500)]
        connection.execute(insert(notifications), rows)
    world.ops.answers += [500] * 3
    world.ring(1, "a")
    world.after(1)
    world.ring(2, "b")
    with world.engine.begin() as connection:
        one = {**row, "incident": "gw-2/b", "step": "opened", "target": "boss", "decided_ns": T0 + S, "next_ns": T0 + S}
        connection.execute(insert(notifications), {**one, "n_attempts": 0})
    assert world.after(1) == 1
    assert [step for step, _ in said(world.boss)] == ["opened"]


def test_more_alerts_than_are_looked_at_end_no_incident_untold(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.notify.outbox.MAX_MEMBERS", 4)
    for n in range(0, 40, 2):
        world.ring(n, f"a{n}")
    world.after(1)
    world.now_ns += 7200 * S
    world.ring(1, "late")
    for _ in range(4):
        world.after(40)
    assert ("gw-1/late", "sent") in world.rows("incident", "state")
    with world.engine.begin() as connection:
        assert connection.execute(select(incidents.c.ended_ns)).scalars().all() == [None, None]


def test_alerts_that_had_closed_before_the_hub_heard_of_them_are_told_to_nobody(world: World) -> None:
    world.ring(1, "a", closed_ns=T0)
    assert [world.after(1), world.after(60)] == [0, 0]
    assert world.rows("state") == []


def test_a_target_that_is_gone_from_the_configuration_is_told_as_such(world: World) -> None:
    world.ops.answers += [500]
    world.ring(1, "a")
    world.after(0)
    world.after(30)
    world.notify = msgspec.convert({"webhook": [{"name": "boss", "url": world.boss.url}], "rule": []}, Notify)
    world.notifier = world.restarted()
    world.after(60)
    assert world.rows("state", "reason") == [("failed", "its target is not in hub.toml any more")]


def test_what_is_over_is_forgotten_after_a_while_and_an_erased_device_s_incident_ends(world: World) -> None:
    world.ring(1, "a")
    world.after(0)
    world.after(30)
    with world.engine.begin() as connection:
        connection.execute(delete(alerts))
    world.after(1)
    world.now_ns += (KEEP_DAYS + 1) * 86_400 * S
    world.ring(3, "b")
    world.after(1)
    with world.engine.begin() as connection:
        assert connection.execute(select(incidents.c.incident)).scalars().all() == ["gw-3/b"]
        assert connection.execute(select(incident_alerts.c.alert_id)).scalars().all() == ["b"]
    assert world.rows("state") == []


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"webhook": [{"name": "a", "url": "http://x"}] * 2}, "given once; a is there twice"),
        ({"rule": [{"name": "r", "to": ["nobody"]}]}, "rule r: to: names of targets .none yet., not 'nobody'"),
        ({"rule": [{"name": "r", "to": ["a"], "escalate": [{"after_min": 1, "to": ["b"]}]}]}, "escalate: to.*not 'b'"),
        ({"rule": [{"name": "r", "to": ["a"], "quiet": {"start": "22:00", "end": "06:00", "zone": "Mars/Base"}}]}, "time zone"),
        ({"rule": [{"name": "r", "to": ["a"], "quiet": {"start": "22:00", "end": "22:00"}}]}, "start and end that differ"),
        ({"mqtt": [{"name": "m", "host": "h", "user": "x"}]}, "user and password_file"),
    ],
)
def test_a_configuration_that_leads_nowhere_is_refused_by_the_key(wrong: dict[str, Any], words: str) -> None:
    given = {"webhook": [{"name": "a", "url": "http://x"}], **wrong}
    if "nobody" in words:
        given["webhook"] = []
    with pytest.raises(ConfigError, match=words):
        check_notify(msgspec.convert(given, Notify), "hub.toml")


def config_of(hook: Hook) -> str:
    target = f'[[notify.webhook]]\nname = "ops"\nurl = "{hook.url}/x"\n'
    return f'{FAST}\n[notify]\ngather_s = 0\n{target}[[notify.rule]]\nname = "all"\nto = ["ops"]\n'


def test_a_running_hub_tells(tmp_path: Path) -> None:
    with webhook() as hook:
        hub = init_hub(tmp_path, config_of(hook))
        with running(hub):
            engine = open_state(hub.state_url)
            with engine.begin() as connection:
                add_alert(connection, "gw-1", "pump-1", "pump", T0, alert_id="a")
            wait_until(lambda: hook.requests, what="a message")
            engine.dispose()
    assert said(hook) == [("opened", 1)]


def test_the_command_line_tries_a_target_and_tells_what_was_sent(tmp_path: Path) -> None:
    def run(*args: str) -> tuple[int, str]:
        done = CliRunner().invoke(cli, ["hub", "notify", *args, "--data", str(tmp_path)])
        return done.exit_code, done.output

    with webhook(200, 500) as hook:
        init_hub(tmp_path, config_of(hook))
        assert run("test", "ops") == (0, "ops: sent\n")
        code, told = run("test", "ops")
        assert (code, "answered 500" in told) == (1, True)
        assert json.loads(run("test", "ops", "--json")[1])["sent"] is True
        assert "there are: ops" in run("test", "nobody")[1]
        assert json.loads(run("targets", "--json")[1])[0]["name"] == "ops"
        assert "/x" not in run("targets")[1]
        engine = open_state(load_hub(tmp_path).state_url)
        with engine.begin() as connection:
            add_alert(connection, "gw-1", "pump-1", "pump", T0, alert_id="a")
        notifier = Notifier(engine, load_hub(tmp_path).config.notify, tmp_path)
        assert notifier.run() == 1
        engine.dispose()
    [row] = json.loads(run("list", "--json")[1])
    assert (row["target"], row["step"], row["state"]) == ("ops", "opened", "sent")
    assert "opened" in run("list")[1]
    init_hub(tmp_path / "other", f'{FAST}\n[[notify.webhook]]\nname = "ops"\nurl = "http://127.0.0.1:9/x"\n')
    assert (
        "nothing was told yet" in CliRunner().invoke(cli, ["hub", "notify", "list", "--data", str(tmp_path / "other")]).output
    )
