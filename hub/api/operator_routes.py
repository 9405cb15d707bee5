"""What operators call: JSON under /v1, described by /v1/openapi.json, open to whoever the table of rights lets in.

1. Who asks is looked at before anything of the request's body is taken in (`guard.py`).
2. Endpoints are plain functions: they read one snapshot of the state in a worker thread and hold no lock while they do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request
from sqlalchemy import Connection, Engine
from starlette.concurrency import run_in_threadpool

from hub.access import Access
from hub.api import views
from hub.api.guard import Actor, guarded_by
from hub.api.openapi import page_responses, problems
from hub.api.paging import BundleKey, EventKey, ItemKey, NameKey, Paged, TimedKey
from hub.api.problems import Problem
from hub.api.shapes import (
    AlertView,
    BundleDetail,
    BundleView,
    DeviceDetail,
    DeviceLedger,
    DeviceView,
    FleetLedger,
    Published,
    QuarantineView,
    RolloutDetail,
    RolloutRequest,
    RolloutView,
    SensorFaultView,
    Steering,
    Summary,
    TrainingRequest,
    TrainingRunView,
    TrainingStarted,
)
from hub.api.training import TrainingProcesses
from hub.audit.log import record
from hub.ingest.pending import Backlog
from hub.lake.query import LakeCounter
from hub.registry.registry import Registry
from hub.rollout.service import RolloutService
from hub.state.database import reading
from models.contract.names import MAX_BUNDLE_BYTES
from models.errors import BundleCorrupt, BundleError, RolloutError

Identity = Annotated[str, Path(max_length=64)]
DeviceFilter = Annotated[str, Query(max_length=64, description="only this device's")]
ProfileFilter = Annotated[str | None, Query(max_length=64, description="only this profile's")]
PAGES: Final = page_responses()
NOT_FOUND: Final = problems(404)
ARCHIVE: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
}
ARCHIVE_BODY: Final = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


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
        self._writing = engine
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
        router.get("/devices", responses=PAGES)(self.devices)
        router.get("/devices/{device_id}", responses=NOT_FOUND)(self.device)
        router.get("/devices/{device_id}/ledger", responses=NOT_FOUND)(self.device_ledger)
        router.get("/ledger")(self.ledger)
        router.get("/alerts", responses=PAGES)(self.alerts)
        router.get("/sensor-faults", responses=PAGES)(self.sensor_faults)
        router.get("/quarantine", responses=PAGES)(self.quarantine)
        router.get("/bundles", responses=PAGES)(self.bundles)
        router.post("/bundles", status_code=201, openapi_extra=ARCHIVE_BODY)(self.publish)
        router.get("/bundles/{bundle_id}", responses=NOT_FOUND | ARCHIVE)(self.bundle)
        router.get("/training-runs", responses=PAGES)(self.training_runs)
        router.post("/training-runs", status_code=202, responses=problems(400, 409))(self.train)
        router.get("/rollouts", responses=PAGES)(self.list_rollouts)
        router.post("/rollouts", status_code=201, responses=problems(409))(self.start_rollout)
        router.get("/rollouts/{rollout_id}", responses=NOT_FOUND)(self.rollout)
        router.post("/rollouts/{rollout_id}/{step}", responses=problems(404, 409))(self.steer)
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

    def devices(self, page: Paged) -> list[DeviceView]:
        """Enrolled devices, by id."""
        after = page.after(NameKey)
        with self._snapshot() as (connection, online_since_ns):
            rows = views.list_devices(connection, online_since_ns, limit=page.wanted, after=after.name if after else "")
        return [DeviceView(**row) for row in page.cut(rows, lambda row: [row["device_id"]])]

    def device(self, device_id: Identity) -> DeviceDetail:
        """Everything that is known of one device."""
        with self._snapshot() as (connection, online_since_ns):
            row = views.device_detail(connection, device_id, online_since_ns)
        if row is None:
            raise _not_found(f"no device {device_id}")
        return DeviceDetail(**row)

    def device_ledger(self, device_id: Identity) -> DeviceLedger:
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

    def alerts(self, page: Paged, open: bool = False, device: DeviceFilter = "") -> list[AlertView]:  # noqa: A002 (the query's name)
        """Alerts, newest first; `open=true` leaves out the closed ones."""
        with self._snapshot() as (connection, _):
            rows = views.list_alerts(
                connection, open_only=open, device_id=device, limit=page.wanted, after=page.after(EventKey)
            )
        return [
            AlertView(**row) for row in page.cut(rows, lambda row: [row[n] for n in ("opened_ns", "device_id", "alert_id")])
        ]

    def sensor_faults(self, page: Paged, open: bool = False, device: DeviceFilter = "") -> list[SensorFaultView]:  # noqa: A002
        """Sensor faults, newest first; `open=true` leaves out the closed ones."""
        with self._snapshot() as (connection, _):
            rows = views.list_sensor_faults(
                connection, open_only=open, device_id=device, limit=page.wanted, after=page.after(EventKey)
            )
        shown = page.cut(rows, lambda row: [row[n] for n in ("opened_ns", "device_id", "fault_id")])
        return [SensorFaultView(**row) for row in shown]

    def quarantine(self, page: Paged) -> list[QuarantineView]:
        """Items that were refused, newest first, and why."""
        after = page.after(ItemKey)
        with self._snapshot() as (connection, _):
            rows = views.list_quarantine(connection, page.wanted, after)
        return [QuarantineView(**row) for row in page.cut(rows, lambda row: [row[name] for name in views.QUARANTINE_KEY])]

    def bundles(self, page: Paged, profile: ProfileFilter = None) -> list[BundleView]:
        """Published bundles, newest first."""
        rows = self._registry.list(profile, page.wanted, page.after(BundleKey))
        shown = page.cut(rows, lambda row: [row[name] for name in ("created_ns", "version", "bundle_id")])
        return [BundleView(**row) for row in shown]

    def bundle(self, bundle_id: Identity) -> BundleDetail:
        """One bundle with its manifest and model card; by the archive's SHA-256 instead of its id, the archive, for anyone."""
        try:
            return BundleDetail(**self._registry.get(bundle_id))
        except BundleError as error:
            raise _not_found(str(error)) from None

    async def publish(self, request: Request, actor: Actor) -> Published:
        """Publish a bundle: the request's body is the archive, at most 8 MiB."""
        archive = await request.body()
        if not archive:
            raise BundleCorrupt("an empty body; the archive's bytes belong there")
        bundle_id = await run_in_threadpool(self._registry.publish, archive, now_ns=self._now_ns(), actor=actor)
        return Published(bundle_id=bundle_id)

    def training_runs(self, page: Paged) -> list[TrainingRunView]:
        """Training runs, newest first."""
        with self._snapshot() as (connection, _):
            rows = views.list_training_runs(connection, page.wanted, page.after(TimedKey))
        return [TrainingRunView(**row) for row in page.cut(rows, lambda row: [row["started_ns"], row["run_id"]])]

    def train(self, wanted: TrainingRequest, actor: Actor) -> TrainingStarted:
        """Start training in a process of its own."""
        with self._writing.begin() as connection:
            pid = self._training.start(wanted.profile)
            told = {"pid": pid}
            record(connection, at_ns=self._now_ns(), actor=actor, action="training.start", subject=wanted.profile, details=told)
        return TrainingStarted(profile=wanted.profile, pid=pid)

    def list_rollouts(self, page: Paged, profile: ProfileFilter = None) -> list[RolloutView]:
        """Rollouts, newest first."""
        rows = self._rollouts.list(profile, page.wanted, page.after(TimedKey))
        return [RolloutView(**row) for row in page.cut(rows, lambda row: [row["created_ns"], row["rollout_id"]])]

    def rollout(self, rollout_id: Identity) -> RolloutDetail:
        """One rollout with its plan, its gates as they stand, and its events."""
        try:
            return RolloutDetail(**self._rollouts.get(rollout_id))
        except RolloutError as error:
            raise _not_found(str(error)) from None

    def start_rollout(self, wanted: RolloutRequest, actor: Actor) -> RolloutDetail:
        """Start a rollout; what was decided is in the answer."""
        options = wanted.model_dump(exclude={"bundle_id"})
        rollout_id = self._rollouts.start(wanted.bundle_id, now_ns=self._now_ns(), actor=actor, **options)
        return RolloutDetail(**self._rollouts.get(rollout_id))

    def steer(self, rollout_id: Identity, step: Steering, actor: Actor) -> RolloutDetail:
        """Pause, resume, abort or roll back."""
        self.rollout(rollout_id)
        self._rollouts.steer(rollout_id, step, now_ns=self._now_ns(), actor=actor)
        return RolloutDetail(**self._rollouts.get(rollout_id))

    @contextmanager
    def _snapshot(self) -> Iterator[tuple[Connection, int]]:
        """One consistent view of the state, and the time since which a device counts as online."""
        with self._engine.begin() as connection:
            yield connection, self._now_ns() - self._online_for_ns


def _not_found(what: str) -> Problem:
    return Problem(404, "not-found", what)
