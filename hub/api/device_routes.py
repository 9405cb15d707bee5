"""What devices call. Bodies are sealed msgpack in, msgpack out; errors are problem+json.

POST /v1/enrol              Enrol -> EnrolReply         401 bad signature, 403 wrong join token, 409 another key is pinned
POST /v1/ingest             Batch -> Ack                400 not an envelope, 401, 413 too large, 429 busy (Retry-After)
POST /v1/checkin            CheckIn -> CheckInReply     400, 401, 413, 429 busy (Retry-After)
GET  /v1/bundles/{sha256}   the archive                 404; open to all: its digest is its name, and is signed
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Final

import msgspec
from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

from hub.api.bodies import read_body
from hub.api.problems import Problem
from hub.devices.checkin import MAX_CHECKIN_BYTES, Told
from hub.devices.enrol import MAX_ENROL_BYTES, read_enrol, store_enrol
from hub.devices.keys import DeviceKeys, verifier
from hub.ingest.admission import admit
from hub.ingest.service import CheckInService, IngestService
from hub.registry.registry import Registry
from models.contract.checkin import CheckIn, Enrol, EnrolReply
from models.contract.envelope import open_sealed, read_sealed
from models.contract.names import MAX_ENVELOPE_BYTES

_SHA256: Final = re.compile("[0-9a-f]{64}")
_encoder = msgspec.msgpack.Encoder()


class DeviceApi:
    """The endpoints and what they share."""

    def __init__(
        self,
        engine: Engine,
        keys: DeviceKeys,
        ingest: IngestService,
        checkins: CheckInService,
        registry: Registry,
        identity: EnrolReply,
        join_token: str,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._engine = engine
        self._keys = keys
        self._ingest = ingest
        self._checkins = checkins
        self._registry = registry
        self._identity = identity
        self._join_token = join_token
        self._now_ns = now_ns

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/v1/ingest", self.ingest, methods=["POST"]),
            Route("/v1/checkin", self.checkin, methods=["POST"]),
            Route("/v1/enrol", self.enrol, methods=["POST"]),
            _ArchiveRoute("/v1/bundles/{sha256}", self.archive),
        ]

    async def ingest(self, request: Request) -> Response:
        sealed = read_sealed(await read_body(request, MAX_ENVELOPE_BYTES), "ingest")
        batch = admit(sealed, await self._key_of(sealed.device_id))
        return _reply(await self._ingest.submit(batch))

    async def checkin(self, request: Request) -> Response:
        body = await read_body(request, MAX_CHECKIN_BYTES)
        sealed = read_sealed(body, "checkin")
        checkin = open_sealed(sealed, verifier(await self._key_of(sealed.device_id)), CheckIn)
        return _reply(await self._checkins.submit(Told(sealed.device_id, checkin, len(body))))

    async def enrol(self, request: Request) -> Response:
        device_id, enrol = read_enrol(await read_body(request, MAX_ENROL_BYTES), self._join_token)
        await run_in_threadpool(self._store_enrol, device_id, enrol)
        return _reply(self._identity)

    async def archive(self, request: Request) -> Response:
        path = self._registry.path(request.path_params["sha256"])
        if not path.is_file():
            raise Problem(404, "not-found", "no bundle with this SHA-256")
        return FileResponse(path, media_type="application/octet-stream", headers={"Cache-Control": "public, immutable"})

    async def _key_of(self, device_id: str) -> bytes:
        """Raises UnknownDevice."""
        remembered = self._keys.remembered(device_id)
        return remembered if remembered is not None else await run_in_threadpool(self._keys.find, device_id)

    def _store_enrol(self, device_id: str, enrol: Enrol) -> None:
        with self._engine.begin() as connection:
            store_enrol(connection, device_id, enrol, self._now_ns())
        self._keys.remember(device_id, enrol.public_key)


class _ArchiveRoute(Route):
    """Matches digests only: names under /v1/bundles are the operators'."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child = super().matches(scope)
        if match is not Match.NONE and not _SHA256.fullmatch(child["path_params"]["sha256"]):
            return Match.NONE, {}
        return match, child


def _reply(message: msgspec.Struct) -> Response:
    return Response(_encoder.encode(message), media_type="application/msgpack")
