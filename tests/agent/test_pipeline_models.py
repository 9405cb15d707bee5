"""Models in slots: who decides, who is scored beside, and what survives a swap and a restart."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from agent.asset import AssetWatch, SavedState
from agent.judges import Serving
from models.contract.items import Aggregate, Alert, Body, Commissioning, SensorFault
from models.detectors.autoencoder import TfliteAutoencoder
from models.detectors.calibration import fit_tail
from tests.agent.machine import LEARNING_S, PROFILE, Machine, only
from tests.builders import T0_NS, rig, tiny_model

STEP = (0, -1.5, 0)


def serving(bundle_id: str, scores: np.ndarray | None = None) -> Serving:
    return Serving(TfliteAutoencoder(tiny_model(), 8.0, bundle_id), None if scores is None else fit_tail(scores))


def detectors(bodies: list[Body]) -> list[list[str]]:
    return [[score.detector for score in body.scores] for body in only(Aggregate, bodies)]


def scores_of(bodies: list[Body], detector: str) -> list[tuple[float, float | None, bool]]:
    scores = [score for body in only(Aggregate, bodies) for score in body.scores if score.detector == detector]
    return [(score.score, score.p_value, score.alarm) for score in scores]


# --- slots --------------------------------------------------------------------------------------------------------


def test_the_active_model_decides_and_the_others_are_scored_beside_it_on_the_same_windows() -> None:
    alone, together = Machine().learned(), Machine().learned()
    together.pipeline.serve("rig", serving("rig-v1"), serving("rig-v2"))
    alone_bodies, bodies = alone.run(200), together.run(200)
    assert detectors(bodies) == [["rig-v1", "baseline", "rig-v2"]] * len(detectors(alone_bodies))
    assert scores_of(bodies, "baseline") == scores_of(alone_bodies, "baseline")
    assert scores_of(bodies, "rig-v1") == scores_of(bodies, "rig-v2")
    assert together.pipeline.counters.scored == dict.fromkeys(("rig-v1", "baseline", "rig-v2"), len(detectors(bodies))) | {
        "baseline": len(scores_of(bodies, "baseline"))
    }


def test_only_the_deciding_detector_raises_alerts() -> None:
    never = np.linspace(1e6, 2e6, 60)  # for whom no score is odd
    deaf, eager = Machine().learned(), Machine().learned()
    deaf.pipeline.serve("rig", serving("rig-deaf", never), serving("rig-v1"))
    eager.pipeline.serve("rig", None, serving("rig-deaf", never))
    fault = deaf.run(60, STEP)
    assert only(Alert, fault) == []
    assert scores_of(fault, "baseline")[-1][2]
    assert only(Alert, eager.run(60, STEP))[0].detector == "baseline"


def test_models_of_another_profile_are_not_served() -> None:
    machine = Machine().learned()
    machine.pipeline.serve("fan", serving("fan-v1"), None)
    assert detectors(machine.run(20)) == [["baseline"]] * 2


def test_a_model_that_came_during_commissioning_decides_from_the_first_window_after_it() -> None:
    machine = Machine()
    machine.pipeline.serve("rig", serving("rig-v1"), None)
    machine.learned()
    assert detectors(machine.run(20)) == [["rig-v1", "baseline"]] * 2


def test_a_shadow_that_becomes_active_keeps_its_calibration_and_its_evidence() -> None:
    swapped, stayed = Machine().learned(), Machine().learned()
    for machine in (swapped, stayed):
        machine.pipeline.serve("rig", None, serving("rig-v1"))
        machine.run(100)
        machine.run(10, STEP)
        assert machine.watch.state == "normal"
    swapped.pipeline.serve("rig", serving("rig-v1"), None)
    assert scores_of(swapped.run(100, STEP), "rig-v1") == scores_of(stayed.run(100, STEP), "rig-v1")


def test_a_model_that_brings_its_own_calibration_is_judged_by_that() -> None:
    machine = Machine().learned()
    machine.pipeline.serve("rig", serving("rig-fleet", np.linspace(1e6, 2e6, 60)), serving("rig-local"))
    bodies = machine.run(100)
    assert {p for _, p, _ in scores_of(bodies, "rig-fleet")} == {1.0}
    assert any(p < 1.0 for _, p, _ in scores_of(bodies, "rig-local"))


def test_an_open_alert_is_closed_by_whoever_decides_now_and_not_by_the_swap() -> None:
    machine = Machine().learned()
    (opened,) = only(Alert, machine.run(60, STEP))
    machine.pipeline.serve("rig", serving("rig-v1"), None)
    assert only(Alert, machine.run(50, STEP)) == []
    (closed,) = only(Alert, machine.run(100))
    assert (closed.alert_id, closed.detector) == (opened.alert_id, "baseline")


# --- restart ------------------------------------------------------------------------------------------------------


def stored(machine: Machine) -> SavedState:
    """What a restart finds: the state as the outbox keeps it, through its encoding."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(machine.watch.saved()), type=SavedState)


