"""Rollouts as they are run: started and steered by people, moved on by `tick`.

Invariants:
1. One transaction per decision: state, stage, fleet bundle and event change together. A hub that is killed at any point
   goes on from the last decision; nothing lives in memory.
2. One open rollout per profile.
3. A paused rollout goes no further, but its evidence is still judged: a flood halts it all the same.
4. Each decision is an event with the figures it was made on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, Row, func, insert, select

from hub.registry.approval import approval_of
from hub.rollout import store
from hub.rollout.figures import agents_of, eligible_members, returning, stage_figures
from hub.rollout.gates import GateSettings, judge, overall
from hub.rollout.history import note_point
from hub.rollout.machine import ASSIGNING, Event, Plan, State, make_plan, next_state
from hub.rollout.store import HUB, Rollout
from hub.state.database import reading
from hub.state.schema import fleet_bundles, rollouts
from models.errors import RolloutError


@dataclass(frozen=True, slots=True)
class Wishes:
    """What whoever starts a rollout may choose. None = by the fleet's size (`canaries`), as the gates say (`min_windows`)."""

    skip_shadow: bool = False
    canaries: int | None = None
    min_windows: int | None = None
    waves: int = 1


class RolloutService:
    """Safe to use from several threads and processes: every method is one transaction, or one per rollout."""

    def __init__(self, engine: Engine, *, require_approval: bool = False) -> None:
        self._engine = engine
        self._require_approval = require_approval

    def start(
        self,
        bundle_id: str,
        *,
        now_ns: int,
        skip_shadow: bool = False,
        canaries: int | None = None,
        min_windows: int | None = None,
        waves: int = 1,
        absent_after_s: float = 300.0,
        actor: str = HUB,
    ) -> str:
        """Begin to bring `bundle_id` to its profile's devices; the rollout's id.

        Raises RolloutError: unknown or unsigned bundle, not approved where that is required, another rollout open, already what
        the fleet runs, no device to roll out to.
        """
        with self._engine.begin() as connection:
            bundle = store.bundle_row(connection, bundle_id)
            if bundle.signed_ns is None:
                raise RolloutError(f"{bundle_id} waits for its profile's key: `tocsin hub sign` signs it")
            if self._require_approval and approval_of(connection, bundle_id) is None:
                raise RolloutError(f"nobody has approved {bundle_id}; `tocsin hub bundles approve {bundle_id} --by NAME` does")
            _claim_profile(connection, bundle.profile, now_ns)
            incumbent_id = store.fleet_bundle(connection, bundle.profile)
            _refuse_needless(connection, bundle.profile, bundle_id, incumbent_id)
            rollout_id = _new_id(connection, bundle.profile, bundle.version, bundle_id)
            wishes = Wishes(skip_shadow=skip_shadow, canaries=canaries, min_windows=min_windows, waves=waves)
            plan = _plan(connection, bundle, rollout_id, wishes, now_ns, absent_after_s)
            rollout = Rollout(
                rollout_id=rollout_id,
                profile=bundle.profile,
                bundle_id=bundle_id,
                incumbent_id=incumbent_id,
                state="running",
                stage=0,
                since_ns=now_ns,
                plan=_with_starts(connection, plan, 0),
                created_ns=now_ns,
                ended_ns=None,
                reason="",
            )
            store.add(connection, rollout)
            figures = {"incumbent": incumbent_id, **_cohorts(plan)}
            store.note_event(connection, rollout, "started", figures, now_ns=now_ns, actor=actor)
        return rollout_id

    def preview(self, bundle_id: str, wishes: Wishes, *, now_ns: int) -> Plan:
        """The plan that `start` would make now; nothing is begun. Raises RolloutError: no such bundle, no device for it."""
        with reading(self._engine).begin() as connection:
            bundle = store.bundle_row(connection, bundle_id)
            rollout_id = _new_id(connection, bundle.profile, bundle.version, bundle_id)
            return _plan(connection, bundle, rollout_id, wishes, now_ns)

    def tick(self, now_ns: int) -> None:
        """Judge every open rollout and take the step that follows, if any."""
        with reading(self._engine).begin() as connection:
            open_ids = [rollout.rollout_id for rollout in store.in_states(connection)]
        for rollout_id in open_ids:
            with self._engine.begin() as connection:
                rollout = store.load(connection, rollout_id)
                if rollout.state in ASSIGNING:
                    _judge_stage(connection, rollout, now_ns)
                elif rollout.state == "halted":
                    _judge_return(connection, rollout, now_ns)

    def steer(self, rollout_id: str, step: str, *, now_ns: int, actor: str = HUB) -> None:
        """`pause`, `resume`, `abort` or `rollback`. Raises RolloutError."""
        steps = {"pause": self.pause, "resume": self.resume, "abort": self.abort, "rollback": self.roll_back}
        if step not in steps:
            raise RolloutError(f"no step {step[:80]!r}; there are {', '.join(steps)}")
        steps[step](rollout_id, now_ns=now_ns, actor=actor)

    def pause(self, rollout_id: str, *, now_ns: int, actor: str = HUB) -> None:
        """Hold it at its stage. Raises RolloutError where it is not running."""
        self._steer(rollout_id, "pause", "paused", now_ns, actor)

    def resume(self, rollout_id: str, *, now_ns: int, actor: str = HUB) -> None:
        """Go on from its stage. Raises RolloutError where it is not paused."""
        self._steer(rollout_id, "resume", "resumed", now_ns, actor)

    def abort(self, rollout_id: str, *, now_ns: int, reason: str = "aborted by hand", actor: str = HUB) -> None:
        """End it now: every device is told to return to the incumbent, and nobody waits for it to be confirmed."""
        self._steer(rollout_id, "abort", "aborted", now_ns, actor, reason=reason, ended_ns=now_ns)

    def roll_back(self, rollout_id: str, *, now_ns: int, reason: str = "rolled back by hand", actor: str = HUB) -> None:
        """Return every device to the incumbent and see it confirmed; also after the rollout is done, while it still holds.

        Raises RolloutError where its state does not allow it, or the fleet runs another bundle by now.
        """
        with self._engine.begin() as connection:
            rollout = store.load(connection, rollout_id)
            if rollout.state == "done":
                _claim_profile(connection, rollout.profile, now_ns)
                current = store.fleet_bundle(connection, rollout.profile)
                if current != rollout.bundle_id or store.in_states(connection, profile=rollout.profile):
                    raise RolloutError(f"{rollout.profile} has moved on from {rollout.bundle_id}; roll out what it should run")
                store.set_fleet_bundle(connection, rollout.profile, rollout.incumbent_id, now_ns)
            _halt(connection, rollout, {"reason": reason, "gates": []}, now_ns, actor)

    def list(self, profile: str | None = None, limit: int = 50, after: tuple[int, str] | None = None) -> list[dict[str, Any]]:
        """Summaries, newest first, JSON-able. `after`: `created_ns` and id of the last one that is known already."""
        with reading(self._engine).begin() as connection:
            return [_summary(rollout) for rollout in store.latest(connection, limit, profile, after)]

    def get(self, rollout_id: str) -> dict[str, Any]:
        """Summary, plan, events and, while it is on, every gate's present verdict; JSON-able. Raises RolloutError."""
        with reading(self._engine).begin() as connection:
            rollout = store.load(connection, rollout_id)
            judged = judge(stage_figures(connection, rollout)) if rollout.state in ASSIGNING else []
            return {
                **_summary(rollout),
                "plan": rollout.plan.to_json(),
                "gates": [verdict.to_json() for verdict in judged],
                "events": store.events_of(connection, rollout_id),
            }

    def _steer(self, rollout_id: str, event: Event, noted: str, now_ns: int, actor: str, **values: Any) -> None:
        with self._engine.begin() as connection:
            rollout = store.load(connection, rollout_id)
            state = next_state(rollout.state, event)
            store.change(connection, rollout_id, state=state, **values)
            store.note_event(connection, rollout, noted, values, now_ns=now_ns, final=event == "abort", actor=actor)


