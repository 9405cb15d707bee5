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
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine
from starlette.types import Lifespan

from hub.access import Access
from hub.alerts.routes import AlertsApi
from hub.api.device_routes import DeviceApi
from hub.api.direct import DirectApp
from hub.api.openapi import describe
from hub.api.operator_routes import OperatorApi
from hub.api.problems import add_problem_handlers
from hub.api.shapes import Readiness
from hub.api.training import TrainingProcesses
from hub.ask.api import AskApi
from hub.ask.opened import ask_of
from hub.audit.log import head_of
from hub.devices.checkin import CheckIns
from hub.devices.keys import DeviceKeys
from hub.devices.routes import IdentityApi
from hub.distribution.repository import Repository
from hub.distribution.routes import DistributionApi
from hub.erasure.erasure import Eraser
from hub.ingest.committer import LEDGER, Committer
from hub.ingest.consumer import Follower, check_not_older
from hub.ingest.log import IngestLog, SqliteIngestLog
from hub.ingest.pending import Backlog
from hub.ingest.positions import get_position, read_by_all
from hub.ingest.service import CheckInService, IngestService
from hub.lake.lake import Lake, open_lake
from hub.lake.query import LakeCounter
from hub.lake.upkeep import Upkeep
from hub.lake.writer import LakeWriter
from hub.ledger.routes import LedgerApi
from hub.metrics.fleet import FleetCollector, fleet_registry
from hub.metrics.meters import CountRequests, MeasuredCommitter, Meters
from hub.metrics.routes import metrics_route
from hub.notify.notifier import Notifier
from hub.operators.passwords import Passwords
from hub.operators.routes import AccountsApi
from hub.operators.sessions import Lifetime, Sessions
from hub.operators.signin import SignIn
from hub.projector.alerts import Alerts, SensorFaults
from hub.projector.clocks import Clocks
from hub.projector.condition import Commissionings, HealthReports
from hub.projector.losses import Losses
from hub.projector.projector import Projection, Projector
from hub.registry.registry import Registry
from hub.rollout.after_training import AfterTraining
from hub.rollout.desired import load_desired
from hub.rollout.evidence import StageEvidence
from hub.rollout.service import RolloutService
from hub.settings import Hub
from hub.state.database import open_state, reading
from hub.training.routes import LearningApi
from hub.training.runs import end_dead_runs
from hub.training.watch import TrainingWatch, settings_of
from hub.value.routes import ValueApi
from hub.web.routes import web_routes
from models.contract.checkin import EnrolReply

_audit_log = logging.getLogger("hub.audit")
PRUNE_EVERY_S: Final = 60.0
TEND_EVERY_S: Final = 60.0
TRIGGERS_EVERY_S: Final = 300.0
AFTER_TRAINING_EVERY_S: Final = 30.0
LAKE_UPKEEP_EVERY_S: Final = 900.0
ERASE_EVERY_S: Final = 2.0  # how soon an erasure that was asked for begins
NOTIFY_EVERY_S: Final = 2.0
PROJECTOR_REST_S: Final = 0.25  # between batches: their statements cost more than their records
_PROJECTOR_BATCH: Final = 5000  # records in one transaction at most
MAX_CHECKINS_WAITING: Final = 5000  # a fleet that comes back at once
CHECKIN_GATHER_S: Final = 0.1  # nobody waits for the answer to a check-in, and together they cost a fraction
_LAKE_BATCH: Final = 40_000  # records in one commit at most; those that the log keeps decoded are about as many