def restarted(machine: Machine) -> Machine:
    again = Machine(saved=stored(machine), now_s=machine.now_s, seed=machine.seed)
    assert not again.watch.dirty
    return again


def aligned(machine: Machine) -> Machine:
    """Up to the end of a window, which a restart then cuts nothing of but its lateness."""
    machine.run(10 - machine.now_s % 10)
    machine.pipeline.tick(10**12)
    return machine


@pytest.mark.parametrize("learned_s", [0.0, 100.0, LEARNING_S + 100])
def test_after_a_restart_it_goes_on_alike(learned_s: float) -> None:
    machine = aligned(Machine())
    if learned_s:
        machine.run(learned_s)
        machine.pipeline.tick(10**12)
    again = restarted(machine)
    assert again.watch.commissioned == machine.watch.commissioned
    assert again.run(LEARNING_S + 100) == machine.run(LEARNING_S + 100)
    assert again.run(100, STEP) == machine.run(100, STEP)


def test_many_restarts_change_nothing_of_what_was_learned() -> None:
    machine = Machine(seed=3)
    machine.run(100)
    machine.run(30, STEP)  # a disturbance, to be dropped
    machine.learned()
    once = stored(machine)
    again = machine
    for _ in range(5):
        again = restarted(again)
    assert stored(again) == once


def test_commissioning_begins_when_its_first_window_did_also_after_a_restart() -> None:
    machine = Machine()
    machine.run(100)
    (commissioning,) = only(Commissioning, restarted(machine).run(LEARNING_S))
    assert commissioning.start_ns == T0_NS


def test_an_alert_that_was_open_before_a_restart_stays_open_and_closes_under_its_own_id() -> None:
    machine = Machine().learned()
    (opened,) = only(Alert, machine.run(60, STEP))
    again = restarted(machine)
    assert again.watch.state == "alarm"
    assert again.watch.since_ns == opened.opened_ns
    assert only(Alert, again.run(60, STEP)) == []
    (closed,) = only(Alert, again.run(100))
    assert closed.alert_id == opened.alert_id


def test_an_alert_closes_after_a_restart_also_under_a_model_that_is_put_before_it_then() -> None:
    machine = Machine().learned()
    (opened,) = only(Alert, machine.run(60, STEP))
    again = restarted(machine)
    again.pipeline.serve("rig", serving("rig-v1"), None)
    assert only(Alert, again.run(50, STEP)) == []
    assert [alert.alert_id for alert in only(Alert, again.run(100))] == [opened.alert_id]


def test_a_sensor_fault_that_was_open_before_a_restart_closes_under_its_own_id() -> None:
    machine = Machine().learned()
    (opened,) = only(SensorFault, machine.run(50, blank=[0]))
    again = restarted(machine)
    assert only(SensorFault, again.run(50, blank=[0])) == []
    (closed,) = only(SensorFault, again.run(50))
    assert closed.fault_id == opened.fault_id


def test_what_must_survive_is_handed_over_with_the_items_that_it_belongs_to() -> None:
    machine = Machine()
    machine.run(LEARNING_S + 2)
    assert machine.saved is not None
    assert machine.saved.done
    machine.run(60, STEP)
    assert machine.saved.alert is not None
    machine.run(100)
    assert machine.saved.alert is None


def test_a_power_cut_costs_few_windows_of_commissioning() -> None:
    machine = Machine()
    machine.run(195)
    assert machine.saved is not None
    again = AssetWatch("rig-1", PROFILE)
    again.restore(machine.saved)
    assert again.commissioned[0] >= machine.watch.commissioned[0] - 9


def test_the_state_of_another_feature_spec_is_not_taken_over() -> None:
    state = stored(Machine().learned())
    other = AssetWatch("rig-1", rig(windows=30, window_s=20.0))
    assert not other.restore(state)
    assert other.state == "commissioning"
    assert other.commissioned == (0, 30)
