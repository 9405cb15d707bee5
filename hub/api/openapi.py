"""What `/v1/openapi.json` says beyond what FastAPI works out: every error as a problem, who may call what, and what devices
call.

The table of rights (`hub/operators/rights.py`) is the source of the security of each operation, so that neither can be
forgotten for the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI
from starlette.routing import Route

from hub.api.paging import LINK_HEADER
from hub.operators.rights import DEVICE, ROUTES, SCOPES, Right

PROBLEM_TYPE: Final = "application/problem+json"
Json = dict[str, Any]
_PROBLEM: Final[Json] = {
    "title": "Problem",
    "description": "RFC 9457: `type` is a stable word, `detail` one line that a person can act on.",
    "type": "object",
    "required": ["type", "status", "detail"],
    "properties": {
        "type": {"type": "string", "pattern": "^urn:tocsin:[a-z0-9-]+$"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string"},
    },
}
_SAID: Final = {
    400: "What was sent cannot be used as it is.",
    401: "Nobody is signed in, or the token or signature is unknown or has expired.",
    403: "Whoever asks may not do this.",
    404: "There is no such thing.",
    408: "The body did not come in time.",
    409: "Its present state does not allow it.",
    413: "The body is larger than is taken.",
    422: "A parameter or the body is not as described here.",
    429: "Too much at once; Retry-After says when to try again.",
    500: "An error inside the hub; its log has the details.",
    503: "The state cannot be read or written at the moment; Retry-After says when to try again.",
}
_SECURITY: Final[Json] = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": f"The admin token, or an API token with a scope that the operation names: {', '.join(SCOPES)}.",
    },
    "session": {"type": "apiKey", "in": "cookie", "name": "tocsin_session", "description": "Set by signing in on the page."},
}
_DEVICE_ERRORS: Final = {
    "/v1/enrol": (400, 401, 403, 408, 409, 413),
    "/v1/ingest": (400, 401, 408, 413, 429),
    "/v1/checkin": (400, 401, 408, 413),
}


def problems(*statuses: int) -> dict[int | str, Json]:
    """For a route's `responses`: these, as problems."""
    return {
        status: {
            "description": _SAID.get(status, HTTPStatus(status).phrase),
            "content": {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


def page_responses() -> dict[int | str, Json]:
    """For the `responses` of a route that gives a page of a list."""
    return {200: {"headers": LINK_HEADER}}


def describe(app: FastAPI) -> None:
    """Let the app's own description say all of it."""
    work_out = app.openapi

    def openapi() -> Json:
        if app.openapi_schema is None:
            schema = work_out()
            for route in app.routes:
                _add_plain(schema["paths"], route)
            for wanted, operation in _operations(schema):
                _complete(operation, wanted, ROUTES.get(wanted))
            components = schema.setdefault("components", {})
            components["securitySchemes"] = _SECURITY
            schemas = components.setdefault("schemas", {})
            schemas["Problem"] = _PROBLEM
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _operations(schema: Json) -> Iterator[tuple[str, Json]]:
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def _complete(operation: Json, wanted: str, right: Right | None) -> None:
    """Errors that any operation may answer with, and who may call it."""
    responses = operation["responses"]
    taken = [500, 503]
    if "requestBody" in operation:
        taken += [400, 408, 413]
    if "parameters" in operation or "requestBody" in operation:
        taken.append(422)
    if right is not None and right.role is not None:
        taken += [401, 403]
        operation["security"] = [{"token": sorted(right.scopes)}, {"session": [right.role]}]
        who = f"Least role: {right.role}. Scopes, any of: {', '.join(sorted(right.scopes | {'admin'}))}."
        operation["description"] = f"{operation.get('description', '')}\n\n{who}".strip()
    elif right is not None:
        operation["security"] = []
    if wanted.endswith("}"):
        taken.append(404)
    responses.pop("422", None)
    for status, response in problems(*taken).items():
        responses.setdefault(str(status), response)
    operation["responses"] = dict(sorted(responses.items()))


_MEDIA_TYPES: Final = {"/v1/ca": "application/x-pem-file", "/v1/tuf/metadata/{name}": "application/json"}


def _add_plain(paths: Json, route: object) -> None:
    """A plain route: what devices call, in msgpack, and the metrics."""
    if not isinstance(route, Route) or not route.path.startswith(("/v1/", "/metrics")) or not route.include_in_schema:
        return
    if _shape(route.path) in map(_shape, paths):  # told with the operators' route of that shape: bundles by digest
        return
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1, "maxLength": 200}}
        for name in route.param_convertors
    ]
    for method in sorted((route.methods or set()) - {"HEAD"}):
        told = (getattr(route.endpoint, "__doc__", None) or route.name).strip()
        operation: Json = {"summary": told.splitlines()[0], "operationId": f"plain_{route.name}", "responses": {}}
        if parameters:
            operation["parameters"] = parameters
        if route.path == "/metrics":
            operation["responses"]["200"] = {
                "description": "Prometheus's text format.",
                "content": {"text/plain": {"schema": {"type": "string"}}},
            }
        elif ROUTES.get(f"{method} {route.path}", DEVICE) == DEVICE:
            body = {"application/msgpack": {"schema": {"type": "string", "format": "binary"}}}
            operation |= {"tags": ["devices"], "requestBody": {"required": True, "content": body}}
            operation["responses"]["200"] = {"description": "As docs/formats.md describes.", "content": body}
            operation["responses"] |= {
                str(status): response for status, response in problems(*_DEVICE_ERRORS.get(route.path, (400, 401, 413))).items()
            }
        else:
            media_type = _MEDIA_TYPES.get(route.path, "application/octet-stream")
            content = {media_type: {"schema": {"type": "string", "format": "binary"}}}
            operation["responses"]["200"] = {"description": "The bytes.", "content": content}
            operation["responses"] |= {str(status): response for status, response in problems(404).items()}
        paths.setdefault(route.path, {})[method.lower()] = operation


def _shape(path: str) -> str:
    """The path, whatever its parameters are called."""
    return re.sub(r"\{[^}]*\}", "{}", path)
