"""Whole rollouts in virtual time, on the hub's real state, with the hub's own check-in and evidence."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Engine, event, select

from hub.audit.log import read_entries
from hub.registry.approval import approve
from hub.rollout.desired import desired_slots
from hub.rollout.machine import Plan
from hub.rollout.service import RolloutService
from hub.rollout.store import in_states
from hub.state.schema import fleet_bundles, stage_evidence
from models.errors import BundleError, RolloutError
from tests.learning.fleet import Device, Fleet, S

GOOD, BETTER, FLOOD = "pump-v1-00000001", "pump-v2-00000002", "pump-v3-00000003"


@pytest.fixture
def fleet(engine: Engine) -> Fleet:
    """Six devices on two sites; GOOD rings a little, FLOOD all the time."""
    devices = [Device(f"gw-{i}", site=f"site-{i % 2}") for i in range(6)]
    fleet = Fleet(engine, devices)
    fleet.publish(GOOD, 1, rings=0.005)
    fleet.publish(BETTER, 2)
    fleet.publish(FLOOD, 3, rings=0.9)
    return fleet


def _start(fleet: Fleet, bundle_id: str, **options: object) -> str:
    return fleet.service.start(bundle_id, now_ns=fleet.now_ns, **options)  # type: ignore[arg-type]


def _events(fleet: Fleet, rollout_id: str) -> list[tuple[str, str]]:
    return [(event["stage"], event["event"]) for event in fleet.service.get(rollout_id)["events"]]


def _fleet_bundle(engine: Engine) -> str | None:
    with engine.begin() as connection:
        return connection.execute(select(fleet_bundles.c.bundle_id)).scalar()


def test_a_good_model_goes_from_shadow_to_the_whole_fleet(fleet: Fleet) -> None:
    rollout_id = _start(fleet, GOOD)
    assert fleet.run(rollout_id, "done") == ["shadow", "canary", "wave 1"]
    fleet.step()
    assert set(fleet.active().values()) == {GOOD}
    assert _fleet_bundle(fleet.engine) == GOOD
    assert [event for _, event in _events(fleet, rollout_id) if event != "wait"] == ["started", "pass", "pass", "pass", "done"]


def test_during_shadow_nobody_is_decided_for_by_the_candidate(fleet: Fleet) -> None:
    rollout_id = _start(fleet, GOOD)
    fleet.step(windows=2)
    canaries = fleet.service.get(rollout_id)["plan"]["stages"][0]["devices"]
    assert set(fleet.active().values()) == {None}
    assert {d.device_id for d in fleet.devices.values() if d.shadow == GOOD} == set(canaries)


def test_the_second_model_is_compared_with_the_first_which_stays_in_shadow(fleet: Fleet) -> None:
    fleet.run(_start(fleet, GOOD), "done")
    rollout_id = _start(fleet, BETTER, skip_shadow=True, canaries=2)
    fleet.step(windows=1)
    canaries = fleet.service.get(rollout_id)["plan"]["stages"][0]["devices"]
    for device in fleet.devices.values():
        expected = (BETTER, GOOD) if device.device_id in canaries else (GOOD, None)
        assert (device.active, device.shadow) == expected
    assert fleet.run(rollout_id, "done") == ["canary", "wave 1"]
    fleet.step()
    assert {(device.active, device.shadow) for device in fleet.devices.values()} == {(BETTER, None)}


def test_a_flood_halts_at_the_canary_and_every_device_returns_to_the_incumbent(fleet: Fleet) -> None:
    fleet.run(_start(fleet, GOOD), "done")
    rollout_id = _start(fleet, FLOOD, skip_shadow=True)
    assert fleet.run(rollout_id, "rolled_back") == ["canary"]
    assert set(fleet.active().values()) == {GOOD}
    assert _fleet_bundle(fleet.engine) == GOOD
    found = fleet.service.get(rollout_id)
    halt = next(event for event in found["events"] if event["event"] == "halt")
    verdicts = {gate["gate"]: gate["verdict"] for gate in halt["figures"]["gates"]}
    assert verdicts["alarm_rate"] == "halt"
    assert "alarm_rate" in found["reason"]
    assert found["events"][-1]["event"] == "rolled_back"
    assert found["events"][-1]["final"]


def test_a_flood_in_shadow_never_decides_anywhere(fleet: Fleet) -> None:
    rollout_id = _start(fleet, FLOOD)
    assert fleet.run(rollout_id, "rolled_back") == ["shadow"]
    assert {(device.active, device.shadow) for device in fleet.devices.values()} == {(None, None)}


def test_a_first_model_that_floods_gives_way_to_the_baseline(fleet: Fleet) -> None:
    fleet.run(_start(fleet, FLOOD, skip_shadow=True), "rolled_back")
    assert set(fleet.active().values()) == {None}
    with fleet.engine.begin() as connection:
        (slots,) = desired_slots(connection, "gw-0", ["pump"])
    assert (slots.active, slots.shadow) == (None, None)


def test_without_evidence_it_waits_for_ever(fleet: Fleet) -> None:
    rollout_id = _start(fleet, GOOD)
    for _ in range(60):
        fleet.step(windows=0, seconds=3600)
    found = fleet.service.get(rollout_id)
    assert (found["state"], found["stage"]) == ("running", "shadow")
    waits = [event for event in found["events"] if event["event"] == "wait"]
    assert len(waits) == 1, "one row, brought up to date, not one a tick"
    assert "evidence: 0 of 60 windows" in waits[0]["figures"]["reason"]


def test_windows_of_faulty_sensors_move_nothing(fleet: Fleet) -> None:
    for device in fleet.devices.values():
        device.faulty = True
    rollout_id = _start(fleet, FLOOD)
    for _ in range(20):
        fleet.step(windows=10)
    assert fleet.service.get(rollout_id)["state"] == "running"
    with fleet.engine.begin() as connection:
        rows = connection.execute(select(stage_evidence)).all()
    assert rows
    assert all(row.n_windows == 0 and row.n_faulty == 200 for row in rows)


def test_windows_of_an_asset_that_still_learns_its_normal_are_no_evidence(fleet: Fleet) -> None:
    for device in fleet.devices.values():
        device.commissioning = True
    rollout_id = _start(fleet, FLOOD)
    for _ in range(20):
        fleet.step(windows=10)
    assert fleet.service.get(rollout_id)["state"] == "running"
    with fleet.engine.begin() as connection:
        assert connection.execute(select(stage_evidence)).all() == []


def test_a_refusal_on_one_canary_halts(fleet: Fleet) -> None:
    for device in fleet.devices.values():
        device.refuses.add(GOOD)
    rollout_id = _start(fleet, GOOD)
    fleet.run(rollout_id, "rolled_back")
    assert "self_test: refused by" in fleet.service.get(rollout_id)["reason"]


def test_an_old_refusal_whose_cause_is_gone_does_not_halt_the_next_rollout(fleet: Fleet) -> None:
    for device in fleet.devices.values():
        device.refuses.add(GOOD)
    fleet.run(_start(fleet, GOOD), "rolled_back")
    for device in fleet.devices.values():
        device.refuses.clear()
    fleet.step()
    rollout_id = _start(fleet, GOOD)
    assert rollout_id == "pump-v1-r2"
    assert fleet.run(rollout_id, "done") == ["shadow", "canary", "wave 1"]


def test_an_agent_that_keeps_restarting_halts(fleet: Fleet) -> None:
    rollout_id = _start(fleet, GOOD)
    fleet.step(windows=1)
    canary = fleet.service.get(rollout_id)["plan"]["stages"][0]["devices"][0]
    fleet.devices[canary].starts += 3
    fleet.run(rollout_id, "rolled_back")
    assert f"restarts: {canary} restarted 3 times" in fleet.service.get(rollout_id)["reason"]


def test_an_agent_that_keeps_restarting_halts_also_where_it_lost_what_it_had_stored(fleet: Fleet) -> None:
    for device in fleet.devices.values():
        device.starts = 50
    fleet.check_in()
    rollout_id = _start(fleet, GOOD)
    fleet.step(windows=1)
    canary = fleet.service.get(rollout_id)["plan"]["stages"][0]["devices"][0]
    fleet.devices[canary].starts, fleet.devices[canary].epoch = 3, "e2"  # on a new outbox it counts from 1
    fleet.run(rollout_id, "rolled_back")
    assert f"restarts: {canary} restarted 3 times" in fleet.service.get(rollout_id)["reason"]


def test_a_candidate_that_tells_no_number_is_no_evidence(fleet: Fleet) -> None:
    fleet.p_value = float("nan")
    rollout_id = _start(fleet, GOOD)
    for _ in range(20):
        fleet.step()
    assert fleet.service.get(rollout_id)["stage"] == "shadow"


def test_a_plan_is_read_once_until_it_changes(fleet: Fleet) -> None:
    """Each batch of check-ins asks for it, and of ten thousand devices it is half a megabyte."""

    def plan() -> Plan:
        with fleet.engine.begin() as connection:
            return in_states(connection)[0].plan

    rollout_id = _start(fleet, GOOD)
    first = plan()
    assert plan() is first
    for device in fleet.devices.values():
        device.starts += 1
    while fleet.service.get(rollout_id)["stage"] == "shadow":
        fleet.step()
    assert set(plan().starts.values()) == {2}


def test_restarts_are_counted_anew_in_each_stage(fleet: Fleet) -> None:
    rollout_id = _start(fleet, GOOD)
    fleet.step(windows=1)
    canary = fleet.service.get(rollout_id)["plan"]["stages"][0]["devices"][0]
    fleet.devices[canary].starts += 2
    while fleet.service.get(rollout_id)["stage"] == "shadow":
        fleet.step()
    fleet.devices[canary].starts += 2
    fleet.run(rollout_id, "done")


def test_a_device_that_held_the_candidate_before_the_stage_began_has_yet_to_say_that_it_does(fleet: Fleet) -> None:
    first = _start(fleet, GOOD)
    fleet.step(windows=1)
    fleet.service.abort(first, now_ns=fleet.now_ns)
    fleet.now_ns += 10**9
    gates = fleet.service.get(_start(fleet, GOOD, canaries=6))["gates"]
    assert next(gate for gate in gates if gate["gate"] == "presence")["figures"]["present"] == 0


def test_a_device_that_may_hold_the_candidate_unheard_is_waited_for_before_it_is_rolled_back(fleet: Fleet) -> None:
    rollout_id = _start(fleet, GOOD)
    canary = fleet.service.get(rollout_id)["plan"]["stages"][0]["devices"][0]
    fleet.devices[canary].online = False
    fleet.service.roll_back(rollout_id, now_ns=fleet.now_ns + 10**9)
    fleet.step()
    assert fleet.service.get(rollout_id)["state"] == "halted"
    fleet.devices[canary].online = True
    fleet.step()
    assert fleet.service.get(rollout_id)["state"] == "rolled_back"


def test_a_canary_that_is_away_is_waited_for(fleet: Fleet) -> None:
    rollout_id = _start(fleet, GOOD, canaries=2)
    canary = fleet.service.get(rollout_id)["plan"]["stages"][0]["devices"][0]
    fleet.devices[canary].online = False
    for _ in range(30):
        fleet.step()
    assert fleet.service.get(rollout_id)["state"] == "running"
    fleet.devices[canary].online = True
    fleet.run(rollout_id, "done")


@pytest.mark.parametrize(("bundle_id", "end", "lands_on"), [(BETTER, "done", BETTER), (FLOOD, "rolled_back", GOOD)])
def test_a_device_that_was_away_for_the_whole_rollout_lands_right(
    fleet: Fleet, bundle_id: str, end: str, lands_on: str
) -> None:
    fleet.run(_start(fleet, GOOD), "done")
    rollout_id = _start(fleet, bundle_id, canaries=1)
    canary = fleet.service.get(rollout_id)["plan"]["stages"][0]["devices"][0]
    away = next(device for device in fleet.devices.values() if device.device_id != canary)
    away.online = False
    fleet.run(rollout_id, end)
    assert away.active == GOOD
    away.online = True
    fleet.step()
    assert (away.active, away.shadow) == (lands_on, None)


def test_a_canary_that_vanishes_with_the_bad_model_is_not_waited_for_but_is_sent_back_when_it_comes(fleet: Fleet) -> None:
    rollout_id = _start(fleet, FLOOD, skip_shadow=True, canaries=1, absent_after_s=60.0)
    fleet.run(rollout_id, "halted")
    canary = fleet.devices[fleet.service.get(rollout_id)["plan"]["stages"][0]["devices"][0]]
    canary.online = False
    assert canary.active == FLOOD
    fleet.step(seconds=30)
    assert fleet.service.get(rollout_id)["state"] == "halted", "it was seen half a minute ago: it may still come"
    fleet.step(seconds=60)
    found = fleet.service.get(rollout_id)
    assert found["state"] == "rolled_back"
    assert found["events"][-1]["figures"]["absent"] == [canary.device_id]
    canary.online = True
    fleet.step()
    assert canary.active is None


def test_evidence_from_before_the_swap_is_not_taken_for_the_canary_stage(fleet: Fleet) -> None:
    rollout_id = _start(fleet, GOOD, canaries=1)
    while fleet.service.get(rollout_id)["stage"] == "shadow":
        fleet.step()
    fleet.send_windows(500)  # measured while the candidate still was in shadow, delivered late
    fleet.service.tick(fleet.now_ns)
    assert fleet.service.get(rollout_id)["stage"] == "canary"
    with fleet.engine.begin() as connection:
        rows = connection.execute(select(stage_evidence.c.stage)).scalars().all()
    assert set(rows) == {"shadow"}


def test_paused_goes_no_further_but_a_flood_still_halts(fleet: Fleet) -> None:
    first = _start(fleet, GOOD)
    fleet.service.pause(first, now_ns=fleet.now_ns)
    for _ in range(20):
        fleet.step(windows=20)
    assert (fleet.service.get(first)["state"], fleet.service.get(first)["stage"]) == ("paused", "shadow")
    fleet.service.resume(first, now_ns=fleet.now_ns)
    fleet.run(first, "done")
    second = _start(fleet, FLOOD)
    fleet.service.pause(second, now_ns=fleet.now_ns)
    fleet.run(second, "rolled_back")


def test_abort_sends_everyone_back_at_once(fleet: Fleet) -> None:
    rollout_id = _start(fleet, GOOD, skip_shadow=True)
    fleet.step(windows=1)
    assert GOOD in fleet.active().values()
    fleet.service.abort(rollout_id, now_ns=fleet.now_ns)
    fleet.step(windows=1)
    assert set(fleet.active().values()) == {None}
    assert fleet.service.get(rollout_id)["state"] == "aborted"


def test_a_done_rollout_can_be_rolled_back_while_the_fleet_still_runs_it(fleet: Fleet) -> None:
    first, second = _start(fleet, GOOD), ""
    fleet.run(first, "done")
    second = _start(fleet, BETTER)
    fleet.run(second, "done")
    with pytest.raises(RolloutError, match="has moved on"):
        fleet.service.roll_back(first, now_ns=fleet.now_ns)
    fleet.service.roll_back(second, now_ns=fleet.now_ns)
    fleet.run(second, "rolled_back")
    assert set(fleet.active().values()) == {GOOD}
    assert _fleet_bundle(fleet.engine) == GOOD


def test_a_device_that_came_after_the_rollout_was_done_is_waited_for_like_the_others(fleet: Fleet) -> None:
    rollout_id = _start(fleet, GOOD)
    fleet.run(rollout_id, "done")
    late = fleet.join(Device("gw-late"))
    fleet.step()
    assert late.active == GOOD
    fleet.service.roll_back(rollout_id, now_ns=fleet.now_ns)
    late.stuck = True
    fleet.step()
    fleet.step()
    assert fleet.service.get(rollout_id)["state"] == "halted"
    late.stuck = False
    fleet.step()
    assert fleet.service.get(rollout_id)["state"] == "rolled_back"


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (lambda fleet: _start(fleet, "pump-v9-none"), "no bundle 'pump-v9-none'; the latest are"),
        (lambda fleet: (_start(fleet, GOOD), _start(fleet, BETTER)), "rollout pump-v1-r1 of pump is running"),
        (lambda fleet: (fleet.run(_start(fleet, GOOD), "done"), _start(fleet, GOOD)), "is what pump devices run already"),
        (lambda fleet: fleet.service.pause("r-none", now_ns=0), "no rollout 'r-none'"),
        (lambda fleet: fleet.service.resume(_start(fleet, GOOD), now_ns=0), "cannot resume a rollout that is running"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(
    fleet: Fleet, attempt: Callable[[Fleet], object], message: str
) -> None:
    with pytest.raises(RolloutError, match=message):
        attempt(fleet)
    assert len(fleet.service.list()) <= 1


def test_devices_of_another_feature_spec_are_not_rolled_out_to(engine: Engine) -> None:
    fleet = Fleet(engine, [])
    fleet.publish(GOOD, 1)
    with pytest.raises(RolloutError, match="no device of this profile and feature spec"):
        _start(fleet, GOOD)
    assert fleet.service.list() == []


class _Killed(BaseException):
    """Stands for a power cut inside a transaction."""


@pytest.mark.parametrize("bundle_id", [GOOD, FLOOD])
@pytest.mark.parametrize("function", ["change", "note_event", "set_fleet_bundle"])
def test_killed_in_the_middle_of_any_decision_it_ends_the_same(
    fleet: Fleet, bundle_id: str, function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each decision is cut off once right after `function`, whichever it is, and taken again by a new process."""
    from hub.rollout import store

    real = getattr(store, function)
    cut: set[object] = set()

    def dies_once_per_decision(connection, rollout, *args, **values):  # type: ignore[no-untyped-def]
        real(connection, rollout, *args, **values)
        decision = (fleet.service.list()[0]["state"], fleet.service.list()[0]["stage"], args[:1])
        if decision not in cut:
            cut.add(decision)
            raise _Killed

    rollout_id = _start(fleet, bundle_id, skip_shadow=True)
    monkeypatch.setattr(store, function, dies_once_per_decision)
    tick = RolloutService.tick

    def survives(service: RolloutService, now_ns: int) -> None:
        before = fleet.service.get(rollout_id)
        try:
            tick(service, now_ns)
        except _Killed:
            after = fleet.service.get(rollout_id)
            assert (after["state"], after["stage"], after["events"]) == (before["state"], before["stage"], before["events"])

    monkeypatch.setattr(RolloutService, "tick", survives)
    fleet.run(rollout_id, "done" if bundle_id == GOOD else "rolled_back")
    assert cut or function == "set_fleet_bundle"
    fleet.step()
    assert set(fleet.active().values()) == {GOOD if bundle_id == GOOD else None}
    decided = [event["event"] for event in fleet.service.get(rollout_id)["events"] if event["event"] != "wait"]
    assert decided == (["started", "pass", "pass", "done"] if bundle_id == GOOD else ["started", "halt", "rolled_back"])


