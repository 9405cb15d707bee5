"""What devices fetch, as TUF lays it out. Open to all: what matters is signed, and nothing here is secret.

GET /v1/tuf/metadata/timestamp.json                          the newest
GET /v1/tuf/metadata/{VERSION}.{ROLE}.json                   never changes
GET /v1/tuf/targets/{PROFILE}/{SHA256}.{BUNDLE_ID}.bundle    never changes; in parts as well (Range, RFC 9110, 14)

404 where there is none.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route

from hub.api.problems import Problem
from hub.distribution.metadata import load
from hub.state.database import reading

_METADATA: Final = re.compile(r"(?:([1-9][0-9]{0,8})\.)?([A-Za-z0-9_.\-]{1,80})\.json")
_TARGET: Final = re.compile(r"([0-9a-f]{64})\.[A-Za-z0-9_.\-]{1,64}\.bundle")
_FOREVER: Final = {"Cache-Control": "public, max-age=31536000, immutable"}
_NEVER: Final = {"Cache-Control": "no-store"}


class DistributionApi:
    """`archive`: where the archive of a digest is kept."""

    def __init__(self, engine: Engine, archive: Callable[[str], Path]) -> None:
        self._engine = reading(engine)
        self._archive = archive

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/v1/tuf/metadata/{name}", self.metadata),
            Route("/v1/tuf/targets/{profile}/{name}", self.target),
        ]

    async def metadata(self, request: Request) -> Response:
        name = _METADATA.fullmatch(request.path_params["name"])
        if name is None or (name[1] is None) != (name[2] == "timestamp"):
            raise Problem(404, "not-found", "no such metadata")
        content = await run_in_threadpool(self._load, name[2], int(name[1]) if name[1] else None)
        if content is None:
            raise Problem(404, "not-found", "no such metadata")
        return Response(content, media_type="application/json", headers=_FOREVER if name[1] else _NEVER)

    async def target(self, request: Request) -> Response:
        name = _TARGET.fullmatch(request.path_params["name"])
        path = self._archive(name[1]) if name is not None else None
        if path is None or not path.is_file():
            raise Problem(404, "not-found", "no such bundle")
        return FileResponse(path, media_type="application/octet-stream", headers=_FOREVER)

    def _load(self, role: str, version: int | None) -> bytes | None:
        with self._engine.begin() as connection:
            found = load(connection, role, version)
        return found[1] if found is not None else None
