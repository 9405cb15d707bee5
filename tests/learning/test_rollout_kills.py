"""kill -9 at each step of a rollout: before each statement that writes, and before the commit. What is left is what was before,
whole, and a hub that starts again takes the same step as if nothing had been."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, Table, select

from hub.rollout.service import RolloutService
from hub.state.database import open_state
from hub.state.schema import audit_entries, fleet_bundles, rollout_events, rollouts
from tests.killing import at_statement, killed
from tests.learning.fleet import Device, Fleet, S

GOOD, FLOOD = "pump-v1-00000001", "pump-v2-00000002"
STATE: tuple[Table, ...] = (rollouts, rollout_events, fleet_bundles, audit_entries)
Step = Callable[[RolloutService, int, str], Any]


@pytest.fixture
def fleet(engine: Engine) -> Fleet:
    fleet = Fleet(engine, [Device(f"gw-{n}", site=f"site-{n % 2}") for n in range(4)])
    fleet.publish(GOOD, 1)
    fleet.publish(FLOOD, 2, rings=0.9)
    return fleet


def begun(fleet: Fleet, bundle_id: str = GOOD) -> str:
    return fleet.service.start(bundle_id, now_ns=fleet.now_ns, waves=1)


def judged_next(fleet: Fleet, bundle_id: str, state: str) -> str:
    """A rollout whose next look by the hub takes it to another stage, or to `state`."""
    rollout_id = begun(fleet, bundle_id)
    for _ in range(60):
        fleet.now_ns += 10 * S
        fleet.check_in()
        fleet.send_windows(5)
        before = fleet.service.get(rollout_id)
        if before["state"] == state and (state == "halted" or before["stage"] == "canary"):
            return rollout_id
        fleet.service.tick(fleet.now_ns)
    raise AssertionError(f"it never came to {state}: {before}")


def ready_to_pass(fleet: Fleet) -> str:
    rollout_id = judged_next(fleet, GOOD, "running")
    fleet.send_windows(40)
    return rollout_id


def ready_to_halt(fleet: Fleet) -> str:
    rollout_id = begun(fleet, FLOOD)
    fleet.check_in()
    fleet.now_ns += 10 * S
    fleet.check_in()
    fleet.send_windows(60)
    return rollout_id


def done(fleet: Fleet) -> str:
    rollout_id = begun(fleet)
    fleet.run(rollout_id, "done")
    return rollout_id


def paused(fleet: Fleet) -> str:
    rollout_id = begun(fleet)
    fleet.service.pause(rollout_id, now_ns=fleet.now_ns)
    return rollout_id


def steer(step: str) -> Step:
    return lambda service, now_ns, rollout_id: service.steer(rollout_id, step, now_ns=now_ns, actor="user:olga")


def tick(service: RolloutService, now_ns: int, _rollout_id: str) -> None:
    service.tick(now_ns)


STEPS: dict[str, tuple[Callable[[Fleet], str], Step, str]] = {  # what was before, the step, the state that follows
    "start": (lambda _: "", lambda service, now_ns, _: service.start(GOOD, now_ns=now_ns), "running"),
    "pause": (begun, steer("pause"), "paused"),
    "resume": (paused, steer("resume"), "running"),
    "abort": (begun, steer("abort"), "aborted"),
    "roll back": (begun, steer("rollback"), "halted"),
    "roll back what is done": (done, steer("rollback"), "halted"),
    "a stage passes": (ready_to_pass, tick, "running"),
    "a gate halts": (ready_to_halt, tick, "halted"),
    "everyone has returned": (lambda fleet: judged_next(fleet, FLOOD, "halted"), tick, "rolled_back"),
}


def whole_state(engine: Engine) -> list[list[Any]]:
    with engine.connect() as connection:
        return [[tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key))] for table in STATE]


@pytest.mark.parametrize("name", STEPS)
def test_killed_at_any_statement_of_a_step_the_hub_is_where_it_was_and_takes_it_again(fleet: Fleet, name: str) -> None:
    prepare, step, follows = STEPS[name]
    rollout_id = prepare(fleet)
    before = whole_state(fleet.engine)
    url, now_ns = fleet.engine.url.render_as_string(), fleet.now_ns
    n_kills = 0
    while True:

        def work(nth: int = n_kills + 1) -> None:
            engine = open_state(url)
            at_statement(engine, nth)
            step(RolloutService(engine), now_ns, rollout_id)

        fleet.engine.dispose()
        if not killed(work):
            break
        n_kills += 1
        assert whole_state(fleet.engine) == before, f"half a step was left by kill {n_kills}"
    assert n_kills >= 3, "there is something to be killed at: the row, the event, the audit log, the commit"
    assert whole_state(fleet.engine) != before
    assert next(row["state"] for row in fleet.service.list()) == follows
