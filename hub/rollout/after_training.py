"""Rollouts that begin by themselves after a training, where `rollout_trained` in hub.toml asks for them.

One begins where a profile's newest bundle comes from a run that ended within the last day, was never rolled out, and was
graded no worse than what the fleet runs, on the same windows. Everything after that is as if somebody had started it:
shadow first, gates at each stage, and approval first where that is required. What was graded otherwise (imported models,
models of windows) waits for people.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection, Engine, func, select

from hub.rollout.service import RolloutService
from hub.rollout.store import fleet_bundle
from hub.state.database import reading
from hub.state.schema import bundles, rollouts, training_runs
from models.contract.clock import NS_PER_S
from models.errors import RolloutError

_log = logging.getLogger(__name__)
FRESH_NS: Final = 24 * 3600 * NS_PER_S
AUC_SLACK: Final = 0.01  # two trainings on the same windows differ by as much
FALSE_ALARM_SLACK: Final = 0.005  # of the windows


class AfterTraining:
    """`look` is one round; what a round cannot start is told once in the log, and tried again while it is fresh."""

    def __init__(self, engine: Engine, service: RolloutService) -> None:
        self._engine = engine
        self._service = service
        self._told: dict[str, str] = {}

    def look(self, now_ns: int) -> list[str]:
        """Start what should be; the ids of those rollouts."""
        with reading(self._engine).begin() as connection:
            found = _candidates(connection, now_ns)
        started = []
        for bundle_id, why_not in found:
            if why_not:
                self._tell(bundle_id, why_not)
                continue
            try:
                started.append(self._service.start(bundle_id, now_ns=now_ns))
            except RolloutError as error:
                self._tell(bundle_id, str(error))
        return started

    def _tell(self, bundle_id: str, why_not: str) -> None:
        if self._told.get(bundle_id) != why_not:
            _log.info("%s is not rolled out by itself: %s", bundle_id, why_not)
        self._told[bundle_id] = why_not


def why_not_by_itself(evaluation: Mapping[str, Any], incumbent_id: str | None) -> str:
    """What speaks against rolling out a bundle with this evaluation, "" = nothing; `incumbent_id` None = the baseline."""
    if "auc" not in evaluation or "false_alarms" not in evaluation:
        return "its evaluation has no figures to compare"
    if incumbent_id is None:
        rival, told = evaluation["auc"]["baseline"], "the baseline detector"
    else:
        champion = evaluation.get("champion")
        if champion is None or champion["bundle_id"] != incumbent_id:
            return f"it was not graded beside {incumbent_id}"
        rival, told = champion["auc"], incumbent_id
        share, theirs = evaluation["false_alarms"]["share"], champion["false_alarm_share"]
        if share > theirs + FALSE_ALARM_SLACK:
            return f"it would give false alarms in {share:.2%} of the windows, {told} in {theirs:.2%}"
    mine = evaluation["auc"]["int8"]["all"]
    if mine < rival["all"] - AUC_SLACK:
        return f"its AUC on injected faults is {mine:.3f}, that of {told} {rival['all']:.3f}"
    return ""


def _candidates(connection: Connection, now_ns: int) -> list[tuple[str, str]]:
    """The newest bundle of each profile where it is fresh from training and new to the fleet, and what speaks against it."""
    newest = select(bundles.c.profile, func.max(bundles.c.version).label("version")).group_by(bundles.c.profile).subquery()
    tried = select(rollouts.c.bundle_id)
    rows = connection.execute(
        select(bundles.c.bundle_id, bundles.c.profile, training_runs.c.record)
        .join(newest, (bundles.c.profile == newest.c.profile) & (bundles.c.version == newest.c.version))
        .join(training_runs, training_runs.c.run_id == bundles.c.run_id)
        .where(training_runs.c.state == "done", training_runs.c.ended_ns > now_ns - FRESH_NS)
        .where(bundles.c.bundle_id.not_in(tried))
        .order_by(bundles.c.profile)
    ).all()
    return [
        (row.bundle_id, why_not_by_itself(row.record.get("evaluation") or {}, fleet_bundle(connection, row.profile)))
        for row in rows
    ]
