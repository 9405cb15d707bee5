"""Looks whether a training run is due, and starts it: the hub's side of `triggers.py`.

An asset *has moved* where, over the last day, windows that were not in alarm had p <= 0.05 three times as often as they would
by chance. p-values are calibrated on the asset's own commissioning, so that is drift away from it, whatever the model.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Connection, Engine, func, select, update

from hub.audit.log import record
from hub.lake.lake import Lake
from hub.lake.query import query
from hub.settings import HubConfig
from hub.state.database import reading
from hub.state.schema import alert_feedback, alerts, assets, training_runs, training_triggers
from hub.state.upsert import upsert
from hub.training.triggers import Due, Facts, TriggerSettings, due
from models.contract.clock import NS_PER_S
from models.contract.items import STREAMING
from models.contract.names import is_name
from models.errors import TocsinError

_log = logging.getLogger(__name__)
_SPAN_NS: Final = 24 * 3600 * NS_PER_S
_MIN_WINDOWS: Final = 100  # of an asset: fewer tell little about one in twenty
_MOVED: Final = 0.15  # of windows with p <= 0.05


def settings_of(config: HubConfig) -> TriggerSettings:
    """What `hub.toml` says."""
    return TriggerSettings(
        every_h=config.retrain_every_h,
        drift_share=config.retrain_drift_share,
        n_feedback=config.retrain_feedback,
        rest_h=config.retrain_rest_h,
    )


class TrainingWatch:
    """`start`: begins a run of a profile and returns at once; it raises TocsinError where one is going on, say."""

    def __init__(self, engine: Engine, lake: Lake, settings: TriggerSettings, start: Callable[[str], object]) -> None:
        self._engine = engine
        self._lake = lake
        self._settings = settings
        self._start = start

    @property
    def is_on(self) -> bool:
        """Whether there is anything to look for."""
        return self._settings.any_on

    def look(self, now_ns: int) -> list[tuple[str, Due]]:
        """Start what is due; what that was, by profile."""
        started = []
        for profile in profiles_of(self._engine):
            try:
                facts = facts_of(self._engine, self._lake, profile, now_ns)
            except TocsinError as error:  # the others may be read all the same
                _log.warning("%s: whether a training is due cannot be told: %s", profile, error)
                continue
            found = due(self._settings, facts, now_ns)
            if found is None and facts.drift_share < facts.drift_before:
                self._note_less_drift(facts)
            if found is not None and self._begin(facts, found, now_ns):
                started.append((profile, found))
        return started

    def _note_less_drift(self, facts: Facts) -> None:
        mine = training_triggers.c.profile == facts.profile
        with self._engine.begin() as connection:
            connection.execute(update(training_triggers).where(mine).values(drift_share=facts.drift_share))

    def _begin(self, facts: Facts, found: Due, now_ns: int) -> bool:
        """The trigger is noted first: a hub that is killed here has noted one run too many, and starts none twice."""
        row = {"profile": facts.profile, "name": found.name, "reason": found.reason, "at_ns": now_ns}
        with self._engine.begin() as connection:
            upsert(connection, training_triggers, [row | {"drift_share": facts.drift_share}])
            details = {"trigger": found.name, "reason": found.reason}
            record(connection, at_ns=now_ns, actor="hub", action="training.start", subject=facts.profile, details=details)
        try:
            self._start(facts.profile)
        except TocsinError as error:
            _log.warning("%s: a run is due (%s), but cannot be started: %s", facts.profile, found.reason, error)
            return False
        return True


def profiles_of(engine: Engine) -> list[str]:
    """Those that devices watch assets of."""
    with reading(engine).begin() as connection:
        return sorted(filter(is_name, connection.execute(select(assets.c.profile).distinct()).scalars()))


def facts_of(engine: Engine, lake: Lake, profile: str, now_ns: int) -> Facts:
    """What is known of a profile now. Raises QueryError where the lake cannot be read."""
    n_assets, n_drifted = _drifted(lake, profile, now_ns)
    with reading(engine).begin() as connection:
        last_ns = _last_run_ns(connection, profile)
        trigger = connection.execute(select(training_triggers).where(training_triggers.c.profile == profile)).first()
        return Facts(
            profile=profile,
            last_run_ns=last_ns,
            n_assets=n_assets,
            n_drifted=n_drifted,
            drift_before=0.0 if trigger is None else trigger.drift_share,
            n_feedback=_n_judged(connection, profile, last_ns or 0),
        )


def _last_run_ns(connection: Connection, profile: str) -> int | None:
    """When the latest run or trigger was: a process that died before it wrote its row was a try, too."""
    began = select(func.max(training_runs.c.started_ns)).where(training_runs.c.profile == profile)
    asked = select(training_triggers.c.at_ns).where(training_triggers.c.profile == profile)
    times = [connection.execute(one).scalar() for one in (began, asked)]
    return max((time_ns for time_ns in times if time_ns is not None), default=None)


def _n_judged(connection: Connection, profile: str, since_ns: int) -> int:
    mine = (alert_feedback.c.device_id == alerts.c.device_id) & (alert_feedback.c.alert_id == alerts.c.alert_id)
    judged = select(alert_feedback.c.device_id, alert_feedback.c.alert_id).where(
        mine, alerts.c.profile == profile, alerts.c.detector != STREAMING, alert_feedback.c.at_ns > since_ns
    )
    return int(connection.execute(select(func.count()).select_from(judged.distinct().subquery())).scalar_one())


def _drifted(lake: Lake, profile: str, now_ns: int) -> tuple[int, int]:
    """How many assets have windows enough to tell, and how many of them have moved."""
    since_ns = now_ns - _SPAN_NS
    since_day = datetime.fromtimestamp(since_ns // NS_PER_S, UTC).date()
    statement = f"""
        SELECT count(*) AS n, coalesce(sum(CASE WHEN share >= {_MOVED} THEN 1 ELSE 0 END), 0) AS moved FROM (
            SELECT avg(CASE WHEN scores[1].p_value <= 0.05 THEN 1.0 ELSE 0.0 END) AS share
            FROM aggregates
            WHERE profile = '{profile}' AND day >= DATE '{since_day}' AND start_ns > {since_ns}
                AND NOT commissioning AND NOT alarm AND NOT partial AND len(faulty) = 0 AND scores[1].p_value IS NOT NULL
            GROUP BY device_id, asset HAVING count(*) >= {_MIN_WINDOWS}
        )"""  # noqa: S608  # a name that was checked, and numbers of ours
    row = query(statement, lake).to_pylist()[0]
    return int(row["n"]), int(row["moved"])
