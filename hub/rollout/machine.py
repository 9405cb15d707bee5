"""A rollout's states and stages as values and one table. Pure: nothing here knows the time or the database.

    running ──pass──> running (next stage) ... ──finish──> done
       │  ^ pause/resume                                     │
       │  └────> paused                                      │ halt (by hand)
       └──halt──> halted ──returned──> rolled_back <─────────┘ by way of halted
    running, paused, halted ──abort──> aborted

Invariants:
1. What a device should hold follows from (state, plan, stage) alone, so a device that was away lands on the right
   bundles at its next check-in, whatever it missed.
2. Only running and paused rollouts assign their candidate to anyone. The moment a rollout is halted or aborted, every
   device's desired bundle is the incumbent again.
3. A halted rollout is rolled back only once no device that can be reached still holds the candidate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec

from hub.rollout.cohorts import Member, choose_canaries, default_canary_count, split_waves
from hub.rollout.gates import GateSettings
from models.errors import RolloutError

State = Literal["running", "paused", "halted", "rolled_back", "aborted", "done"]
Event = Literal["pass", "finish", "halt", "pause", "resume", "abort", "returned"]
Mode = Literal["shadow", "active"]

TRANSITIONS: Final[dict[tuple[State, Event], State]] = {
    ("running", "pass"): "running",
    ("running", "finish"): "done",
    ("running", "halt"): "halted",
    ("running", "pause"): "paused",
    ("running", "abort"): "aborted",
    ("paused", "resume"): "running",
    ("paused", "halt"): "halted",
    ("paused", "abort"): "aborted",
    ("halted", "returned"): "rolled_back",
    ("halted", "abort"): "aborted",
    ("done", "halt"): "halted",
}
ASSIGNING: Final[tuple[State, ...]] = ("running", "paused")
WAVE_SHARE: Final = 0.75
OPEN: Final[tuple[State, ...]] = ("running", "paused", "halted")


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """`devices`: those that join here. `mode`: the candidate is scored beside the incumbent, or decides.

    `present_share`: of them that must take part before the stage can pass; each canary counts, while one machine that is
    switched off must not keep a whole fleet's wave waiting.
    """

    name: str
    mode: Mode
    devices: list[str]
    present_share: float = 1.0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided when the rollout began. `absent_after_s`: unseen for so long, a device is not waited for any more.

    `starts`, `rss_bytes`: how often each device's agent had started when the present stage began, and what it held in memory.
    """

    stages: list[Stage]
    gates: GateSettings = GateSettings()
    absent_after_s: float = 300.0
    starts: dict[str, int] = {}
    rss_bytes: dict[str, int] = {}

    def to_json(self) -> dict[str, Any]:
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Plan:
        return msgspec.convert(plain, cls)


def next_state(state: State, event: Event) -> State:
    """Raises RolloutError where the table has no such step."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        allowed = [step for at, step in TRANSITIONS if at == state]
        raise RolloutError(f"cannot {event} a rollout that is {state}; possible: {', '.join(allowed) or 'nothing'}") from None


def make_plan(
    members: Sequence[Member],
    seed: str,
    *,
    skip_shadow: bool = False,
    canaries: int | None = None,
    waves: int = 1,
    gates: GateSettings | None = None,
    absent_after_s: float = 300.0,
) -> Plan:
    """Shadow on the canaries, then active on them, then `waves` cohorts of the rest. Raises RolloutError on no devices."""
    if not members:
        raise RolloutError("no device of this profile and feature spec is known; nothing to roll out to")
    count = default_canary_count(members) if canaries is None else canaries
    first = choose_canaries(members, count, seed)
    chosen = set(first)
    rest = [member for member in members if member.device_id not in chosen]
    stages = [] if skip_shadow else [Stage(name="shadow", mode="shadow", devices=first)]
    stages.append(Stage(name="canary", mode="active", devices=first))
    for number, wave in enumerate(split_waves(rest, waves, seed), start=1):
        stages.append(Stage(name=f"wave {number}", mode="active", devices=wave, present_share=WAVE_SHARE))
    return Plan(stages=stages, gates=gates or GateSettings(), absent_after_s=absent_after_s)


def assignment(plan: Plan, stage: int, device_id: str) -> Mode | None:
    """How `device_id` should hold the candidate at `stage` (an index); None = not at all. Later stages outrank earlier."""
    for reached in reversed(plan.stages[: stage + 1]):
        if device_id in reached.devices:
            return reached.mode
    return None


def reached_devices(plan: Plan, stage: int) -> list[str]:
    """Every device that has been told to hold the candidate up to `stage`, in any mode, ascending."""
    return sorted({device_id for reached in plan.stages[: stage + 1] for device_id in reached.devices})
