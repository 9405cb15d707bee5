"""The hub, put together: the one place where its parts are constructed.

devices ─► device API ─► ingest service ─► log ─┬─► ledger        in the commit itself
                                                ├─► projector     alerts, faults, health, evidence of rollouts
                                                └─► lake writer   Delta tables ─► queries, training
operators ─► operator API, pages ─► state tables ◄─ rollout tick, every few seconds
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC
from importlib.metadata import version
from typing import Final

from apscheduler.schedulers.background import BackgroundScheduler
from fastapi import FastAPI, Response
from sqlalchemy import Engine
from starlette.types import Lifespan

from hub.access import Access
from hub.api.device_routes import DeviceApi
from hub.api.operator_routes import OperatorApi
from hub.api.problems import add_problem_handlers
from hub.api.shapes import Readiness
from hub.api.training import TrainingProcesses
from hub.audit.log import head_of
from hub.devices.keys import DeviceKeys
from hub.ingest.committer import LEDGER, Committer
from hub.ingest.consumer import Follower, check_not_older
from hub.ingest.log import IngestLog, SqliteIngestLog
from hub.ingest.pending import Backlog
from hub.ingest.positions import get_position, read_by_all
from hub.ingest.service import IngestService
from hub.lake.lake import Lake, open_lake
from hub.lake.query import LakeCounter
from hub.lake.writer import LakeWriter
from hub.projector.alerts import Alerts, SensorFaults
from hub.projector.clocks import Clocks
from hub.projector.condition import Commissionings, HealthReports
from hub.projector.projector import Projection, Projector
from hub.registry.registry import Registry
from hub.rollout.desired import desired_slots
from hub.rollout.evidence import StageEvidence
from hub.rollout.service import RolloutService
from hub.settings import Hub
from hub.state.database import open_state, reading
from hub.training.routes import LearningApi
from hub.training.runs import end_dead_runs
from hub.web.routes import web_routes
from models.contract.checkin import EnrolReply

_audit_log = logging.getLogger("hub.audit")
PRUNE_EVERY_S: Final = 60.0
_LAKE_BATCH: Final = 5000  # records in one commit at most


def build_app(hub: Hub) -> FastAPI:
    """The whole hub as one ASGI app. Raises StorageError, ConfigError: nothing has been started then.

    `app.state.stopping` is an Event; a server sets it when it begins to shut down, so that open streams end.
    """
    engine = open_state(hub.state_url)
    log = SqliteIngestLog(hub.paths.ingest)
    lake = open_lake(hub.lake_url)
    access = Access(hub.admin_token)
    registry = Registry(engine, hub.paths.bundles, hub.key)
    rollouts = RolloutService(engine, require_approval=hub.config.require_approval)
    training = TrainingProcesses(hub.paths.root, hub.paths.logs, hub.profiles_dir, lambda: _end_dead_runs(engine))
    stopping = threading.Event()
    online_for_s = 3 * hub.config.checkin_s

    followers = _followers(engine, log, lake, hub.config.lake_commit_s)
    committer = Committer(engine, log)
    ingest = IngestService(committer, on_commit=lambda: _wake(followers))
    backlog = Backlog(log, ingest, followers)
    scheduler = _scheduler(rollouts, hub.config.rollout_tick_s, engine, log, followers)

    identity = EnrolReply(hub_id=hub.config.hub_id, hub_public_key=hub.key.public_bytes)
    keys = DeviceKeys(reading(engine))
    device_api = DeviceApi(engine, keys, ingest, registry, desired_slots, identity, hub.join_token, hub.config.checkin_s)
    operator_api = OperatorApi(
        engine, access, registry, rollouts, training, backlog, LakeCounter(lake), hub.config.hub_id, online_for_s
    )
    pages = web_routes(
        engine, access, lake, silent_after_s=online_for_s, profiles_dir=hub.profiles_dir, stopping=stopping.is_set
    )

    app = FastAPI(
        title="Tocsin hub",
        version=version("tocsin"),
        lifespan=_lifespan(committer, ingest, followers, scheduler, training, stopping, log, engine),
        openapi_url="/v1/openapi.json",
        docs_url=None,  # the usual pages load their scripts from the internet
        redoc_url=None,
    )
    app.state.stopping = stopping
    add_problem_handlers(app)
    app.router.routes.extend(device_api.routes())  # before the operators': a bundle's digest is no bundle's name
    app.include_router(operator_api.router())
    app.include_router(LearningApi(engine, access, registry).router())
    _add_probes(app, backlog)
    app.router.routes.extend(pages)
    return app


def _followers(engine: Engine, log: IngestLog, lake: Lake, lake_commit_s: float) -> list[Follower]:
    projections: list[Projection] = [Clocks(), Alerts(), SensorFaults(), Commissionings(), HealthReports(), StageEvidence()]
    followers = [
        Follower(log, Projector(engine, log.log_id, projections)),
        Follower(log, LakeWriter(lake, engine, log.log_id), gather_s=lake_commit_s, batch=_LAKE_BATCH),
    ]
    with reading(engine).begin() as connection:
        check_not_older(log, LEDGER, get_position(connection, LEDGER, log.log_id))
    for follower in followers:
        follower.check()
    return followers


def _wake(followers: list[Follower]) -> None:
    for follower in followers:
        follower.wake()


def _scheduler(
    rollouts: RolloutService, rollout_tick_s: float, engine: Engine, log: IngestLog, followers: list[Follower]
) -> BackgroundScheduler:
    """Work by the clock. A round that is late is done once, never twice at a time."""
    readers = [LEDGER, *(follower.name for follower in followers)]

    def prune() -> None:
        with reading(engine).begin() as connection:
            position = read_by_all(connection, readers, log.log_id)
        log.prune(position)

    scheduler = BackgroundScheduler(
        timezone=UTC, job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
    )
    scheduler.add_job(lambda: rollouts.tick(time.time_ns()), "interval", seconds=rollout_tick_s, name="rollout tick")
    scheduler.add_job(prune, "interval", seconds=PRUNE_EVERY_S, name="prune ingest log")
    return scheduler


def _end_dead_runs(engine: Engine) -> None:
    end_dead_runs(engine, time.time_ns())


def _log_audit_head(engine: Engine) -> None:
    """A journal keeps it where whoever changes the database may not reach."""
    with reading(engine).begin() as connection:
        head = head_of(connection)
    if head.number:
        _audit_log.info("the audit log's head is %s", head)


def _lifespan(
    committer: Committer,
    ingest: IngestService,
    followers: list[Follower],
    scheduler: BackgroundScheduler,
    training: TrainingProcesses,
    stopping: threading.Event,
    log: IngestLog,
    engine: Engine,
) -> Lifespan[FastAPI]:
    """Starts what runs beside requests, and at the end stops it in the order in which the data flows."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(committer.recover, time.time_ns())
        await asyncio.to_thread(_end_dead_runs, engine)
        await asyncio.to_thread(_log_audit_head, engine)
        for follower in followers:
            follower.start()
        ingest.start()
        scheduler.start()
        try:
            yield
        finally:
            stopping.set()
            await ingest.stop()
            await asyncio.to_thread(scheduler.shutdown)
            for follower in followers:
                await asyncio.to_thread(follower.stop)
            await asyncio.to_thread(training.stop)
            log.close()
            engine.dispose()

    return lifespan


def _add_probes(app: FastAPI, backlog: Backlog) -> None:
    @app.get("/healthz", include_in_schema=False)
    async def healthz() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @app.get("/readyz", include_in_schema=False)
    def readyz(response: Response) -> Readiness:
        """What comes in is being stored and passed on; 503 with the reasons where it is not."""
        failures = backlog.failures()
        response.status_code = 503 if failures else 200
        return Readiness(ready=not failures, failures=failures)
