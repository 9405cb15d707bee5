"""Errors as `application/problem+json` (RFC 9457): `type` is a stable word, `detail` one line that a person can act on."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from hub.ask.engine import AskBusy
from hub.ask.understand import QuestionTooLong
from hub.devices.claims import ClaimRefused
from hub.devices.enrol import JoinRefused, KeyConflict
from hub.devices.flood import TooManyFailures
from hub.devices.keys import BadSignature, DeviceRevoked, DeviceSuspended, UnknownDevice
from hub.ingest.service import Busy
from hub.lake.query import QueryError
from hub.operators.accounts import AccountError, UnknownAccount
from hub.operators.passwords import BadPassword, SignInBusy
from hub.state.database import cause_of
from models.errors import BundleError, ConfigError, EnvelopeError, RolloutError, StorageError, TocsinError, TrainingError

# The first that fits decides.
_STATUS: Final[tuple[tuple[type[Exception], int, str], ...]] = (
    (UnknownDevice, 401, "unknown-device"),
    (BadSignature, 401, "bad-signature"),
    (DeviceSuspended, 403, "device-suspended"),
    (DeviceRevoked, 403, "device-revoked"),
    (ClaimRefused, 403, "claim-refused"),
    (JoinRefused, 403, "join-refused"),
    (KeyConflict, 409, "key-conflict"),
    (EnvelopeError, 400, "bad-envelope"),
    (Busy, 429, "busy"),
    (TooManyFailures, 429, "too-many-failures"),
    (BundleError, 422, "bad-bundle"),
    (RolloutError, 409, "rollout"),
    (TrainingError, 409, "training"),
    (QueryError, 400, "query"),
    (QuestionTooLong, 400, "query"),
    (AskBusy, 429, "busy"),
    (UnknownAccount, 404, "not-found"),
    (AccountError, 409, "account"),
    (BadPassword, 422, "bad-password"),
    (SignInBusy, 429, "busy"),
    (ConfigError, 400, "bad-request"),
    (StorageError, 503, "storage"),
    (TocsinError, 500, "error"),
    (sqlite3.Error, 503, "storage"),
    (OperationalError, 503, "storage"),
    (PoolTimeout, 503, "storage"),
)


class Problem(Exception):
    """An answer other than success; `kind` becomes the last part of `type`."""

    def __init__(self, status: int, kind: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.headers = headers


def problem(status: int, kind: str, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    content = {"type": f"urn:tocsin:{kind}", "status": status, "detail": detail}
    return JSONResponse(content, status, headers, media_type="application/problem+json")


def add_problem_handlers(app: FastAPI) -> None:
    """Every error that is raised on purpose, and every error of the framework, answers as a problem."""
    for error_type, handler in _HANDLERS.items():
        app.add_exception_handler(error_type, handler)
    app.add_exception_handler(Exception, _of_bug)


def is_known(error: Exception) -> bool:
    """Whether somebody raises it on purpose."""
    return isinstance(error, tuple(_HANDLERS))


def problem_of(request: Request, error: Exception) -> Response:
    """The answer to a request that ended in this error, whatever it is."""
    handler = next((handler for error_type, handler in _HANDLERS.items() if isinstance(error, error_type)), _of_bug)
    return handler(request, error)


def _of_problem(_request: Request, error: Any) -> Response:
    return problem(error.status, error.kind, str(error), error.headers)


def _of_http(_request: Request, error: Any) -> Response:
    kind = str(HTTPStatus(error.status_code).phrase).lower().replace(" ", "-")
    return problem(error.status_code, kind, str(error.detail), error.headers)


def _of_validation(_request: Request, error: Any) -> Response:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return problem(422, "bad-request", f"{where}: {first['msg']}")


def _of_disconnect(_request: Request, _error: Exception) -> Response:
    return problem(400, "disconnected", "the request ended before its body did")  # nobody reads it


def _of_error(_request: Request, error: Exception) -> Response:
    status, kind = next((status, kind) for known, status, kind in _STATUS if isinstance(error, known))
    pause_s = getattr(error, "retry_after_s", None)
    if status == 503:
        pause_s = 5
    headers = {"Retry-After": str(max(1, round(pause_s)))} if pause_s is not None else None
    return problem(status, kind, cause_of(error) if status == 503 else str(error), headers)


def _of_bug(_request: Request, _error: Exception) -> Response:
    return problem(500, "internal", "an error inside the hub; its log has the details")


_HANDLERS: Final[Mapping[type[Exception], Callable[[Request, Any], Response]]] = {
    Problem: _of_problem,
    HTTPException: _of_http,
    RequestValidationError: _of_validation,
    ClientDisconnect: _of_disconnect,
    TocsinError: _of_error,
    sqlite3.Error: _of_error,
    OperationalError: _of_error,
    PoolTimeout: _of_error,
}