def test_a_model_that_makes_agents_grow_is_halted(fleet: Fleet) -> None:
    rollout_id = _start(fleet, GOOD)
    fleet.step()
    for device in fleet.devices.values():
        device.rss_bytes += 100 * 2**20 if device.shadow == GOOD else 0
    fleet.run(rollout_id, "rolled_back")
    assert "memory: most by 100.0 MiB" in fleet.service.get(rollout_id)["reason"]


def test_where_approval_is_required_no_rollout_starts_without(fleet: Fleet) -> None:
    service = RolloutService(fleet.engine, require_approval=True)
    with pytest.raises(RolloutError, match=f"nobody has approved {GOOD}"):
        service.start(GOOD, now_ns=fleet.now_ns)
    assert service.list() == []
    with fleet.engine.begin() as connection:
        approve(connection, GOOD, approver="the shift's engineer", actor="user:a", now_ns=5)
        with pytest.raises(BundleError, match="was approved already, by the shift's engineer"):
            approve(connection, GOOD, approver="somebody", actor="user:b", now_ns=6)
        (entry,) = read_entries(connection)
    assert (entry.action, entry.subject, entry.actor) == ("bundle.approve", GOOD, "user:a")
    assert service.start(GOOD, now_ns=fleet.now_ns)


class _Killed(BaseException):
    """The process is gone: nobody handles it."""


def test_a_hub_killed_in_any_transaction_of_a_rollout_ends_where_one_that_never_was_killed_does(fleet: Fleet) -> None:
    """Each step is tried, cut off just before its commit, and done again by a service that knows only the database."""
    rollout_id = _start(fleet, GOOD)
    cut_off = 0
    for _ in range(60):
        fleet.now_ns += 10 * S
        fleet.check_in()
        fleet.send_windows(5)
        before = fleet.service.get(rollout_id)

        def die(connection: object) -> None:
            raise _Killed

        event.listen(fleet.engine, "commit", die)
        try:
            fleet.service.tick(fleet.now_ns)
        except _Killed:
            cut_off += 1
        finally:
            event.remove(fleet.engine, "commit", die)
        assert fleet.service.get(rollout_id) == before, "half a decision stayed"
        fleet.service.tick(fleet.now_ns)
        if fleet.service.get(rollout_id)["ended"]:
            break
    fleet.step()
    assert cut_off > 3
    assert set(fleet.active().values()) == {GOOD}
    assert [event for _, event in _events(fleet, rollout_id) if event != "wait"] == ["started", "pass", "pass", "pass", "done"]
