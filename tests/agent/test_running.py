"""A rig that stops and starts under an agent's pipeline, in virtual time: what is told of it, and what is not."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from agent.asset import SavedState
from models.contract.items import Aggregate, Alert, Body, Commissioning, SensorFault, decode_body, encode_body, unpack_floats
from models.contract.profile import Profile, RunningPlan
from tests.agent.machine import Machine, only
from tests.builders import RATE_HZ, rig, rows, running

PLAN = RunningPlan(channel="flow", above=10.0, settle_s=60.0, stop_s=30.0)
PROFILE = msgspec.structs.replace(rig(windows=30), running=PLAN)
ALWAYS = msgspec.structs.replace(PROFILE, running=None)
RAMP_S, WARM_S = 20.0, 15.0
WORN = (0.0, -1.5, 0.0)


class Shift(Machine):
    """A machine that also rests. At rest flow and pressure read exactly 0, and the temperature falls to the hall's; it
    coasts for `RAMP_S`, and is warm after a minute and a half."""

    def __init__(
        self, profile: Profile = PROFILE, saved: SavedState | None = None, now_s: float = 0.0, warm: float = 1.0
    ) -> None:
        super().__init__(profile, saved, now_s)
        self.warm = warm

    def stop(self) -> list[Body]:
        return self._play(np.linspace(1, 0, round(RAMP_S * RATE_HZ)))

    def rest(self, seconds: float, blank: Sequence[int] = ()) -> list[Body]:
        return self._play(np.zeros(round(seconds * RATE_HZ)), blank)

    def start(self) -> list[Body]:
        return self._play(np.minimum(1, np.arange(round(60 * RATE_HZ)) / RATE_HZ / RAMP_S))

    def night(self) -> list[Body]:
        return [*self.stop(), *self.rest(600), *self.start()]

    def _play(self, speed: NDArray[np.float64], blank: Sequence[int] = ()) -> list[Body]:
        values = running(len(speed) / RATE_HZ, self.seed, self.now_s)
        values[:, 0] *= speed
        values[:, 1] *= speed**2
        for row, each in zip(values, speed, strict=True):
            self.warm += (float(each > 0) - self.warm) / (WARM_S * RATE_HZ)
            row[2] -= 35 * (1 - self.warm)
        values[:, list(blank)] = np.nan
        readings = rows(values, self.now_s)
        self.now_s += len(speed) / RATE_HZ
        return self.feed(readings)


def told(bodies: Sequence[Body]) -> list[Body]:
    return [body for body in bodies if isinstance(body, Alert | SensorFault)]


def test_stops_and_starts_ring_no_bell_and_are_no_sensors_fault() -> None:
    machine = Shift().learned()
    bodies = [body for _ in range(5) for body in (*machine.night(), *machine.run(600))]
    assert told(bodies) == []
    assert any(isinstance(body, Alert) for body in Shift(ALWAYS).learned().night()), "as they do without a plan"


def test_windows_at_rest_and_after_a_start_are_kept_but_not_judged() -> None:
    machine = Shift().learned()
    windows = only(Aggregate, [*machine.night(), *machine.run(120)])
    unjudged = [window for window in windows if window.partial]
    assert 600 / 10 + 60 / 10 <= len(unjudged) <= 600 / 10 + 60 / 10 + 6
    assert not any(window.scores or window.top or window.alarm for window in unjudged)
    assert all(len(unpack_floats(window.features)) == 18 for window in unjudged)
    assert all(window.scores for window in windows if not window.partial)


def test_it_learns_from_running_alone_and_takes_back_what_was_a_stop() -> None:
    resting, always = Shift(), Shift()
    bodies: list[Body] = resting.rest(100)
    for _ in range(4):
        bodies += [*resting.start(), *resting.run(100), *resting.stop(), *resting.rest(100)]
    (learned,) = only(Commissioning, bodies)
    (expected,) = only(Commissioning, always.run(302))
    location, scale = unpack_floats(expected.location), unpack_floats(expected.scale)
    assert np.abs((unpack_floats(learned.location) - location) / scale).max() < 1.5
    assert (unpack_floats(learned.scale) / scale).max() < 2.5


def test_a_fault_is_found_while_it_runs_and_after_a_rest() -> None:
    machine = Shift().learned()
    machine.night()
    machine.run(300)
    (opened,) = only(Alert, machine.run(60, WORN))
    assert opened.top[0][0] == "pressure"


def test_an_open_alert_stays_open_over_a_rest_and_closes_once_the_machine_runs_well_again() -> None:
    machine = Shift().learned()
    (opened,) = only(Alert, machine.run(60, WORN))
    assert told(machine.night()) == []
    assert machine.watch.state == "alarm"
    assert machine.watch.alert == opened, "a stop makes it no graver"
    (closed,) = only(Alert, machine.run(120))
    assert (closed.alert_id, closed.closed_ns is not None) == (opened.alert_id, True)


def test_a_fault_that_makes_the_channel_fall_is_told_once_it_was_no_stop() -> None:
    machine = Shift().learned()
    before_s = machine.now_s
    (opened,) = only(Alert, machine.run(120, (-15.0, -1.5, 0)))
    waited_s = (opened.opened_ns - only(Aggregate, Shift().run(20))[0].start_ns) / 1e9 - before_s
    assert 30 <= waited_s <= 70


def test_what_is_said_of_it_at_rest_is_no_stale_score() -> None:
    machine = Shift().learned()
    machine.run(60)
    assert machine.watch.p_value is not None
    machine.stop()
    machine.rest(60)
    assert (machine.watch.state, machine.watch.phase, machine.watch.p_value) == ("normal", "rest", None)
    assert machine.watch.rest_since_ns is not None
    machine.start()
    assert (machine.watch.phase, machine.watch.rest_since_ns) == ("starting", None)
    machine.run(120)
    assert machine.watch.phase in ("running", "stopping")
    assert machine.watch.p_value is not None


@pytest.mark.parametrize("channel", [0])
def test_without_its_channel_the_machine_is_judged_as_if_it_ran(channel: int) -> None:
    machine = Shift().learned()
    windows = only(Aggregate, machine.run(100, blank=[channel]))
    assert all(window.scores and not window.partial for window in windows[1:])
    assert any(isinstance(body, Alert) for body in machine.run(60, WORN, blank=[channel]))
    assert all(window.scores for window in only(Aggregate, machine.rest(60, blank=[channel]))[1:])


def test_a_channel_that_dies_to_zero_at_once_is_the_sensors_fault_and_the_machine_is_judged_on() -> None:
    machine = Shift().learned()
    machine.run(300)
    values = running(200, machine.seed, machine.now_s)
    values[:, 0] = 0.0
    bodies = machine.feed(rows(values, machine.now_s))
    machine.now_s += 200
    assert {(fault.channel, fault.fault) for fault in only(SensorFault, bodies)} <= {("flow", "step"), ("flow", "stuck")}
    assert only(SensorFault, bodies)
    assert [window.partial for window in only(Aggregate, bodies)][2:] == [False] * 18


def test_a_restart_at_rest_finds_it_at_rest_and_waits_for_the_start() -> None:
    machine = Shift().learned()
    machine.stop()
    machine.rest(100)
    after = Shift(saved=machine.watch.saved(), now_s=machine.now_s, warm=machine.warm)
    bodies = [*after.rest(100), *after.start(), *after.run(300)]
    assert told(bodies) == []
    assert after.watch.state == "normal"


class _OldAggregate(msgspec.Struct, frozen=True, kw_only=True):
    """What a hub knew of a window before clocks could cut one short."""

    asset: str
    start_ns: int
    end_ns: int
    features: bytes
    commissioning: bool = False


def test_an_old_hub_reads_a_window_at_rest_and_a_new_one_an_old_devices() -> None:
    machine = Shift().learned()
    machine.stop()
    (window, *_) = only(Aggregate, machine.rest(100))[3:]
    old = msgspec.msgpack.decode(encode_body(window), type=_OldAggregate)
    assert (old.start_ns, old.features) == (window.start_ns, window.features)
    assert decode_body("aggregate", encode_body(window)) == window
    fields = msgspec.msgpack.decode(encode_body(window))
    del fields["partial"]
    assert not decode_body("aggregate", msgspec.msgpack.encode(fields)).partial  # type: ignore[attr-defined]
