"""API tokens: for scripts and scrapers, each with a name, scopes and an end. Rows of `api_tokens`.

A token is `tocsin_` and 32 random bytes, shown once when it is made; the hub keeps its SHA-256, which needs no salt nor
slowness where nobody can guess. Its last use is noted to the minute.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import Connection, Engine, delete, insert, select, update
from sqlalchemy.exc import OperationalError

from hub.audit.log import JsonValue, record
from hub.operators.accounts import AccountError, UnknownAccount, check_name
from hub.operators.rights import SCOPES, Principal, Scope
from hub.state.database import reading
from hub.state.schema import api_tokens

PREFIX: Final = "tocsin_"
ADMIN_TOKEN_NAME: Final = "admin"  # noqa: S105 (a name): what the audit log calls the hub's own admin token
MAX_TTL_S: Final = 10 * 366 * 86400.0
USED_STEP_NS: Final = 60_000_000_000
_SHOWN: Final = ("name", "scopes", "created_by", "created_ns", "expires_ns", "last_used_ns")


def create_token(connection: Connection, name: str, scopes: Iterable[Scope], ttl_s: float, *, actor: str, now_ns: int) -> str:
    """The new token, which nobody can show again. Raises AccountError: the name is taken or none, no scope, no such time."""
    granted = [scope for scope in SCOPES if scope in set(scopes)]
    if not granted:
        raise AccountError(f"a token needs a scope: {', '.join(SCOPES)}")
    if not 60 <= ttl_s <= MAX_TTL_S:
        raise AccountError("a token lives for a minute to ten years")
    if check_name(name) == ADMIN_TOKEN_NAME:
        raise AccountError(f"{ADMIN_TOKEN_NAME} is what the hub's own admin token is called")
    if connection.execute(select(api_tokens.c.name).where(api_tokens.c.name == name)).first() is not None:
        raise AccountError(f"there is a token {name} already")
    token = PREFIX + secrets.token_urlsafe(32)
    expires_ns = now_ns + int(ttl_s * 1e9)
    row = {"name": name, "sha256": digest(token), "scopes": granted, "created_by": actor, "created_ns": now_ns}
    connection.execute(insert(api_tokens).values(**row, expires_ns=expires_ns))
    details: dict[str, JsonValue] = {"scopes": granted, "expires_ns": expires_ns}
    record(connection, at_ns=now_ns, actor=actor, action="token.create", subject=f"token:{name}", details=details)
    return token


def revoke_token(connection: Connection, name: str, *, actor: str, now_ns: int) -> None:
    """It opens nothing from the next request on. Raises UnknownAccount."""
    if not connection.execute(delete(api_tokens).where(api_tokens.c.name == name)).rowcount:
        raise UnknownAccount(f"no token {name[:80]!r}; `tocsin hub api-token list` lists them")
    record(connection, at_ns=now_ns, actor=actor, action="token.revoke", subject=f"token:{name}")


def list_tokens(connection: Connection, *, limit: int | None = None, after: str = "") -> list[dict[str, Any]]:
    """By name, from the first one after `after` on; those that have expired too."""
    columns = (api_tokens.c[name] for name in _SHOWN)
    query = select(*columns).where(api_tokens.c.name > after).order_by(api_tokens.c.name).limit(limit)
    return [dict(row) for row in connection.execute(query).mappings()]


def principal_of_token(engine: Engine, token: str, now_ns: int) -> Principal | None:
    """Whom the token stands for; None where it is unknown, revoked or expired."""
    if not token.startswith(PREFIX):
        return None
    with reading(engine).begin() as connection:
        row = connection.execute(select(api_tokens).where(api_tokens.c.sha256 == digest(token))).first()
    if row is None or row.expires_ns <= now_ns:
        return None
    if row.last_used_ns is None or now_ns - row.last_used_ns >= USED_STEP_NS:
        note_use(engine, update(api_tokens).where(api_tokens.c.name == row.name).values(last_used_ns=now_ns))
    return Principal(f"token:{row.name}", None, frozenset(row.scopes))


def note_use(engine: Engine, statement: Any) -> None:
    """Write down a use. Where the state cannot be written, operators may still look."""
    try:
        with engine.begin() as connection:
            connection.execute(statement)
    except OperationalError:
        return


def digest(secret: str) -> str:
    """SHA-256 of a random secret, as it is kept."""
    return hashlib.sha256(secret.encode()).hexdigest()
