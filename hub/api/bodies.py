"""Reading a request's body without letting it grow beyond what is expected."""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.requests import Request

from hub.api.problems import Problem

MAX_BODY_S: Final = 120.0  # an 8 MiB bundle over 0.6 Mbit/s


async def read_body(request: Request, max_bytes: int) -> bytes:
    """The whole body. Raises Problem: 413 as soon as it is known to be larger, whether or not its length was stated; 408 where
    it has not come within MAX_BODY_S."""
    stated = request.headers.get("content-length", "")
    if stated.isdigit() and int(stated) > max_bytes:
        raise _too_large(max_bytes)
    chunks, size = [], 0
    try:
        async with asyncio.timeout(MAX_BODY_S):
            async for chunk in request.stream():
                size += len(chunk)
                if size > max_bytes:
                    raise _too_large(max_bytes)
                chunks.append(chunk)
    except TimeoutError:
        raise Problem(408, "too-slow", f"no whole body within {MAX_BODY_S:g} s", {"Connection": "close"}) from None
    return b"".join(chunks)


def _too_large(max_bytes: int) -> Problem:
    return Problem(413, "too-large", f"at most {max_bytes} bytes", {"Connection": "close"})