def build_app(hub: Hub) -> FastAPI:
    """The whole hub as one ASGI app. Raises StorageError, ConfigError: nothing has been started then.

    `app.state.stopping` is an Event; a server sets it when it begins to shut down, so that open streams end.
    """
    engine = open_state(hub.state_url)
    log = SqliteIngestLog(hub.paths.ingest)
    lake = open_lake(hub.lake_url)
    sessions = _sessions(engine, hub)
    access = Access(engine, hub.admin_token, sessions)
    passwords = Passwords()
    signin = SignIn(engine, sessions, passwords, hub.admin_token)
    repository = hub.repository()
    repository.tend(engine, time.time_ns())
    registry = Registry(engine, hub.paths.bundles, repository)
    rollouts = RolloutService(engine, require_approval=hub.config.require_approval)
    training = TrainingProcesses(hub.paths.root, hub.paths.logs, hub.profiles_dir, lambda: _end_dead_runs(engine))
    stopping = threading.Event()
    online_for_s = 3 * hub.config.checkin_s

    followers = _followers(engine, log, lake, hub.config.lake_commit_s)
    counted = CollectorRegistry()
    meters = Meters(counted)
    committer = MeasuredCommitter(engine, log, meters)
    ingest = IngestService(committer, on_commit=lambda: _wake(followers))
    checkins = CheckInService(
        CheckIns(engine, load_desired, hub.config.checkin_s), max_waiting=MAX_CHECKINS_WAITING, gather_s=CHECKIN_GATHER_S
    )
    backlog = Backlog(log, ingest, followers)
    keys = DeviceKeys(reading(engine))
    upkeep = Upkeep(lake, engine, hub.config, writer=followers[-1])

    def forget(device_id: str) -> None:
        keys.forget(device_id)
        committer.look_again()

    eraser = Eraser(engine, log, lake, [follower.paused for follower in followers], forget, ingest.flush)
    scheduler = _scheduler(
        repository,
        rollouts,
        hub.config.rollout_tick_s,
        engine,
        log,
        followers,
        upkeep,
        eraser,
        TrainingWatch(engine, lake, settings_of(hub.config), training.start),
        AfterTraining(engine, rollouts) if hub.config.rollout_trained else None,
        Notifier(engine, hub.config.notify, hub.paths.root, hub.config.url),
    )

    identity = EnrolReply(hub_id=hub.config.hub_id, hub_public_key=hub.key.public_bytes)
    device_api = DeviceApi(engine, keys, ingest, checkins, hub.key.sign, identity, hub.join_token, hub.tls.ca_pem())
    operator_api = OperatorApi(
        engine, access, registry, rollouts, training, backlog, LakeCounter(lake), hub.config.hub_id, online_for_s
    )
    accounts_api = AccountsApi(engine, access, passwords)
    ask = ask_of(hub, engine, lake)
    fleet = fleet_registry(FleetCollector(engine, backlog, lake, online_for_s))
    pages = web_routes(
        engine,
        access,
        signin,
        rollouts,
        lake,
        session_max_s=sessions.max_s,
        silent_after_s=online_for_s,
        profiles_dir=hub.profiles_dir,
        config=hub.config,
        stopping=stopping.is_set,
        ask=ask,
    )

    app = DirectApp(
        device_api.direct(),
        meters.answered,
        title="Tocsin hub",
        version=version("tocsin"),
        lifespan=_lifespan(committer, ingest, checkins, followers, scheduler, training, stopping, log, engine),
        openapi_url="/v1/openapi.json",
        docs_url=None,  # the usual pages load their scripts from the internet
        redoc_url=None,
        redirect_slashes=False,  # no answer of this hub is made from the address that was asked for
        telemetry={"tracing": False, "metrics": False, "logs": False},  # asks the environment three times a request
    )
    app.add_middleware(CountRequests, meters=meters)
    app.state.stopping = stopping
    add_problem_handlers(app)
    app.router.routes.extend(device_api.routes())
    app.router.routes.extend(DistributionApi(engine, registry.path).routes())
    for api in (
        operator_api,
        IdentityApi(engine, access, hub, keys),
        accounts_api,
        LedgerApi(engine, access, lake),
        ValueApi(engine, access, lake, hub.profiles_dir),
        AlertsApi(engine, access),
        LearningApi(engine, access, registry),
        AskApi(access, ask),
    ):
        app.include_router(api.router())
    _add_probes(app, backlog)
    app.router.routes.append(metrics_route(access, counted, fleet))
    app.router.routes.extend(pages)
    describe(app)
    return app


