"""What operators call: JSON under /v1, described by /v1/openapi.json, open to whoever has the admin token.

1. Who asks is looked at before anything of the request's body is taken in (`guard.py`).
2. Endpoints are plain functions: they read one snapshot of the state in a worker thread and hold no lock while they do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from sqlalchemy import Connection, Engine
from starlette.concurrency import run_in_threadpool

from hub.access import Access
from hub.api import views
from hub.api.guard import guarded_by
from hub.api.problems import Problem
from hub.api.shapes import (
    AlertView,
    DeviceDetail,
    DeviceLedger,
    DeviceView,
    FleetLedger,
    Published,
    RolloutRequest,
    SensorFaultView,
    Steering,
    Summary,
    TrainingRequest,
    TrainingRunView,
    TrainingStarted,
)
from hub.api.training import TrainingProcesses
from hub.ingest.pending import Backlog
from hub.lake.query import LakeCounter
from hub.registry.registry import Registry
from hub.rollout.service import RolloutService
from hub.state.database import reading
from models.contract.names import MAX_BUNDLE_BYTES
from models.errors import BundleCorrupt, BundleError, RolloutError

Limit = Annotated[int, Query(ge=1, le=5000)]
Json = dict[str, Any]


class OperatorApi:
    """The endpoints and what they share. `online_for_s`: how long after its last word a device counts as online."""

    def __init__(
        self,
        engine: Engine,
        access: Access,
        registry: Registry,
        rollouts: RolloutService,
        training: TrainingProcesses,
        backlog: Backlog,
        lake: LakeCounter,
        hub_id: str,
        online_for_s: float,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._engine = reading(engine)
        self._access = access
        self._registry = registry
        self._rollouts = rollouts
        self._training = training
        self._backlog = backlog
        self._lake = lake
        self._hub_id = hub_id
        self._online_for_ns = int(online_for_s * 1e9)
        self._now_ns = now_ns

    def router(self) -> APIRouter:
        router = APIRouter(prefix="/v1", route_class=guarded_by(self._access, MAX_BUNDLE_BYTES))
        router.get("/summary")(self.summary)
        router.get("/devices")(self.devices)
        router.get("/devices/{device_id}")(self.device)
        router.get("/devices/{device_id}/ledger")(self.device_ledger)
        router.get("/ledger")(self.ledger)
        router.get("/alerts")(self.alerts)
        router.get("/sensor-faults")(self.sensor_faults)
        router.get("/quarantine")(self.quarantine)
        router.get("/bundles")(self.bundles)
        router.post("/bundles", status_code=201)(self.publish)
        router.get("/bundles/{bundle_id}")(self.bundle)
        router.get("/training-runs")(self.training_runs)
        router.post("/training-runs", status_code=202)(self.train)
        router.get("/rollouts")(self.list_rollouts)
        router.post("/rollouts", status_code=201)(self.start_rollout)
        router.get("/rollouts/{rollout_id}")(self.rollout)
        router.post("/rollouts/{rollout_id}/{step}")(self.steer)
        return router

    def summary(self) -> Summary:
        """The fleet at a glance."""
        now_ns = self._now_ns()
        with self._engine.begin() as connection:
            counts = views.fleet_counts(connection, now_ns - self._online_for_ns)
        return Summary(
            hub_id=self._hub_id,
            now_ns=now_ns,
            **counts,
            ingest_pending=self._backlog.pending(),
            failures=self._backlog.failures(),
        )

    def devices(self) -> list[DeviceView]:
        """Every enrolled device."""
        with self._snapshot() as (connection, online_since_ns):
            return [DeviceView(**row) for row in views.list_devices(connection, online_since_ns)]

    def device(self, device_id: str) -> DeviceDetail:
        """Everything that is known of one device."""
        with self._snapshot() as (connection, online_since_ns):
            row = views.device_detail(connection, device_id, online_since_ns)
        if row is None:
            raise _not_found(f"no device {device_id}")
        return DeviceDetail(**row)

    def device_ledger(self, device_id: str) -> DeviceLedger:
        """What was received, evicted, sent again, refused and is missing, by epoch and lane."""
        with self._snapshot() as (connection, online_since_ns):
            if views.device_detail(connection, device_id, online_since_ns) is None:
                raise _not_found(f"no device {device_id}")
            return views.device_ledger(connection, device_id)

    def ledger(self) -> FleetLedger:
        """The account of the whole fleet, beside what the lake really holds."""
        pending = self._backlog.pending()["lake"]
        count = self._lake.count()
        with self._snapshot() as (connection, _):
            totals = views.ledger_totals(connection)
        return FleetLedger(**totals, lake_rows=count.n_rows, lake_duplicates=count.n_duplicates, lake_pending=pending)

    def alerts(self, open: bool = False, device: str = "", limit: Limit = 200) -> list[AlertView]:  # noqa: A002 (the query's name)
        """Alerts, newest first; `open=true` leaves out the closed ones."""
        with self._snapshot() as (connection, _):
            rows = views.list_alerts(connection, open_only=open, device_id=device, limit=limit)
        return [AlertView(**row) for row in rows]

    def sensor_faults(self, open: bool = False, device: str = "", limit: Limit = 200) -> list[SensorFaultView]:  # noqa: A002
        """Sensor faults, newest first; `open=true` leaves out the closed ones."""
        with self._snapshot() as (connection, _):
            rows = views.list_sensor_faults(connection, open_only=open, device_id=device, limit=limit)
        return [SensorFaultView(**row) for row in rows]

    def quarantine(self, limit: Limit = 200) -> list[Json]:
        """Items that were refused, newest first, and why."""
        with self._snapshot() as (connection, _):
            return views.list_quarantine(connection, limit)

    def bundles(self, profile: str | None = None) -> list[Json]:
        """Published bundles, newest first."""
        return self._registry.list(profile)

    def bundle(self, bundle_id: str) -> Json:
        """One bundle with its manifest and model card."""
        try:
            return self._registry.get(bundle_id)
        except BundleError as error:
            raise _not_found(str(error)) from None

    async def publish(self, request: Request) -> Published:
        """Publish a bundle: the request's body is the archive, at most 8 MiB."""
        archive = await request.body()
        if not archive:
            raise BundleCorrupt("an empty body; the archive's bytes belong there")
        bundle_id = await run_in_threadpool(self._registry.publish, archive, now_ns=self._now_ns())
        return Published(bundle_id=bundle_id)

    def training_runs(self, limit: Limit = 200) -> list[TrainingRunView]:
        """Training runs, newest first."""
        with self._snapshot() as (connection, _):
            return [TrainingRunView(**row) for row in views.list_training_runs(connection, limit)]

    def train(self, wanted: TrainingRequest) -> TrainingStarted:
        """Start training in a process of its own."""
        return TrainingStarted(profile=wanted.profile, pid=self._training.start(wanted.profile))

    def list_rollouts(self, profile: str | None = None) -> list[Json]:
        """Rollouts, newest first."""
        return self._rollouts.list(profile)

    def rollout(self, rollout_id: str) -> Json:
        """One rollout with its plan, its gates as they stand, and its events."""
        try:
            return self._rollouts.get(rollout_id)
        except RolloutError as error:
            raise _not_found(str(error)) from None

    def start_rollout(self, wanted: RolloutRequest) -> Json:
        """Start a rollout; what was decided is in the answer."""
        options = wanted.model_dump(exclude={"bundle_id"})
        rollout_id = self._rollouts.start(wanted.bundle_id, now_ns=self._now_ns(), **options)
        return self._rollouts.get(rollout_id)

    def steer(self, rollout_id: str, step: Steering) -> Json:
        """Pause, resume, abort or roll back."""
        self.rollout(rollout_id)
        steps = {
            "pause": self._rollouts.pause,
            "resume": self._rollouts.resume,
            "abort": self._rollouts.abort,
            "rollback": self._rollouts.roll_back,
        }
        steps[step](rollout_id, now_ns=self._now_ns())
        return self._rollouts.get(rollout_id)

    @contextmanager
    def _snapshot(self) -> Iterator[tuple[Connection, int]]:
        """One consistent view of the state, and the time since which a device counts as online."""
        with self._engine.begin() as connection:
            yield connection, self._now_ns() - self._online_for_ns


def _not_found(what: str) -> Problem:
    return Problem(404, "not-found", what)
