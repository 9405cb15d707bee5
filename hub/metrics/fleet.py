"""What is read from the hub's state when Prometheus asks: the fleet, what waits, what fails, how large the lake is.

Profiles are the only names among the labels. Devices bring theirs, so at most `MAX_PROFILES` are told apart.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, get_args

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import Connection, Engine, func, select

from hub.ingest.pending import Backlog
from hub.lake.lake import DeltaLake
from hub.lake.tables import TABLES
from hub.rollout.machine import State
from hub.state.database import reading
from hub.state.schema import alerts, assets, devices, quarantine, rollouts, sensor_faults, sessions, training_runs
from hub.web.queries import STATES, read_ledger
from models.contract.items import LANES, Severity
from models.errors import StorageError
from models.version import VERSION

MAX_PROFILES: Final = 50
_TRAINING_STATES: Final = ("running", "done", "failed")
Sample = tuple[tuple[str, ...], float]


class FleetCollector(Collector):
    """`online_for_s`: how long after its last word a device counts as online."""

    def __init__(
        self,
        engine: Engine,
        backlog: Backlog,
        lake: DeltaLake,
        online_for_s: float,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._engine = reading(engine)
        self._backlog = backlog
        self._lake = lake
        self._online_for_ns = int(online_for_s * 1e9)
        self._now_ns = now_ns

    def describe(self) -> list[Any]:
        return []  # so that nothing is read when it is registered

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield _gauge("tocsin_build_info", "This hub's version; always 1.", ["version"], [((VERSION,), 1)])
        yield from self._of_backlog()
        yield from self._of_lake()
        with self._engine.begin() as connection:
            yield from _of_state(connection, self._now_ns() - self._online_for_ns)

    def _of_backlog(self) -> Iterator[GaugeMetricFamily]:
        pending = [((name,), n) for name, n in self._backlog.pending().items()]
        yield _gauge("tocsin_backlog_records", "Log records that a consumer has not read yet.", ["consumer"], pending)
        failing = self._backlog.failures()
        parts = [((name,), int(name in failing)) for name in ("ingest", *self._backlog.pending())]
        yield _gauge("tocsin_failing", "1 while this part of the hub fails; /readyz says why.", ["part"], parts)

    def _of_lake(self) -> Iterator[GaugeMetricFamily]:
        rows, sizes, files = [], [], []
        for table in TABLES:
            try:
                size = self._lake.size(table)
            except StorageError:  # it shows as missing, and `tocsin_failing` says so for its writer
                continue
            rows.append(((str(table),), size.n_rows))
            sizes.append(((str(table),), size.n_bytes))
            files.append(((str(table),), size.n_files))
        yield _gauge("tocsin_lake_rows", "Rows in the lake.", ["table"], rows)
        yield _gauge("tocsin_lake_bytes", "Size of the files of the newest version.", ["table"], sizes)
        yield _gauge("tocsin_lake_files", "Files of the newest version.", ["table"], files)


def _of_state(connection: Connection, online_since_ns: int) -> Iterator[GaugeMetricFamily]:
    online = devices.c.last_seen_ns >= online_since_ns
    of_devices = select(func.count()).select_from(devices)
    told = [(("true",), _one(connection, of_devices.where(online))), (("false",), _one(connection, of_devices.where(~online)))]
    yield _gauge("tocsin_devices", "Enrolled devices, by whether they were heard lately.", ["online"], told)
    join = assets.join(devices, devices.c.device_id == assets.c.device_id)
    by_profile = select(assets.c.profile, func.count(assets.c.device_id.distinct())).select_from(join)
    heard = _told_apart(connection.execute(by_profile.where(online).group_by(assets.c.profile)).all())
    yield _gauge("tocsin_devices_online", "Devices heard lately that watch an asset of the profile.", ["profile"], heard)
    # What may be is told as 0 while it is not: a rule cannot see a change from nothing to something.
    severities: tuple[str, ...] = get_args(Severity)
    counts = (
        ("tocsin_assets", "Assets, by state.", assets.c.state, None, STATES),
        ("tocsin_alerts_open", "Open alerts, by severity.", alerts.c.severity, alerts.c.closed_ns, severities),
        ("tocsin_sensor_faults_open", "Open sensor faults, by kind.", sensor_faults.c.fault, sensor_faults.c.closed_ns, ()),
        ("tocsin_rollouts", "Rollouts, by state.", rollouts.c.state, None, get_args(State)),
        ("tocsin_training_runs", "Training runs, by state.", training_runs.c.state, None, _TRAINING_STATES),
    )
    for name, told_as, column, closed_ns, known in counts:
        query = select(column, func.count()).group_by(column)
        found = connection.execute(query if closed_ns is None else query.where(closed_ns.is_(None))).all()
        yield _gauge(name, told_as, [column.name], _told_apart(found, known))
    yield _of_ledger(connection)
    n_quarantined = _one(connection, select(func.count()).select_from(quarantine))
    yield _gauge("tocsin_quarantine_items", "Items in quarantine.", [], [((), n_quarantined)])
    n_sessions = _one(connection, select(func.count()).select_from(sessions))
    yield _gauge("tocsin_sessions", "Sessions of browsers that have not been ended.", [], [((), n_sessions)])


def _of_ledger(connection: Connection) -> GaugeMetricFamily:
    told = "Items that devices made, by lane and by what became of them; missing ones are known to exist and not here."
    found = {account.lane: account for account in read_ledger(connection)}
    samples = [
        ((lane, account), getattr(found[lane], f"n_{account}") if lane in found else 0)
        for lane in LANES
        for account in ("received", "missing", "evicted", "merged")
    ]
    return _gauge("tocsin_ledger_items", told, ["lane", "account"], samples)


def fleet_registry(collector: FleetCollector) -> CollectorRegistry:
    """A registry with it and the process's own metrics."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(collector)
    return registry


def _one(connection: Connection, query: Any) -> int:
    return int(connection.execute(query).scalar_one())


def _told_apart(rows: Iterable[Any], known: Iterable[str] = ()) -> list[Sample]:
    """The most frequent values by name, the rest as "other"; the `known` ones also where there is none."""
    counts = Counter({**dict.fromkeys(known, 0), **{str(value): int(n) for value, n in rows}})
    kept = counts.most_common(MAX_PROFILES)
    rest = sum(counts.values()) - sum(n for _, n in kept)
    told: list[Sample] = [((value,), n) for value, n in kept]
    return [*told, (("other",), rest)] if rest else told


def _gauge(name: str, told_as: str, labels: list[str], samples: Iterable[Sample]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, told_as, labels=labels)
    for values, number in samples:
        family.add_metric(list(values), number)
    return family
