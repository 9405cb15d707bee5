"""Counting, from the windows that devices send, what candidate and incumbent said of each.

Invariants:
1. A window counts only where both have scored it, with p-values, and where the slots are as the stage wants them: in a
   shadow stage somebody else decided, in an active one the candidate did. What was measured before a device changed its
   slots, however late it arrives, is therefore not taken for evidence of the present stage.
2. Windows with a sensor fault are counted apart: they say nothing about a model.
3. Counts and the reader's position change in one transaction, so each window counts once.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import fields

from sqlalchemy import Connection, and_, insert, update

from hub.ingest.log import LogRecord
from hub.rollout.gates import Counts
from hub.rollout.machine import ASSIGNING
from hub.rollout.store import Rollout, in_states
from hub.state.schema import stage_evidence
from models.contract.items import BASELINE, Aggregate, SlotScore, decode_body

LOW_P = 0.01
Key = tuple[str, str, str]  # rollout_id, stage, device_id


class StageEvidence:
    """A projection of the ingest log onto `stage_evidence`."""

    name = "stage_evidence"

    def apply(self, connection: Connection, records: Sequence[LogRecord]) -> None:
        """Add what `records` tell about the rollouts that are on. Raises nothing of its own: bodies have been validated."""
        watched = {
            (device_id, rollout.profile): rollout
            for rollout in in_states(connection, ASSIGNING)
            for device_id in rollout.current.devices
        }
        devices = {device_id for device_id, _ in watched}
        sums: defaultdict[Key, Counts] = defaultdict(Counts)
        for record in records:
            if record.kind != "aggregate" or record.device_id not in devices:
                continue
            aggregate = decode_body(record.kind, record.body)
            assert isinstance(aggregate, Aggregate)
            rollout = watched.get((record.device_id, aggregate.profile))
            counted = count_window(rollout, aggregate) if rollout else None
            if rollout and counted:
                key = (rollout.rollout_id, rollout.current.name, record.device_id)
                sums[key] = _add(sums[key], counted)
        for key, counts in sums.items():
            _increment(connection, key, counts)


def count_window(rollout: Rollout, aggregate: Aggregate) -> Counts | None:
    """What one window adds to its device's counts in the rollout's current stage; None = it is no evidence."""
    scores = {score.detector: score for score in aggregate.scores}
    candidate = scores.get(rollout.bundle_id)
    incumbent = scores.get(rollout.incumbent_id or BASELINE)
    if candidate is None or incumbent is None:
        return None
    decides = aggregate.scores[0].detector == rollout.bundle_id
    if decides != (rollout.current.mode == "active"):
        return None
    if aggregate.faulty:
        return Counts(n_faulty=1)
    if aggregate.commissioning or not (_is_number(candidate.p_value) and _is_number(incumbent.p_value)):
        return None
    return Counts(
        n_windows=1,
        n_alarm_candidate=int(candidate.alarm),
        n_alarm_incumbent=int(incumbent.alarm),
        n_low_p_candidate=_low(candidate),
        n_low_p_incumbent=_low(incumbent),
    )


def _is_number(p_value: float | None) -> bool:
    """A model that scores NaN is never in alarm; it must not pass for a quiet one."""
    return p_value is not None and math.isfinite(p_value)


def _low(score: SlotScore) -> int:
    return int(score.p_value is not None and score.p_value <= LOW_P)


def _add(a: Counts, b: Counts) -> Counts:
    return Counts(*(getattr(a, field.name) + getattr(b, field.name) for field in fields(Counts)))


def _increment(connection: Connection, key: Key, counts: Counts) -> None:
    table = stage_evidence.c
    here = and_(table.rollout_id == key[0], table.stage == key[1], table.device_id == key[2])
    added = {field.name: getattr(counts, field.name) for field in fields(Counts)}
    raised = {name: table[name] + value for name, value in added.items()}
    if connection.execute(update(stage_evidence).where(here).values(raised)).rowcount == 0:
        row = {"rollout_id": key[0], "stage": key[1], "device_id": key[2], **added}
        connection.execute(insert(stage_evidence).values(row))
