"""Learning an asset's normal anew on command: what is forgotten, what is told, and what a restart finds."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from agent.asset import SavedState
from models.contract.items import Aggregate, Alert, Commissioning, unpack_floats
from tests.agent.agent_process import AgentProcess
from tests.agent.machine import LEARNING_S, PROFILE, Machine, only
from tests.waiting import wait_until

STEP = (0, -1.5, 0)
FOLLOWING = msgspec.structs.replace(PROFILE, features=msgspec.structs.replace(PROFILE.features, follow_s=300.0))


@pytest.fixture
def agent(tmp_path: Path, empty_outbox: Path) -> Iterator[AgentProcess]:
    process = AgentProcess(tmp_path, empty_outbox)
    yield process
    process.close()


def recommissioned(machine: Machine) -> tuple[list[Alert], SavedState]:
    outcome = machine.pipeline.recommission("rig-1")
    return only(Alert, outcome.bodies), outcome.states["rig-1"]


@pytest.mark.parametrize("profile", [PROFILE, FOLLOWING], ids=["fixed", "following"])
def test_what_was_an_alarm_before_maintenance_is_normal_after_commissioning_anew(profile: object) -> None:
    machine = Machine(profile).learned()  # type: ignore[arg-type]
    (opened,) = [alert for alert in only(Alert, machine.run(60, STEP)) if alert.closed_ns is None]
    (closed,), _ = recommissioned(machine)
    assert closed.alert_id == opened.alert_id
    assert closed.closed_ns is not None
    assert closed.closed_ns >= opened.opened_ns
    assert (machine.watch.state, machine.watch.commissioned, machine.watch.p_value) == ("commissioning", (0, 30), None)
    bodies = machine.run(LEARNING_S + 100, STEP)
    assert len(only(Commissioning, bodies)) == 1
    assert only(Alert, bodies) == []
    assert machine.watch.state == "normal"


def test_until_it_is_learned_anew_nothing_is_judged() -> None:
    machine = Machine().learned()
    recommissioned(machine)
    windows = only(Aggregate, machine.run(100, STEP))
    assert windows
    assert all(window.commissioning and not window.scores for window in windows)


def test_a_restart_finds_it_commissioning_and_not_the_old_normal() -> None:
    machine = Machine().learned()
    machine.run(60, STEP)
    _, saved = recommissioned(machine)
    after = Machine(saved=saved, now_s=machine.now_s)
    assert (after.watch.state, after.watch.commissioned, after.watch.alert) == ("commissioning", (0, 30), None)


def test_on_command_while_the_agent_runs(agent: AgentProcess) -> None:
    assert agent.asked("recommission", "here").returncode == 3
    agent.start()
    wait_until(lambda: (s := agent.status()) and s["readings"] > 20, what="readings")
    unknown = agent.asked("recommission", "there")
    assert (unknown.returncode, unknown.stderr) == (1, "no asset 'there'; there are: here\n")
    done = agent.asked("recommission", "here")
    assert (done.returncode, done.stdout) == (0, "here is commissioning: its next 60 good windows are its normal\n")
    assert agent.status()["assets"]["here"]["state"] == "commissioning"
    assert agent.signal(signal.SIGTERM) == 0
    assert "Traceback" not in agent.log.read_text()


# --- a normal that follows, over a restart --------------------------------------------------------------------------


def test_a_level_that_has_drifted_survives_a_restart() -> None:
    machine = Machine(FOLLOWING).learned()
    for drifted in range(20):
        machine.run(100, (0.0, 0.0, 0.1 * drifted))
    saved = machine.watch.saved()
    at = machine.watch.spec.names.index("temperature.mean")
    assert unpack_floats(saved.level)[at] > 56
    after = Machine(FOLLOWING, saved=saved, now_s=machine.now_s)
    assert after.watch.saved().level == saved.level
    assert only(Alert, after.run(100, (0.0, 0.0, 2.0))) == []


def test_drift_is_told_apart_from_any_alert_and_by_feature() -> None:
    machine = Machine(FOLLOWING).learned()
    assert machine.watch.drifted == []
    for drifted in range(20):
        bodies = machine.run(100, (0.0, 0.0, 0.1 * drifted))
        assert only(Alert, bodies) == []
    (feature, spreads), *_ = machine.watch.drifted
    assert feature == "temperature.mean"
    assert spreads > 3
    fixed = Machine().learned()
    assert fixed.watch.drifted == []


def test_a_state_without_a_level_starts_from_the_end_of_commissioning() -> None:
    saved = Machine(FOLLOWING).learned().watch.saved()
    assert len(saved.level) == 4 * 18
    assert Machine(FOLLOWING, saved=msgspec.structs.replace(saved, level=b"")).watch.saved().level == saved.level
