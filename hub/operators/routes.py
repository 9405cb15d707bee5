"""Who asks; and what administrators call: accounts, API tokens and the audit log, as JSON under /v1."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Final, TypeVar

from fastapi import APIRouter, Path
from sqlalchemy import Connection, Engine
from starlette.concurrency import run_in_threadpool

from hub.access import Access
from hub.api.guard import Actor, Asking, guarded_by
from hub.api.openapi import page_responses, problems
from hub.api.paging import NameKey, NumberKey, Paged
from hub.audit.log import read_entries
from hub.operators import accounts, tokens
from hub.operators.passwords import Passwords
from hub.operators.shapes import (
    ApiTokenView,
    AuditEntryView,
    EndedSessions,
    MadeApiToken,
    Me,
    NewApiToken,
    NewUser,
    UserChange,
    UserView,
)
from hub.state.database import reading

MAX_BODY_BYTES: Final = 64 * 1024
T = TypeVar("T")
Name = Annotated[str, Path(max_length=64)]


class AccountsApi:
    """The endpoints and what they share."""

    def __init__(self, engine: Engine, access: Access, passwords: Passwords, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._engine = engine
        self._access = access
        self._passwords = passwords
        self._now_ns = now_ns

    def router(self) -> APIRouter:
        router = APIRouter(prefix="/v1", route_class=guarded_by(self._access, MAX_BODY_BYTES))
        router.get("/me")(self.me)
        router.get("/audit", responses=page_responses())(self.audit)
        router.get("/users", responses=page_responses())(self.users)
        router.post("/users", status_code=201, responses=problems(409, 429))(self.add_user)
        router.patch("/users/{name}", responses=problems(404, 429))(self.change_user)
        router.delete("/users/{name}", status_code=204, responses=problems(404))(self.remove_user)
        router.delete("/users/{name}/sessions", responses=problems(404))(self.end_sessions)
        router.get("/api-tokens", responses=page_responses())(self.api_tokens)
        router.post("/api-tokens", status_code=201, responses=problems(409))(self.create_token)
        router.delete("/api-tokens/{name}", status_code=204, responses=problems(404))(self.revoke_token)
        return router

    def me(self, asking: Asking) -> Me:
        """Whoever asks, and what they may."""
        return Me(name=asking.name, actor=asking.actor, role=asking.role, scopes=sorted(asking.scopes))

    def audit(self, page: Paged) -> list[AuditEntryView]:
        """Entries of the audit log, newest first."""
        after = page.after(NumberKey)
        with reading(self._engine).begin() as connection:
            entries = read_entries(connection, before=after.number if after else None, limit=page.wanted)
        shown = page.cut(entries, lambda entry: [entry.number])
        return [AuditEntryView(**asdict(entry) | {"details": json.loads(entry.details)}) for entry in shown]

    def users(self, page: Paged) -> list[UserView]:
        """Accounts, by name."""
        after = page.after(NameKey)
        with reading(self._engine).begin() as connection:
            rows = accounts.list_users(connection, limit=page.wanted, after=after.name if after else "")
        return [UserView(**row) for row in page.cut(rows, lambda row: [row["name"]])]

    async def add_user(self, wanted: NewUser, actor: Actor) -> UserView:
        """Make an account."""
        hashed = await self._passwords.apart(self._passwords.hash, wanted.name, wanted.password)

        def add(connection: Connection, now_ns: int) -> UserView:
            accounts.add_user(connection, wanted.name, wanted.role, hashed, actor=actor, now_ns=now_ns)
            return _view(connection, wanted.name)

        return await run_in_threadpool(self._write, add)

    async def change_user(self, name: Name, wanted: UserChange, actor: Actor) -> UserView:
        """Change an account's role or password, disable or enable it."""
        hashed = None
        if wanted.password is not None:
            hashed = await self._passwords.apart(self._passwords.hash, name, wanted.password)

        def change(connection: Connection, now_ns: int) -> UserView:
            if wanted.role is not None:
                accounts.set_role(connection, name, wanted.role, actor=actor, now_ns=now_ns)
            if hashed is not None:
                accounts.set_password(connection, name, hashed, actor=actor, now_ns=now_ns)
            if wanted.enabled is not None:
                accounts.set_enabled(connection, name, wanted.enabled, actor=actor, now_ns=now_ns)
            return _view(connection, name)

        return await run_in_threadpool(self._write, change)

    def remove_user(self, name: Name, actor: Actor) -> None:
        """Remove an account; what it did stays in the audit log."""
        self._write(lambda connection, now_ns: accounts.remove_user(connection, name, actor=actor, now_ns=now_ns))

    def end_sessions(self, name: Name, actor: Actor) -> EndedSessions:
        """Sign an account out everywhere."""

        def end(connection: Connection, now_ns: int) -> int:
            return accounts.sign_out_everywhere(connection, name, actor=actor, now_ns=now_ns)

        return EndedSessions(sessions=self._write(end))

    def api_tokens(self, page: Paged) -> list[ApiTokenView]:
        """API tokens, by name, without themselves; those that have expired too."""
        after = page.after(NameKey)
        with reading(self._engine).begin() as connection:
            rows = tokens.list_tokens(connection, limit=page.wanted, after=after.name if after else "")
        return [ApiTokenView(**row) for row in page.cut(rows, lambda row: [row["name"]])]

    def create_token(self, wanted: NewApiToken, actor: Actor) -> MadeApiToken:
        """Make an API token; it is shown this once."""

        def create(connection: Connection, now_ns: int) -> str:
            return tokens.create_token(connection, wanted.name, wanted.scopes, wanted.ttl_s, actor=actor, now_ns=now_ns)

        return MadeApiToken(name=wanted.name, token=self._write(create))

    def revoke_token(self, name: Name, actor: Actor) -> None:
        """Revoke an API token: it opens nothing from now on."""
        self._write(lambda connection, now_ns: tokens.revoke_token(connection, name, actor=actor, now_ns=now_ns))

    def _write(self, change: Callable[[Connection, int], T]) -> T:
        with self._engine.begin() as connection:
            return change(connection, self._now_ns())


def _view(connection: Connection, name: str) -> UserView:
    row = accounts.known_user(connection, name)
    return UserView(**{field: row[field] for field in UserView.model_fields})