def _judge_stage(connection: Connection, rollout: Rollout, now_ns: int) -> None:
    """One decision on a running or paused rollout."""
    verdicts = judge(stage_figures(connection, rollout))
    verdict, reason = overall(verdicts)
    figures = {"reason": reason, "gates": [v.to_json() for v in verdicts]}
    note_point(connection, rollout, verdict, verdicts, now_ns)
    if verdict == "halt":
        _halt(connection, rollout, figures, now_ns)
    elif rollout.state == "paused":
        return
    elif verdict == "wait":
        store.note_event(connection, rollout, "wait", figures, now_ns=now_ns)
    else:
        store.note_event(connection, rollout, "pass", figures, now_ns=now_ns)
        _move_on(connection, rollout, now_ns)


def _move_on(connection: Connection, rollout: Rollout, now_ns: int) -> None:
    """To the next stage, or, after the last, make the candidate what the fleet runs."""
    stage = rollout.stage + 1
    if stage < len(rollout.plan.stages):
        plan = _with_starts(connection, rollout.plan, stage).to_json()
        state = next_state(rollout.state, "pass")
        store.change(connection, rollout.rollout_id, state=state, stage=stage, stage_since_ns=now_ns, plan=plan)
        return
    state = next_state(rollout.state, "finish")
    store.change(connection, rollout.rollout_id, state=state, ended_ns=now_ns, reason="every stage passed")
    store.set_fleet_bundle(connection, rollout.profile, rollout.bundle_id, now_ns)
    store.note_event(connection, rollout, "done", {"fleet": rollout.bundle_id}, now_ns=now_ns, final=True)


