"""Operators for tests: accounts and tokens in a hub's state, without the time that real hashing takes."""

from __future__ import annotations

import httpx
from argon2 import PasswordHasher
from sqlalchemy import Engine

from hub.operators import accounts, tokens
from hub.operators.passwords import Passwords
from hub.operators.rights import Role, Scope
from hub.state.database import connect_state

QUICK = Passwords(PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
PASSWORD = "a good long password"
NOW_NS = 1_790_000_000_000_000_000


def add_user(engine: Engine, name: str, role: Role = "viewer", password: str = PASSWORD, now_ns: int = NOW_NS) -> None:
    with engine.begin() as connection:
        accounts.add_user(connection, name, role, QUICK.hash(name, password), actor="cli:test", now_ns=now_ns)


def add_token(engine: Engine, name: str, *scopes: Scope, ttl_s: float = 3600, now_ns: int) -> str:
    with engine.begin() as connection:
        return tokens.create_token(connection, name, scopes, ttl_s, actor="cli:test", now_ns=now_ns)


def user_in(state_url: str, name: str, role: Role) -> None:
    engine = connect_state(state_url)
    add_user(engine, name, role)
    engine.dispose()


def token_in(state_url: str, name: str, *scopes: Scope, now_ns: int) -> str:
    engine = connect_state(state_url)
    try:
        return add_token(engine, name, *scopes, now_ns=now_ns)
    finally:
        engine.dispose()


def sign_in(http: httpx.Client, name: str, password: str = PASSWORD) -> httpx.Response:
    """As a browser does it, from the hub's own page."""
    origin = str(http.base_url).rstrip("/")
    return http.post("/signin", data={"name": name, "password": password}, headers={"Origin": origin})