def _sessions(engine: Engine, hub: Hub) -> Sessions:
    lifetime = Lifetime(idle_s=hub.config.session_idle_h * 3600, max_s=hub.config.session_max_h * 3600)
    return Sessions(engine, hub.admin_token, lifetime)


def _followers(engine: Engine, log: IngestLog, lake: Lake, lake_commit_s: float) -> list[Follower]:
    projections: list[Projection] = [
        Clocks(), Alerts(), SensorFaults(), Commissionings(), HealthReports(), Losses(), StageEvidence()
    ]  # fmt: skip
    followers = [
        Follower(log, Projector(engine, log.log_id, projections), batch=_PROJECTOR_BATCH, rest_s=PROJECTOR_REST_S),
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
    repository: Repository,
    rollouts: RolloutService,
    rollout_tick_s: float,
    engine: Engine,
    log: IngestLog,
    followers: list[Follower],
    upkeep: Upkeep,
    eraser: Eraser,
    watch: TrainingWatch,
    after_training: AfterTraining | None,
    notifier: Notifier,
) -> BackgroundScheduler:
    """Work by the clock. A round that is late is done once, never twice at a time."""
    readers = [LEDGER, *(follower.name for follower in followers)]

    def prune() -> None:
        with reading(engine).begin() as connection:
            position = read_by_all(connection, readers, log.log_id)
        log.prune(position)

    # It warns of each round that is due while the one before goes on, which is as it should be: an erasure may take minutes.
    logging.getLogger("apscheduler.scheduler").setLevel(logging.ERROR)
    scheduler = BackgroundScheduler(
        timezone=UTC, job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
    )
    scheduler.add_job(lambda: rollouts.tick(time.time_ns()), "interval", seconds=rollout_tick_s, name="rollout tick")
    scheduler.add_job(
        lambda: repository.tend(engine, time.time_ns()), "interval", seconds=TEND_EVERY_S, name="renew signed metadata"
    )
    scheduler.add_job(prune, "interval", seconds=PRUNE_EVERY_S, name="prune ingest log")
    scheduler.add_job(lambda: upkeep.run(time.time_ns()), "interval", seconds=LAKE_UPKEEP_EVERY_S, name="lake upkeep")
    scheduler.add_job(lambda: eraser.run(time.time_ns()), "interval", seconds=ERASE_EVERY_S, name="erasures")
    if notifier.is_on:
        scheduler.add_job(notifier.run, "interval", seconds=NOTIFY_EVERY_S, name="notifications")
    if watch.is_on:
        scheduler.add_job(lambda: watch.look(time.time_ns()), "interval", seconds=TRIGGERS_EVERY_S, name="training triggers")
    if after_training is not None:
        follow = after_training.look
        scheduler.add_job(
            lambda: follow(time.time_ns()), "interval", seconds=AFTER_TRAINING_EVERY_S, name="roll out the trained"
        )
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
    checkins: CheckInService,
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
        checkins.start()
        scheduler.start()
        try:
            yield
        finally:
            stopping.set()
            await ingest.stop()
            await checkins.stop()
            await asyncio.to_thread(scheduler.shutdown)
            for follower in followers:
                await asyncio.to_thread(follower.stop)
            await asyncio.to_thread(training.stop)
            log.close()
            engine.dispose()

    return lifespan


def _add_probes(app: FastAPI, backlog: Backlog) -> None:
    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @app.get("/readyz", responses={503: {"model": Readiness, "description": "Something does not; `failures` says what."}})
    def readyz(response: Response) -> Readiness:
        """What comes in is being stored and passed on; 503 with the reasons where it is not."""
        failures = backlog.failures()
        response.status_code = 503 if failures else 200
        return Readiness(ready=not failures, failures=failures)
