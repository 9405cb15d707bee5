"""What devices call. Bodies are sealed msgpack in, msgpack out; errors are problem+json.

POST /v1/enrol              Enrol -> EnrolReply         401 bad signature, 403 token refused, 409 another key is pinned, 429
POST /v1/rotate             Rotate -> Rotated           400, 401, 413
POST /v1/ingest             Batch -> Ack                400 not an envelope, 401, 413 too large, 429 busy (Retry-After)
POST /v1/checkin            CheckIn -> CheckInReply     400, 401, 413, 429 busy (Retry-After)
GET  /v1/ca                 the CA's certificate, PEM   404 where devices need none; open to all: a claim token has its hash

A device that is suspended or revoked gets 403, whatever it calls.
What a check-in tells a device to load it fetches from hub/distribution/routes.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import msgspec
from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from hub.api.bodies import read_body
from hub.api.direct import Endpoint
from hub.api.problems import Problem
from hub.devices.asking import KeyAsking
from hub.devices.checkin import MAX_CHECKIN_BYTES, MAX_CHECKIN_UNPACKED, Told
from hub.devices.enrol import MAX_ENROL_BYTES, read_enrol, store_enrol
from hub.devices.flood import EnrolFailures
from hub.devices.keys import DeviceKeptOut, DeviceKeys, verifier
from hub.devices.rotate import MAX_ROTATE_BYTES, read_rotation, take_rotation
from hub.distribution.repository import newest_root
from hub.ingest.admission import admit
from hub.ingest.service import CheckInService, IngestService
from hub.state.database import reading
from models.contract.checkin import CheckIn, Enrol, EnrolReply, Rotated
from models.contract.envelope import Sealed, open_sealed, read_sealed, signed_message, unpacked_bytes
from models.contract.names import MAX_ENVELOPE_BYTES
from models.contract.signing import root_message
from models.errors import EnvelopeError

_encoder = msgspec.msgpack.Encoder()


class DeviceApi:
    """The endpoints and what they share."""

    def __init__(
        self,
        engine: Engine,
        keys: DeviceKeys,
        ingest: IngestService,
        checkins: CheckInService,
        sign: Callable[[bytes], bytes],
        identity: EnrolReply,
        join_token: str,
        ca_pem: bytes | None = None,
        now_ns: Callable[[], int] = time.time_ns,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._keys = keys
        self._asking = KeyAsking(keys)
        self._ingest = ingest
        self._checkins = checkins
        self._sign = sign
        self._identity = identity
        self._join_token = join_token
        self._ca_pem = ca_pem
        self._now_ns = now_ns
        self._monotonic_s = monotonic_s
        self._failures = EnrolFailures()

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/v1/ingest", self.ingest, methods=["POST"]),
            Route("/v1/checkin", self.checkin, methods=["POST"]),
            Route("/v1/enrol", self.enrol, methods=["POST"]),
            Route("/v1/rotate", self.rotate, methods=["POST"]),
            Route("/v1/ca", self.ca, methods=["GET"]),
        ]

    def direct(self) -> Mapping[str, Endpoint]:
        """What is called so often that it gets a short way."""
        return {"/v1/ingest": self.ingest, "/v1/checkin": self.checkin}

    async def ingest(self, request: Request) -> Response:
        sealed = read_sealed(await read_body(request, MAX_ENVELOPE_BYTES), "ingest")
        batch = admit(sealed, await self._key_of(sealed))
        return _reply(await self._ingest.submit(batch))

    async def checkin(self, request: Request) -> Response:
        sealed = read_sealed(await read_body(request, MAX_CHECKIN_BYTES), "checkin")
        checkin = open_sealed(sealed, verifier(await self._key_of(sealed)), CheckIn, MAX_CHECKIN_UNPACKED)
        reply = await self._checkins.submit(Told(sealed.device_id, checkin, unpacked_bytes(sealed)))
        if checkin.root_version == 0:
            root = await run_in_threadpool(self._newest_root)
            if root:
                reply = msgspec.structs.replace(reply, root=root, root_signature=self._sign(root_message(root)))
        return _reply(reply)

    async def enrol(self, request: Request) -> Response:
        with self._limited(request):
            device_id, enrol = read_enrol(await read_body(request, MAX_ENROL_BYTES), self._join_token)
            site = await run_in_threadpool(self._store_enrol, device_id, enrol)
        return _reply(msgspec.structs.replace(self._identity, site=site))

    async def rotate(self, request: Request) -> Response:
        with self._limited(request):
            sealed = read_rotation(await read_body(request, MAX_ROTATE_BYTES))
            rotated = await run_in_threadpool(self._take_rotation, sealed)
        return _reply(rotated)

    async def ca(self, _request: Request) -> Response:
        if self._ca_pem is None:
            raise Problem(404, "not-found", "this hub has no CA of its own for devices to pin")
        return Response(self._ca_pem, media_type="application/x-pem-file")

    @contextmanager
    def _limited(self, request: Request) -> Iterator[None]:
        """Raises TooManyFailures; what is refused inside counts as one."""
        address = request.client.host if request.client else ""
        self._failures.check(address, self._monotonic_s())
        try:
            yield
        except (EnvelopeError, Problem):
            self._failures.failed(address, self._monotonic_s())
            raise

    async def _key_of(self, sealed: Sealed) -> bytes:
        """Raises UnknownDevice; DeviceSuspended, DeviceRevoked, which only the device itself is told: others BadSignature."""
        try:
            return await self._asking.key_of(sealed.device_id)
        except DeviceKeptOut as refusal:
            message = signed_message(sealed.purpose, sealed.device_id, sealed.payload)
            verifier(refusal.public_key)(sealed.device_id, sealed.signature, message)
            raise

    def _newest_root(self) -> bytes:
        with reading(self._engine).connect() as connection:
            return newest_root(connection)

    def _store_enrol(self, device_id: str, enrol: Enrol) -> str:
        with self._engine.begin() as connection:
            site = store_enrol(connection, device_id, enrol, self._now_ns())
        self._keys.forget(device_id)
        return site

    def _take_rotation(self, sealed: Sealed) -> Rotated:
        with self._engine.begin() as connection:
            rotated = take_rotation(connection, sealed, self._now_ns())
        self._keys.forget(sealed.device_id)
        return rotated


def _reply(message: msgspec.Struct) -> Response:
    return Response(_encoder.encode(message), media_type="application/msgpack")
