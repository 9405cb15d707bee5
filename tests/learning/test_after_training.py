"""Rollouts that begin by themselves after a training: what may, what may not, and that each is tried once."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, insert, select, update

from hub.audit.log import read_entries
from hub.registry.approval import approve
from hub.rollout.after_training import FRESH_NS, AfterTraining, why_not_by_itself
from hub.rollout.service import RolloutService
from hub.state.schema import bundles, rollouts, training_runs
from tests.learning.fleet import Device, Fleet

OLD, NEW = "pump-v1-00000001", "pump-v2-00000002"


def evaluation(auc: float = 0.95, share: float = 0.01, champion: dict[str, Any] | None = None) -> dict[str, Any]:
    judged = {"auc": {"int8": {"all": auc}, "baseline": {"all": 0.90}}, "false_alarms": {"share": share}}
    return judged if champion is None else judged | {"champion": champion}


def champion(bundle_id: str = OLD, auc: float = 0.95, share: float = 0.01) -> dict[str, Any]:
    return {"bundle_id": bundle_id, "auc": {"all": auc}, "false_alarm_share": share}


@pytest.mark.parametrize(
    ("judged", "incumbent_id", "reason"),
    [
        (evaluation(), None, ""),
        (evaluation(0.85), None, "its AUC on injected faults is 0.850, that of the baseline detector 0.900"),
        (evaluation(champion=champion()), OLD, ""),
        (evaluation(0.941, 0.0149, champion()), OLD, ""),
        (evaluation(0.93, champion=champion()), OLD, "its AUC on injected faults is 0.930"),
        (evaluation(share=0.03, champion=champion()), OLD, "false alarms in 3.00% of the windows, pump-v1-00000001 in 1.00%"),
        (evaluation(), OLD, "it was not graded beside pump-v1-00000001"),
        (evaluation(champion=champion("pump-v0-00000000")), OLD, "it was not graded beside pump-v1-00000001"),
        ({"windows": 5}, None, "no figures to compare"),
        ({}, None, "no figures to compare"),
    ],
)
def test_what_is_no_worse_may_go_by_itself(judged: dict[str, Any], incumbent_id: str | None, reason: str) -> None:
    found = why_not_by_itself(judged, incumbent_id)
    assert reason in found
    assert bool(found) == bool(reason)


@pytest.fixture
def fleet(engine: Engine) -> Fleet:
    """Four devices that run OLD; NEW was published."""
    fleet = Fleet(engine, [Device(f"gw-{i}") for i in range(4)])
    fleet.publish(OLD, 1)
    return fleet


def trained(fleet: Fleet, bundle_id: str, version: int, judged: dict[str, Any], ended_ns: int | None = None) -> None:
    """`bundle_id` as a run of training left it."""
    fleet.publish(bundle_id, version)
    ended_ns = fleet.now_ns if ended_ns is None else ended_ns
    run = {"run_id": f"run-{version}", "profile": "pump", "state": "done", "started_ns": ended_ns - 1, "ended_ns": ended_ns}
    with fleet.engine.begin() as connection:
        connection.execute(insert(training_runs).values(run | {"record": {"evaluation": judged}, "bundle_id": bundle_id}))
        connection.execute(update(bundles).where(bundles.c.bundle_id == bundle_id).values(run_id=f"run-{version}"))


def rolled_out(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.execute(select(rollouts.c.bundle_id).order_by(rollouts.c.created_ns)).scalars())


def test_a_fresh_bundle_is_rolled_out_once_from_shadow_on_and_told_in_the_audit_log(fleet: Fleet) -> None:
    trained(fleet, NEW, 2, evaluation())
    after = AfterTraining(fleet.engine, fleet.service)
    [rollout_id] = after.look(fleet.now_ns)
    assert fleet.service.get(rollout_id)["plan"]["stages"][0]["name"] == "shadow"
    with fleet.engine.connect() as connection:
        assert [(e.actor, e.action) for e in read_entries(connection)] == [("hub", "rollout.started")]
    fleet.service.abort(rollout_id, now_ns=fleet.now_ns)
    assert after.look(fleet.now_ns) == [], "people have said no"
    assert rolled_out(fleet.engine) == [NEW]


def test_what_is_old_worse_or_came_otherwise_waits_for_a_person(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    after = AfterTraining(fleet.engine, fleet.service)
    assert after.look(fleet.now_ns) == [], "OLD came by no training"
    trained(fleet, NEW, 2, evaluation(0.80))
    assert after.look(fleet.now_ns) == after.look(fleet.now_ns) == []
    assert [r.message for r in caplog.records if "by itself" in r.message] == [
        f"{NEW} is not rolled out by itself: its AUC on injected faults is 0.800, that of the baseline detector 0.900"
    ]
    trained(fleet, "pump-v3-00000003", 3, evaluation(), ended_ns=fleet.now_ns - FRESH_NS)
    assert after.look(fleet.now_ns) == []
    assert rolled_out(fleet.engine) == []


def test_where_approval_is_required_it_waits_for_that(fleet: Fleet) -> None:
    trained(fleet, NEW, 2, evaluation())
    after = AfterTraining(fleet.engine, RolloutService(fleet.engine, require_approval=True))
    assert after.look(fleet.now_ns) == []
    with fleet.engine.begin() as connection:
        approve(connection, NEW, approver="the plant's engineer", actor="cli:test", now_ns=fleet.now_ns)
    assert len(after.look(fleet.now_ns)) == 1
