"""What starts training by itself: each trigger and its hysteresis in virtual time; then on a real state and lake."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine, insert

from hub.audit.log import read_entries
from hub.cli import hub as hub_command
from hub.ingest.log import LogRecord
from hub.lake.lake import DeltaLake, open_lake
from hub.lake.rows import rows_of
from hub.settings import Hub, init_hub
from hub.state.database import open_state
from hub.state.schema import alert_feedback, assets, training_runs
from hub.training.triggers import Due, Facts, TriggerSettings, due
from hub.training.watch import TrainingWatch, facts_of
from models.contract.items import Aggregate, SlotScore, encode_body
from models.errors import TrainingError
from tests.hub.simulated_device import NOW_NS, aggregate, stamp
from tests.web.seeding import add_alert

HOUR_NS = 3600 * 10**9
ALL = TriggerSettings(every_h=100, drift_share=0.2, n_feedback=5, rest_h=10)


def named(facts: Facts, settings: TriggerSettings = ALL, now_h: float = 1000) -> str | None:
    found = due(settings, facts, round(now_h * HOUR_NS))
    return found.name if found else None


def ran(hours_ago: float, **facts: float) -> Facts:
    return Facts("pump", last_run_ns=round((1000 - hours_ago) * HOUR_NS), **facts)  # type: ignore[arg-type]


def test_nothing_is_due_while_all_is_off() -> None:
    assert named(Facts("pump", n_assets=10, n_drifted=10, n_feedback=99), TriggerSettings()) is None
    assert not TriggerSettings().any_on


def test_the_schedule_counts_from_the_latest_run_whoever_began_it() -> None:
    assert [named(ran(hours)) for hours in (11, 99, 100, 500)] == [None, None, "schedule", "schedule"]
    assert named(Facts("pump")) == "schedule"


def test_drift_counts_by_how_much_more_has_moved_than_at_the_latest_trigger() -> None:
    assert named(ran(20, n_assets=10, n_drifted=2)) == "drift"
    assert named(ran(20, n_assets=10, n_drifted=1)) is None
    assert named(ran(20, n_assets=10, n_drifted=5, drift_before=0.5)) is None, "what stays moved starts nothing again"
    assert named(ran(20, n_assets=10, n_drifted=7, drift_before=0.5)) == "drift"
    assert named(ran(20)) is None, "nobody has windows enough to tell"


def test_feedback_counts_alerts_judged_since_the_latest_run() -> None:
    assert [named(ran(20, n_feedback=n)) for n in (4, 5)] == [None, "feedback"]


def test_after_a_run_there_is_rest_from_every_trigger() -> None:
    assert named(ran(9.9, n_assets=10, n_drifted=10, n_feedback=50)) is None
    assert named(ran(10.1, n_assets=10, n_drifted=10, n_feedback=50)) == "feedback"


def test_the_reason_tells_the_figures() -> None:
    assert due(ALL, ran(20, n_assets=10, n_drifted=3), 1000 * HOUR_NS) == Due(
        "drift", "3 of 10 assets have moved from their normal, 30% more than before; 20% are enough"
    )


# --- on a state and a lake ----------------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    return init_hub(tmp_path / "hub", "retrain_drift_share = 0.4\nretrain_feedback = 2\nretrain_rest_h = 10\n")


@pytest.fixture
def engine(hub: Hub) -> Iterator[Engine]:
    engine = open_state(hub.state_url)
    with engine.begin() as connection:
        for n in range(2):
            row = {"device_id": f"gw-{n}", "asset": "pump-1", "profile": "pump", "spec_hash": "a" * 16, "state": "normal"}
            connection.execute(insert(assets).values(row))
    yield engine
    engine.dispose()


def window(n: int, p_value: float, alarm: bool = False) -> Aggregate:
    start_ns = NOW_NS - 3600 * 10**9 + n * 10**10
    made = aggregate(n, profile="pump")
    fields = {name: getattr(made, name) for name in made.__struct_fields__}
    score = SlotScore(detector="baseline", score=1.0, p_value=p_value, alarm=alarm)
    changed = {
        "asset": "pump-1",
        "start_ns": start_ns,
        "end_ns": start_ns + 10**10,
        "scores": [score],
        "alarm": alarm,
        "faulty": [],
    }
    return Aggregate(**fields | changed)


def fill(lake: DeltaLake, device_id: str, p_values: list[float], alarm: bool = False) -> None:
    records = [
        LogRecord(n, device_id, "e1", "aggregates", n, n, "aggregate", stamp(), encode_body(window(n, p, alarm)), NOW_NS)
        for n, p in enumerate(p_values, 1)
    ]
    lake.append("aggregates", rows_of("aggregates", records), f"log-{device_id}-{len(p_values)}-{alarm}", len(records))


def test_an_asset_has_moved_where_improbable_windows_are_three_times_as_many(hub: Hub, engine: Engine) -> None:
    lake = open_lake(hub.lake_url)
    fill(lake, "gw-0", [0.03 if n % 5 == 0 else 0.5 for n in range(150)])
    fill(lake, "gw-1", [0.03 if n % 20 == 0 else 0.5 for n in range(150)])
    fill(lake, "gw-2", [0.03] * 99)
    fill(lake, "gw-3", [0.001] * 150, alarm=True)
    facts = facts_of(engine, lake, "pump", NOW_NS)
    assert (facts.n_assets, facts.n_drifted) == (2, 1)
    assert facts_of(engine, lake, "pump", NOW_NS + 30 * HOUR_NS).n_assets == 0, "a day later they say nothing any more"


def test_a_trigger_starts_one_run_is_told_in_the_audit_log_and_rests(hub: Hub, engine: Engine) -> None:
    lake, begun = open_lake(hub.lake_url), []
    fill(lake, "gw-0", [0.03] * 150)
    watch = TrainingWatch(engine, lake, TriggerSettings(drift_share=0.4, rest_h=10), begun.append)
    assert [(profile, found.name) for profile, found in watch.look(NOW_NS)] == [("pump", "drift")]
    assert watch.look(NOW_NS + HOUR_NS) == []
    assert watch.look(NOW_NS + 11 * HOUR_NS) == [], "it has moved no further"
    assert begun == ["pump"]
    with engine.connect() as connection:
        [entry] = read_entries(connection)
    assert (entry.actor, entry.action, entry.subject) == ("hub", "training.start", "pump")
    assert json.loads(entry.details)["trigger"] == "drift"


def test_drift_that_has_gone_and_comes_again_is_a_reason_again(hub: Hub, engine: Engine) -> None:
    lake, begun = open_lake(hub.lake_url), []
    fill(lake, "gw-0", [0.03] * 150)
    watch = TrainingWatch(engine, lake, TriggerSettings(drift_share=0.4, rest_h=10), begun.append)
    watch.look(NOW_NS)
    assert watch.look(NOW_NS + 30 * HOUR_NS) == [], "nothing was heard for a day: nobody has moved"
    assert facts_of(engine, lake, "pump", NOW_NS).drift_before == 0.0
    assert [found.name for _, found in watch.look(NOW_NS + 20 * HOUR_NS)] == ["drift"]


def test_a_run_that_cannot_be_started_is_no_crash_and_is_not_tried_at_every_look(hub: Hub, engine: Engine) -> None:
    tries = []

    def refuse(profile: str) -> None:
        tries.append(profile)
        raise TrainingError("one is going on")

    watch = TrainingWatch(engine, open_lake(hub.lake_url), TriggerSettings(every_h=24), refuse)
    assert watch.look(NOW_NS) == []
    assert watch.look(NOW_NS + HOUR_NS) == []
    assert tries == ["pump"]


def test_feedback_since_the_latest_run_counts_each_alert_once(hub: Hub, engine: Engine) -> None:
    lake = open_lake(hub.lake_url)
    with engine.begin() as connection:
        run = {"run_id": "r", "profile": "pump", "state": "failed", "started_ns": NOW_NS - 50 * HOUR_NS, "record": {}}
        connection.execute(insert(training_runs).values(run))
        for n, at_h in enumerate((-60, -40, -30)):
            add_alert(connection, "gw-0", "pump-1", "pump", NOW_NS - 70 * HOUR_NS + n, alert_id=f"a{n}")
            for again in range(2):
                said = {"label": "confirm", "actor": "x", "note": "", "at_ns": NOW_NS + at_h * HOUR_NS + again}
                connection.execute(insert(alert_feedback).values(device_id="gw-0", alert_id=f"a{n}", **said))
        single = {"alert_id": "single", "detector": "streaming"}  # what is said of it says nothing of a model
        add_alert(connection, "gw-0", "pump-1", "pump", NOW_NS - 70 * HOUR_NS, **single)
        said = {"label": "false-alarm", "actor": "x", "note": "", "at_ns": NOW_NS - 20 * HOUR_NS}
        connection.execute(insert(alert_feedback).values(device_id="gw-0", alert_id="single", **said))
    facts = facts_of(engine, lake, "pump", NOW_NS)
    assert (facts.n_feedback, facts.last_run_ns) == (2, NOW_NS - 50 * HOUR_NS)


def test_the_command_tells_what_is_due_and_starts_nothing(hub: Hub, engine: Engine) -> None:
    fill(open_lake(hub.lake_url), "gw-0", [0.5] * 150)
    told = CliRunner().invoke(hub_command, ["triggers", "--data", str(hub.paths.root), "--json"])
    assert told.exit_code == 0, told.output
    found = json.loads(told.output)
    assert found["settings"] == {"every_h": 0.0, "drift_share": 0.4, "n_feedback": 2, "rest_h": 10.0}
    assert [(each["profile"], each["due"]) for each in found["profiles"]] == [("pump", None)]
    shown = CliRunner().invoke(hub_command, ["triggers", "--data", str(hub.paths.root)]).output
    assert "never" in shown
