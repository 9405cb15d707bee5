"""Workers and their dispatch: the pipeline never waits, each action is recorded, what is over stays over."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent.actions.actor import Actor, Result
from agent.actions.config import ActionRule, ProgramAction
from agent.actions.dispatch import Actions
from agent.actions.event import Event
from agent.actions.past_file import PastFile
from agent.actions.program import ProgramActor
from agent.actions.worker import Worker
from models.contract.items import Action, ActorKind, Alert, decode_body, encode_body
from tests import builders
from tests.actions.conftest import NotingProgram, alert, rule
from tests.waiting import wait_until


@dataclass
class Bell:
    """An actor that notes what it is told, and rings until `free` is set."""

    kind: ActorKind = "program"
    target: str = "bell"
    rung: list[Event] = field(default_factory=list)
    free: threading.Event = field(default_factory=threading.Event)
    defect: bool = False

    def __post_init__(self) -> None:
        self.free.set()

    def preview(self, event: Event) -> str:
        return f"ring for {event.asset}"

    def act(self, event: Event) -> Result:
        self.rung.append(event)
        if self.defect:
            raise RuntimeError("a bug")
        self.free.wait(120)
        return Result(True, "rung")

    def close(self) -> None:
        self.free.set()


class Rig:
    """Rules with bells, and the records that they leave."""

    def __init__(self, folder: Path, *rules: ActionRule, actors: dict[str, Actor] | None = None) -> None:
        self.records: list[Action] = []
        self.bells = {r.name: Bell() for r in rules}
        made: dict[str, Any] = {**self.bells, **(actors or {})}
        self.workers = {
            r.name: Worker(r, made[r.name], PastFile(folder / f"{r.name}.past"), self.records.append) for r in rules
        }
        self.actions = Actions("gw-1", rules, self.workers)

    def notice(
        self, *bodies: Alert, now_s: float = 0.0, open_alerts: tuple[Alert, ...] = (), learning: tuple[str, ...] = ()
    ) -> None:
        self.actions.notice(bodies, open_alerts, learning, builders.stamp(now_s))

    @property
    def outcomes(self) -> list[tuple[str, str, str]]:
        return [(r.rule, r.event_id, r.outcome) for r in list(self.records)]


@pytest.fixture
def rigs() -> Iterator[list[Rig]]:
    made: list[Rig] = []
    yield made
    for rig in made:
        rig.actions.stop()


def start(rigs: list[Rig], rig: Rig, open_alerts: tuple[Alert, ...] = ()) -> Rig:
    rigs.append(rig)
    rig.actions.start(open_alerts)
    return rig


def test_what_the_disk_took_no_record_of_is_acted_on_and_marked_as_that(rigs: list[Rig], tmp_path: Path) -> None:
    rig = start(rigs, Rig(tmp_path, rule()))
    rig.actions.notice([alert(1)], [], [], builders.stamp(), stored=False)
    wait_until(lambda: rig.records)
    assert [(event.event_id, event.stored) for event in rig.bells["siren"].rung] == [("rig-1-1", False)]


def test_an_action_is_done_and_recorded_as_an_item(rigs: list[Rig], tmp_path: Path) -> None:
    rig = start(rigs, Rig(tmp_path, rule()))
    rig.notice(alert(1))
    wait_until(lambda: rig.records)
    (record,) = rig.records
    assert (record.rule, record.actor, record.target, record.outcome, record.reason) == (
        "siren",
        "program",
        "bell",
        "done",
        "rung",
    )
    assert (record.event, record.event_id, record.edge, record.asset) == ("alert", "rig-1-1", "opened", "rig-1")
    assert decode_body("action", encode_body(record)) == record
    assert rig.actions.status()["rules"]["siren"] == {"actor": "program", "done": 1, "last": "done rung"}


def test_what_is_suppressed_or_a_dry_run_is_recorded_and_not_done(rigs: list[Rig], tmp_path: Path) -> None:
    rig = start(rigs, Rig(tmp_path, rule(name="real", min_interval_s=60), rule(name="dry", dry_run=True, min_interval_s=0)))
    rig.notice(alert(1))
    wait_until(lambda: len(rig.records) == 2)
    rig.notice(alert(2), now_s=1)
    rig.notice(alert(3), now_s=70, learning=("rig-1",))
    wait_until(lambda: len(rig.records) == 6)
    assert sorted(rig.outcomes) == [
        ("dry", "rig-1-1", "dry_run"), ("dry", "rig-1-2", "dry_run"), ("dry", "rig-1-3", "suppressed"),
        ("real", "rig-1-1", "done"), ("real", "rig-1-2", "suppressed"), ("real", "rig-1-3", "suppressed"),
    ]  # fmt: skip
    assert {r.reason for r in rig.records if r.outcome == "dry_run"} == {"would ring for rig-1"}
    assert (len(rig.bells["real"].rung), len(rig.bells["dry"].rung)) == (1, 0)


def test_the_pipeline_never_waits_and_what_is_too_much_is_told(rigs: list[Rig], tmp_path: Path) -> None:
    rig = start(
        rigs, Rig(tmp_path, rule(name="slow", min_interval_s=0, max_per_hour=100), rule(name="quick", min_interval_s=100))
    )
    rig.bells["slow"].free.clear()
    rig.notice(alert(0))
    wait_until(lambda: rig.bells["slow"].rung)
    began_s = time.monotonic()
    for n in range(1, 20):
        rig.notice(alert(n), now_s=n)
    assert time.monotonic() - began_s < 60
    suppressed = [r for r in rig.records if r.rule == "slow" and r.outcome == "suppressed"]
    assert [r.event_id for r in suppressed] == ["rig-1-17", "rig-1-18", "rig-1-19"]
    assert suppressed[0].reason == "16 actions of this rule wait already"
    wait_until(lambda: ("quick", "rig-1-0", "done") in rig.outcomes, what="the other rule, which is not held up")
    rig.bells["slow"].free.set()
    wait_until(lambda: len(rig.bells["slow"].rung) == 17)


def test_events_that_had_to_wait_are_not_acted_on_one_right_after_the_other(
    rigs: list[Rig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 0.0
    for module in ("dispatch", "worker"):
        monkeypatch.setattr(f"agent.actions.{module}.time", SimpleNamespace(monotonic=lambda: now_s))
    rig = start(rigs, Rig(tmp_path, rule(min_interval_s=300)))
    rig.bells["siren"].free.clear()
    for n in range(3):  # each long enough after the one before, but the first holds the bell all the while
        now_s = 400.0 * n
        rig.notice(alert(n), now_s=now_s)
        wait_until(lambda: rig.bells["siren"].rung)
    rig.bells["siren"].free.set()
    wait_until(lambda: len(rig.records) == 3)
    assert [r.outcome for r in rig.records] == ["done", "done", "suppressed"]
    assert "interlock" in rig.records[2].reason


def test_an_alert_that_worsens_rings_the_critical_rule_once_and_the_other_not_again(rigs: list[Rig], tmp_path: Path) -> None:
    rig = start(
        rigs, Rig(tmp_path, rule(name="any", min_interval_s=0), rule(name="dire", severity="critical", min_interval_s=0))
    )
    mild, dire = alert(1), alert(1, severity="critical")
    rig.notice(mild, open_alerts=(mild,))
    rig.notice(open_alerts=(mild,), now_s=10)
    rig.notice(open_alerts=(dire,), now_s=20)
    rig.notice(open_alerts=(dire,), now_s=30)
    wait_until(lambda: len(rig.records) == 2)
    assert sorted(rig.outcomes) == [("any", "rig-1-1", "done"), ("dire", "rig-1-1", "done")]
    assert rig.bells["dire"].rung[0].worsened


def test_an_alert_that_was_open_before_the_restart_is_not_rung_again_but_for_getting_worse(
    rigs: list[Rig], tmp_path: Path
) -> None:
    rig = start(rigs, Rig(tmp_path, rule(severity="critical")), open_alerts=(alert(1), alert(2, severity="critical")))
    rig.notice(open_alerts=(alert(1), alert(2, severity="critical")))
    rig.notice(open_alerts=(alert(1, severity="critical"), alert(2, severity="critical")), now_s=10)
    wait_until(lambda: rig.records)
    assert rig.outcomes == [("siren", "rig-1-1", "done")]


def test_interlock_and_record_outlive_a_kill_in_the_middle_of_an_action(rigs: list[Rig], tmp_path: Path) -> None:
    rig = start(rigs, Rig(tmp_path, rule(min_interval_s=60)))
    rig.bells["siren"].free.clear()
    rig.notice(alert(1), now_s=100)
    wait_until(lambda: rig.bells["siren"].rung)
    past = PastFile(tmp_path / "siren.past").read()  # as after a kill in the middle of the action
    assert past is not None
    assert past.begun is not None
    again = Rig(tmp_path, rule(min_interval_s=60))
    again.workers["siren"].restore(past, "boot", builders.stamp(130).mono_ns)
    again.workers["siren"].start()
    again.notice(alert(2), now_s=130)
    wait_until(lambda: len(again.records) == 2)
    assert again.outcomes == [("siren", "rig-1-1", "failed"), ("siren", "rig-1-2", "suppressed")]
    assert again.records[0].reason.startswith("interrupted: the agent ended while it acted")
    again.actions.stop()
    rig.bells["siren"].free.set()
    wait_until(lambda: rig.records)
    wait_until(lambda: (PastFile(tmp_path / "siren.past").read() or past).begun is None, what="nothing left to tell")


def test_a_broken_memory_is_left_out_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "siren.past").write_bytes(b"\1" * 8192)
    assert PastFile(tmp_path / "siren.past").read() is None
    assert "siren.past is left out" in caplog.text
    assert PastFile(tmp_path / "other.past").read() is None


def test_a_disk_that_refuses_does_not_keep_the_bell_from_ringing(rigs: list[Rig], tmp_path: Path) -> None:
    (tmp_path / "siren.past").mkdir()  # cannot be replaced by a file
    rig = start(rigs, Rig(tmp_path, rule()))
    rig.notice(alert(1))
    wait_until(lambda: rig.outcomes == [("siren", "rig-1-1", "done")])


def test_what_waits_at_the_end_is_done_and_a_program_that_hangs_is_ended(
    tmp_path: Path, program: NotingProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.actions.worker._GIVE_UP_S", 30.0)  # a thread that is held up has still its word to say
    hanging = ProgramActor(ProgramAction(command=program.command("sleep 300"), timeout_s=300))
    rules = (rule(name="bell"), rule(name="hangs", min_interval_s=0))
    rig = Rig(tmp_path, *rules, actors={"hangs": hanging})
    rig.actions.start(())
    rig.notice(alert(1))
    rig.notice(alert(2), now_s=1)
    wait_until(lambda: program.runs == 1)
    began_s = time.monotonic()
    rig.actions.stop()
    assert time.monotonic() - began_s < 60
    outcomes = {(r.rule, r.event_id): (r.outcome, r.reason[-60:]) for r in rig.records}
    assert outcomes["bell", "rig-1-1"][0] == "done"
    assert outcomes["hangs", "rig-1-1"] == ("failed", f"{program.folder}/program.sh: killed, the agent stops"[-60:])
    assert outcomes["hangs", "rig-1-2"] == ("suppressed", "the agent stops")


def test_nothing_is_recorded_after_the_stop(tmp_path: Path) -> None:
    rig = Rig(tmp_path, rule())
    rig.actions.start(())
    rig.actions.stop()
    rig.notice(alert(1))
    assert rig.records == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_defect_ends_the_rules_thread_loudly_and_is_told_from_then_on(rigs: list[Rig], tmp_path: Path) -> None:
    rig = start(rigs, Rig(tmp_path, rule(min_interval_s=0)))
    rig.bells["siren"].defect = True
    rig.notice(alert(1))
    wait_until(lambda: "a bug" in rig.actions.status()["rules"]["siren"]["last"])
    rig.notice(alert(2), now_s=1)
    assert [(r.outcome, r.reason) for r in rig.records] == [("failed", "ended by a defect: RuntimeError('a bug')")]
