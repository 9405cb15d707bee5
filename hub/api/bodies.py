"""Reading a request's body without letting it grow beyond what is expected."""

from __future__ import annotations

from starlette.requests import Request

from hub.api.problems import Problem


async def read_body(request: Request, max_bytes: int) -> bytes:
    """The whole body. Raises Problem 413 as soon as it is known to be larger, whether or not its length was stated."""
    stated = request.headers.get("content-length", "")
    if stated.isdigit() and int(stated) > max_bytes:
        raise _too_large(max_bytes)
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > max_bytes:
            raise _too_large(max_bytes)
        chunks.append(chunk)
    return b"".join(chunks)


def _too_large(max_bytes: int) -> Problem:
    return Problem(413, "too-large", f"at most {max_bytes} bytes", {"Connection": "close"})
