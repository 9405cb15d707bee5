"""Sensor faults open once, close once, and are called alike in a replay."""

from __future__ import annotations

from models.contract.items import SensorFault
from models.contract.names import stable_id
from models.detectors.faults import FaultTracker
from models.quality.finding import Finding
from tests.builders import T0_NS

STUCK = Finding("flow", "stuck", "0 m3/h for 10 s")
SPIKE = Finding("flow", "spike")
OTHER = Finding("pressure", "stuck")


def told(tracker: FaultTracker, windows: list[list[Finding]], first: int = 0) -> list[list[SensorFault]]:
    return [tracker.update(found, T0_NS + i * 10, T0_NS + i * 10 + 10) for i, found in enumerate(windows, first)]


def test_a_fault_opens_once_and_closes_after_two_windows_without_it() -> None:
    tracker = FaultTracker("rig-1")
    outcome = told(tracker, [[], [STUCK], [STUCK], [], [STUCK], [], [], []])
    assert [len(changed) for changed in outcome] == [0, 1, 0, 0, 0, 0, 1, 0]
    (opened,), (closed,) = outcome[1], outcome[6]
    assert (opened.asset, opened.channel, opened.fault, opened.closed_ns) == ("rig-1", "flow", "stuck", None)
    assert opened.opened_ns == T0_NS + 10
    assert closed.fault_id == opened.fault_id
    assert closed.closed_ns == T0_NS + 70
    assert tracker.open == []


def test_each_kind_on_each_channel_is_a_fault_of_its_own() -> None:
    tracker = FaultTracker("rig-1")
    opened = told(tracker, [[STUCK, SPIKE, OTHER]])[0]
    assert len({fault.fault_id for fault in opened}) == 3
    assert len(told(tracker, [[OTHER], [OTHER]], first=1)[1]) == 2
    assert [fault.channel for fault in tracker.open] == ["pressure"]


def test_a_fault_that_comes_again_is_another_one() -> None:
    tracker = FaultTracker("rig-1")
    outcome = told(tracker, [[STUCK], [], [], [STUCK]])
    assert outcome[0][0].fault_id != outcome[3][0].fault_id


def test_a_replay_calls_the_same_fault_the_same() -> None:
    first, again = told(FaultTracker("rig-1"), [[STUCK]]), told(FaultTracker("rig-1"), [[STUCK]])
    assert first == again
    assert first[0][0].fault_id == stable_id("stuck", "", "rig-1", "flow", T0_NS)
    assert told(FaultTracker("rig-2"), [[STUCK]])[0][0].fault_id != first[0][0].fault_id


def test_a_fault_that_was_open_before_a_restart_closes_under_its_own_name() -> None:
    before, after = FaultTracker("rig-1"), FaultTracker("rig-1")
    (opened,) = told(before, [[STUCK]])[0]
    after.resume(before.open)
    assert told(after, [[STUCK]], first=1) == [[]]
    closed = told(after, [[], []], first=2)[1]
    assert [fault.fault_id for fault in closed] == [opened.fault_id]


def test_a_suspicion_opens_nothing_and_keeps_nothing_open() -> None:
    tracker = FaultTracker("rig-1")
    suspicion = STUCK._replace(told=False)
    outcome = told(tracker, [[suspicion], [STUCK], [suspicion], [suspicion]])
    assert [len(changed) for changed in outcome] == [0, 1, 0, 1]


def test_a_fault_closes_with_the_newest_figures() -> None:
    tracker = FaultTracker("rig-1")
    outcome = told(tracker, [[STUCK], [STUCK._replace(detail="0 m3/h for 20 s")], [], []])
    assert [fault.detail for changed in outcome for fault in changed] == ["0 m3/h for 10 s", "0 m3/h for 20 s"]
