"""A fan whose filter is renewed, under the agent's eyes: what was learned before no longer holds, until it is learned anew."""

from __future__ import annotations

import msgspec
import pytest

from agent.asset import AssetWatch
from agent.pipeline import Pipeline
from firmware_sim.judging.judge import Judgement, judge
from firmware_sim.judging.told import told_from
from firmware_sim.node import Node
from firmware_sim.operation.plan import MaintenancePlan, operation_of
from firmware_sim.scenario import AssetPlan
from firmware_sim.truth import Observed
from models.contract.clock import NS_PER_S
from models.contract.config import load_profile
from models.contract.items import Alert
from models.contract.profile import Profile
from models.contract.reading import Block
from tests.builders import T0_NS

MAINTENANCE = MaintenancePlan(asset="fan-1", start_s=900.0, duration_s=300.0)
PLAYED_S = 2400


FAN = load_profile("fan")
ALWAYS = msgspec.structs.replace(FAN, running=None)  # of a fan that tells nobody when it stands


def judged(age_days: float | None, recommission_at_s: int | None, profile: Profile = FAN) -> Judgement:
    """Ten minutes to learn in, a maintenance from 900 to 1200 s, and twenty more minutes."""
    operation = operation_of(None, None, [MAINTENANCE], T0_NS, None, (1, 1))
    node = Node(AssetPlan(name="fan-1", profile="fan", age_days=age_days), 1, [], T0_NS, None, operation)
    pipeline = Pipeline([AssetWatch("fan-1", profile)])
    alerts: dict[str, Alert] = {}
    for second in range(0, PLAYED_S, 10):
        bodies = list(pipeline.recommission("fan-1").bodies) if second == recommission_at_s else []
        samples = node.take(50)
        columns = zip(samples.channels, samples.values.T, strict=True)
        bodies += pipeline.handle([Block("fan-1", name, samples.time_ns, values) for name, values in columns], 0).bodies
        alerts |= {body.alert_id: body for body in bodies if isinstance(body, Alert)}
    told = told_from([msgspec.to_builtins(alert) for alert in alerts.values()], [])
    observed = Observed(asset="fan-1", profile="fan", start_ns=T0_NS, end_ns=T0_NS + PLAYED_S * NS_PER_S)
    return judge(node.truth(), told, [observed], grace_s=60)


def test_the_standstill_alarms_and_is_excused() -> None:
    found = judged(None, None, ALWAYS)
    assert found.excused
    assert found.false_alarms == []
    assert found.observed_s == {"fan-1": PLAYED_S - 300}
    assert all(alert.closed_ns is not None for alert in found.excused), "back as it was, it is calm again"


def test_a_standstill_that_the_fan_itself_tells_is_no_alarm() -> None:
    found = judged(None, None)
    assert (found.excused, found.false_alarms) == ([], [])


def test_a_renewed_filter_is_another_fan_until_it_is_recommissioned() -> None:
    (standing,) = judged(500, None).excused
    assert standing.closed_ns is None, "with a filter that had clogged for 500 days, the old normal never comes back"
    mended = judged(500, 1210)
    assert mended.false_alarms == []
    assert mended.excused == [], "no filter is judged by the old normal any more"


def test_what_has_worn_is_worn_from_the_first_sample_on_and_hardly_more_by_the_last() -> None:
    operation = operation_of(None, None, [], T0_NS, None, (1, 1))
    new, old = (Node(AssetPlan(name="f", profile="fan", age_days=age), 1, [], T0_NS, None, operation) for age in (0, 500))
    airflow = [node.take(5000).values[:, 2] for node in (new, old)]
    assert airflow[1].mean() / airflow[0].mean() == pytest.approx(1 - 0.35 * 0.5 * 500 / 365, abs=0.01)
    assert abs(airflow[1][:2500].mean() / airflow[1][2500:].mean() - 1) < 0.02