def _halt(connection: Connection, rollout: Rollout, figures: dict[str, Any], now_ns: int, actor: str = HUB) -> None:
    """Stop assigning the candidate. That alone sends devices back: what they should hold is worked out from the state."""
    state = next_state(rollout.state, "halt")
    change = {"state": state, "stage_since_ns": now_ns, "ended_ns": None, "reason": figures["reason"]}
    store.change(connection, rollout.rollout_id, **change)
    store.note_event(connection, rollout, "halt", figures, now_ns=now_ns, actor=actor)


def _judge_return(connection: Connection, rollout: Rollout, now_ns: int) -> None:
    """Rolled back once nobody who can be reached holds the candidate."""
    progress = returning(connection, rollout, now_ns)
    if progress.pending:
        reason = f"{len(progress.pending)} devices have yet to return"
        store.note_event(connection, rollout, "wait", {"reason": reason, **progress.to_json()}, now_ns=now_ns)
        return
    store.change(connection, rollout.rollout_id, state=next_state(rollout.state, "returned"), ended_ns=now_ns)
    store.note_event(connection, rollout, "rolled_back", progress.to_json(), now_ns=now_ns, final=True)


def _claim_profile(connection: Connection, profile: str, now_ns: int) -> None:
    """From now on the hub has an opinion on this profile, if only that the baseline decides."""
    if connection.execute(select(fleet_bundles).where(fleet_bundles.c.profile == profile)).first() is None:
        connection.execute(insert(fleet_bundles).values(profile=profile, bundle_id=None, since_ns=now_ns))


def _refuse_needless(connection: Connection, profile: str, bundle_id: str, incumbent_id: str | None) -> None:
    others = store.in_states(connection, profile=profile)
    if others:
        raise RolloutError(f"rollout {others[0].rollout_id} of {profile} is {others[0].state}; abort it or let it end first")
    if bundle_id == incumbent_id:
        raise RolloutError(f"{bundle_id} is what {profile} devices run already")


def _plan(
    connection: Connection, bundle: Row[Any], rollout_id: str, wishes: Wishes, now_ns: int, absent_after_s: float = 300.0
) -> Plan:
    return make_plan(
        eligible_members(connection, bundle.profile, bundle.spec_hash, now_ns),
        rollout_id,
        skip_shadow=wishes.skip_shadow,
        canaries=wishes.canaries,
        waves=wishes.waves,
        gates=GateSettings() if wishes.min_windows is None else GateSettings(min_windows=wishes.min_windows),
        absent_after_s=absent_after_s,
    )


def _new_id(connection: Connection, profile: str, version: int, bundle_id: str) -> str:
    query = select(func.count()).select_from(rollouts).where(rollouts.c.bundle_id == bundle_id)
    return f"{profile}-v{version}-r{connection.execute(query).scalar_one() + 1}"


def _with_starts(connection: Connection, plan: Plan, stage: int) -> Plan:
    told = agents_of(connection, plan.stages[stage].devices)
    starts = {device_id: agent.starts for device_id, agent in told.items()}
    rss_bytes = {device_id: agent.rss_bytes for device_id, agent in told.items()}
    return msgspec.structs.replace(plan, starts=starts, rss_bytes=rss_bytes)


def _cohorts(plan: Plan) -> dict[str, Any]:
    return {"stages": [{"name": stage.name, "mode": stage.mode, "devices": len(stage.devices)} for stage in plan.stages]}


def _summary(rollout: Rollout) -> dict[str, Any]:
    ended: tuple[State, ...] = ("done", "rolled_back", "aborted")
    return {
        "rollout_id": rollout.rollout_id,
        "profile": rollout.profile,
        "bundle_id": rollout.bundle_id,
        "incumbent_id": rollout.incumbent_id,
        "state": rollout.state,
        "ended": rollout.state in ended,
        "stage": rollout.current.name,
        "stage_index": rollout.stage,
        "n_stages": len(rollout.plan.stages),
        "since_ns": rollout.since_ns,
        "created_ns": rollout.created_ns,
        "ended_ns": rollout.ended_ns,
        "reason": rollout.reason,
    }
