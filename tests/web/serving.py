"""The pages on a real server in a thread, for tests that need sockets."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from argon2 import PasswordHasher
from sqlalchemy import Engine
from starlette.applications import Starlette

from hub.access import Access
from hub.ask.answer import Ask
from hub.lake.lake import DeltaLake
from hub.operators.passwords import Passwords
from hub.operators.sessions import Lifetime, Sessions
from hub.operators.signin import SignIn
from hub.rollout.service import RolloutService
from hub.web.routes import web_routes
from tests.waiting import PATIENCE_S, wait_until

TOKEN = "a-token-that-is-long-enough"


QUICK = Passwords(PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))  # tests have no time for 64 MiB


def pages_app(
    engine: Engine,
    lake: DeltaLake,
    stopping: threading.Event | None = None,
    clock: Callable[[], int] = time.time_ns,
    **options: Any,
) -> Starlette:
    """The pages alone, as hub/app.py mounts them; what they tell of time is by `clock`. `options`: of `web_routes`."""
    stopping = stopping or threading.Event()
    sessions = Sessions(engine, TOKEN, Lifetime(idle_s=3600, max_s=86400))
    access = Access(engine, TOKEN, sessions, clock)
    signin = SignIn(engine, sessions, QUICK, TOKEN, clock, clock)
    rollouts = RolloutService(engine)
    options = {"ask": Ask(engine, lake, offline_after_s=90, now_ns=clock), "clock": clock} | options
    options |= {"session_max_s": sessions.max_s, "stopping": stopping.is_set}
    pages = web_routes(engine, access, signin, rollouts, lake, **options)
    return Starlette(routes=pages)


@contextmanager
def served(engine: Engine, lake: DeltaLake, port: int = 0, **options: Any) -> Iterator[str]:
    """The address of the pages, by default on a free port, until the block ends."""
    stopping = threading.Event()
    app = pages_app(engine, lake, stopping, **options)
    config = uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="pages")
    thread.start()
    try:
        wait_until(lambda: server.started, what="uvicorn")
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        stopping.set()
        server.should_exit = True
        thread.join(timeout=PATIENCE_S)
        assert not thread.is_alive(), "the server did not stop: an open stream holds it up"


def state_url(path: Path) -> str:
    return f"sqlite:///{path / 'hub.db'}"
