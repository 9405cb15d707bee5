"""Counters that are kept while the hub works: requests, and what ingest takes in.

Labels have few values by construction: kinds of requests and statuses, never a device, an asset or a path as it was asked for.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from sqlalchemy import Engine
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hub.ingest.admission import Admitted
from hub.ingest.committer import Committer
from hub.ingest.log import IngestLog
from models.contract.envelope import Ack
from models.errors import EnvelopeError

_COMMIT_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_DEVICE_PATHS: Final = {"/v1/ingest": "ingest", "/v1/checkin": "checkin", "/v1/enrol": "enrol"}
_PROBE_PATHS: Final = ("/healthz", "/readyz", "/metrics")


class Meters:
    """Made once for a hub, in a registry of its own."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "tocsin_http_requests", "Requests that were answered, by what they were for and the answer.", ["area", "status"],
            registry=registry,
        )  # fmt: skip
        self._by_kind: dict[tuple[str, int], Counter] = {}
        self._envelopes = Counter(
            "tocsin_ingest_envelopes", "Verified envelopes that were committed or refused.", ["outcome"], registry=registry
        )
        self._items = Counter("tocsin_ingest_items", "Items in committed envelopes, redelivered ones too.", registry=registry)
        self._rejected = Counter(
            "tocsin_ingest_rejected_items", "Items that came, could not be used, and went into quarantine.", registry=registry
        )
        self._bytes = Counter("tocsin_ingest_bytes", "Bytes of the bodies of committed items, unpacked.", registry=registry)
        self._commit_s = Histogram(
            "tocsin_ingest_commit_seconds", "Time of a group commit: log, ledger, quarantine, synced.",
            buckets=_COMMIT_BUCKETS_S, registry=registry,
        )  # fmt: skip
        self._group = Histogram(
            "tocsin_ingest_commit_envelopes", "Envelopes in a group commit.", buckets=(1, 2, 4, 8, 16, 32, 64, 128),
            registry=registry,
        )  # fmt: skip

        # made at once: a rate cannot see the first one where nothing was told before it
        self._committed, self._refused = self._envelopes.labels("committed"), self._envelopes.labels("refused")

    def committed(self, group: Sequence[Admitted], outcomes: Sequence[Ack | EnvelopeError], seconds: float) -> None:
        taken = [batch for batch, outcome in zip(group, outcomes, strict=True) if isinstance(outcome, Ack)]
        self._commit_s.observe(seconds)
        self._group.observe(len(group))
        self._committed.inc(len(taken))
        if len(taken) < len(group):
            self._refused.inc(len(group) - len(taken))
        self._items.inc(sum(len(batch.items) for batch in taken))
        self._bytes.inc(sum(batch.n_bytes for batch in taken))
        self._rejected.inc(sum(fault is not None for batch in taken for _, fault in batch.items))

    def answered(self, path: str, status: int) -> None:
        kind = (_area(path), status)
        counter = self._by_kind.get(kind)
        if counter is None:  # looking the labels up costs more than counting
            counter = self._by_kind[kind] = self._requests.labels(kind[0], str(status))
        counter.inc()


class MeasuredCommitter(Committer):
    """Commits, and tells the meters how that went."""

    def __init__(self, engine: Engine, log: IngestLog, meters: Meters) -> None:
        super().__init__(engine, log)
        self._meters = meters

    def commit(self, group: Sequence[Admitted], now_ns: int) -> list[Ack | EnvelopeError]:
        begun = time.perf_counter()
        outcomes = super().commit(group, now_ns)
        self._meters.committed(group, outcomes, time.perf_counter() - begun)
        return outcomes


class CountRequests:
    """ASGI middleware: counts answers by area and status."""

    def __init__(self, app: ASGIApp, meters: Meters) -> None:
        self._app = app
        self._meters = meters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._meters.answered(scope["path"], message["status"])
            await send(message)

        await self._app(scope, receive, counted)


def _area(path: Any) -> str:
    if path in _DEVICE_PATHS:
        return _DEVICE_PATHS[path]
    if path in _PROBE_PATHS:
        return "probe"
    return "api" if path.startswith("/v1/") else "page"
