"""Sessions of browsers: rows of `sessions`, each under the hash of a random id that only its browser has.

Invariants:
1. An id is made at sign-in and never taken from a request: nobody can be made to use another's (session fixation).
2. A session ends with its idle time, its absolute time, its account's end or new password, a sign-out, or the admin token that
   it was opened with. What its owner may do is read at each request.
3. What the database holds opens nothing: it has only the hashes of 32 random bytes.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, Engine, delete, insert, or_, select, update

from hub.operators.rights import Principal
from hub.operators.tokens import ADMIN_TOKEN_NAME, USED_STEP_NS, digest, note_use
from hub.state.database import reading
from hub.state.schema import sessions, users

ADMIN_ACTOR: Final = f"token:{ADMIN_TOKEN_NAME}"


@dataclass(frozen=True, slots=True)
class Lifetime:
    """`idle_s`: after so long without a request a session has ended. `max_s`: so long after signing in, however it is used."""

    idle_s: float
    max_s: float


class Sessions:
    """Safe to use from several threads. `admin_token`: sessions that it opened end when it is replaced."""

    def __init__(self, engine: Engine, admin_token: str, lifetime: Lifetime) -> None:
        self._engine = engine
        self._opened_by_admin = hashlib.sha256(b"tocsin session\0" + admin_token.encode()).hexdigest()
        self._idle_ns = int(lifetime.idle_s * 1e9)
        self._max_ns = int(lifetime.max_s * 1e9)

    @property
    def max_s(self) -> int:
        return self._max_ns // 1_000_000_000

    def begin(self, connection: Connection, user_name: str | None, address: str, now_ns: int) -> str:
        """A new session; its id, for the browser alone. `user_name` None: of the admin token."""
        expired = or_(sessions.c.expires_ns <= now_ns, sessions.c.last_used_ns <= now_ns - self._idle_ns)
        connection.execute(delete(sessions).where(expired))
        secret = secrets.token_urlsafe(32)
        row = {"id_sha256": digest(secret), "user_name": user_name, "address": address[:64]}
        opened_with = self._opened_by_admin if user_name is None else ""
        times = {"created_ns": now_ns, "last_used_ns": now_ns, "expires_ns": now_ns + self._max_ns}
        connection.execute(insert(sessions).values(**row, opened_with=opened_with, **times))
        return secret

    def find(self, secret: str, now_ns: int) -> Principal | None:
        """Whose session it is; None where it is unknown or over."""
        query = (
            select(sessions, users.c.role, users.c.enabled)
            .select_from(sessions.outerjoin(users, users.c.name == sessions.c.user_name))
            .where(sessions.c.id_sha256 == digest(secret))
        )
        with reading(self._engine).begin() as connection:
            row = connection.execute(query).first()
        if row is None or row.expires_ns <= now_ns or row.last_used_ns <= now_ns - self._idle_ns:
            return None
        if now_ns - row.last_used_ns >= USED_STEP_NS:
            here = sessions.c.id_sha256 == row.id_sha256
            note_use(self._engine, update(sessions).where(here).values(last_used_ns=now_ns))
        if row.user_name is None:
            return Principal(ADMIN_ACTOR, "admin", session_sha256=row.id_sha256) if self._holds(row.opened_with) else None
        return Principal(f"user:{row.user_name}", row.role, session_sha256=row.id_sha256) if row.enabled else None

    def end(self, connection: Connection, secret: str) -> bool:
        """Whether there was one."""
        return connection.execute(delete(sessions).where(sessions.c.id_sha256 == digest(secret))).rowcount > 0

    def _holds(self, opened_with: str) -> bool:
        return secrets.compare_digest(opened_with, self._opened_by_admin)
