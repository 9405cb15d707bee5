"""What devices call. Bodies are sealed msgpack in, msgpack out; errors are problem+json.

POST /v1/enrol              Enrol -> EnrolReply         401 bad signature, 403 wrong join token, 409 another key is pinned
POST /v1/ingest             Batch -> Ack                400 not an envelope, 401, 413 too large, 429 busy (Retry-After)
POST /v1/checkin            CheckIn -> CheckInReply     400, 401, 413

What a check-in tells a device to load it fetches from hub/distribution/routes.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from hub.api.bodies import read_body
from hub.devices.checkin import MAX_CHECKIN_BYTES, DesiredSlotsOf, take_checkin
from hub.devices.enrol import MAX_ENROL_BYTES, read_enrol, store_enrol
from hub.devices.keys import DeviceKeys, verifier
from hub.distribution.repository import newest_root
from hub.ingest.admission import admit
from hub.ingest.service import IngestService
from models.contract.checkin import CheckIn, CheckInReply, Enrol, EnrolReply
from models.contract.envelope import open_sealed, read_sealed
from models.contract.names import MAX_ENVELOPE_BYTES
from models.contract.signing import root_message

_encoder = msgspec.msgpack.Encoder()


class DeviceApi:
    """The endpoints and what they share."""

    def __init__(
        self,
        engine: Engine,
        keys: DeviceKeys,
        ingest: IngestService,
        sign: Callable[[bytes], bytes],
        desired_slots: DesiredSlotsOf,
        identity: EnrolReply,
        join_token: str,
        checkin_s: float,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._engine = engine
        self._keys = keys
        self._ingest = ingest
        self._sign = sign
        self._desired_slots = desired_slots
        self._identity = identity
        self._join_token = join_token
        self._checkin_s = checkin_s
        self._now_ns = now_ns

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/v1/ingest", self.ingest, methods=["POST"]),
            Route("/v1/checkin", self.checkin, methods=["POST"]),
            Route("/v1/enrol", self.enrol, methods=["POST"]),
        ]

    async def ingest(self, request: Request) -> Response:
        sealed = read_sealed(await read_body(request, MAX_ENVELOPE_BYTES), "ingest")
        batch = admit(sealed, await self._key_of(sealed.device_id))
        return _reply(await self._ingest.submit(batch))

    async def checkin(self, request: Request) -> Response:
        sealed = read_sealed(await read_body(request, MAX_CHECKIN_BYTES), "checkin")
        checkin = open_sealed(sealed, verifier(await self._key_of(sealed.device_id)), CheckIn)
        return _reply(await run_in_threadpool(self._take_checkin, sealed.device_id, checkin))

    async def enrol(self, request: Request) -> Response:
        device_id, enrol = read_enrol(await read_body(request, MAX_ENROL_BYTES), self._join_token)
        await run_in_threadpool(self._store_enrol, device_id, enrol)
        return _reply(self._identity)

    async def _key_of(self, device_id: str) -> bytes:
        """Raises UnknownDevice."""
        remembered = self._keys.remembered(device_id)
        return remembered if remembered is not None else await run_in_threadpool(self._keys.find, device_id)

    def _take_checkin(self, device_id: str, checkin: CheckIn) -> CheckInReply:
        with self._engine.begin() as connection:
            reply = take_checkin(connection, device_id, checkin, self._desired_slots, self._checkin_s, self._now_ns())
            root = newest_root(connection) if checkin.root_version == 0 else b""
        return msgspec.structs.replace(reply, root=root, root_signature=self._sign(root_message(root))) if root else reply

    def _store_enrol(self, device_id: str, enrol: Enrol) -> None:
        with self._engine.begin() as connection:
            store_enrol(connection, device_id, enrol, self._now_ns())
        self._keys.remember(device_id, enrol.public_key)


def _reply(message: msgspec.Struct) -> Response:
    return Response(_encoder.encode(message), media_type="application/msgpack")
