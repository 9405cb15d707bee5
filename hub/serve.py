"""Running the hub's app on a socket: one hub per directory, a clear word when the port is taken, a clean end."""

from __future__ import annotations

import errno
import fcntl
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI

from hub.app import build_app
from hub.settings import Hub
from hub.tls.serving import ServerTls
from models.errors import LinkError, StorageError

_GRACE_S = 5  # for requests that are under way when the hub is told to stop
_SWITCH_S = 0.0001  # a thread that wants the interpreter asks for it after so long
_KEEP_ALIVE_S = 20  # a device that syncs every ten seconds need not shake hands each time


def serve(hub: Hub, host: str, port: int, announce: Callable[[str], None]) -> None:
    """Serve until SIGTERM or Ctrl-C. `announce` is told the address once the hub answers there; port 0 takes a free one.

    Raises LinkError: the address cannot be had; StorageError: the directory is served already; ConfigError: its TLS cannot be
    set up. Nothing has begun then.
    """
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("hub.audit").setLevel(logging.INFO)
    with only_one(hub.paths.lock), _bound(host, port) as listener:
        tls = None if hub.tls.mode(host) == "off" else ServerTls(hub.tls, host)
        app = build_app(hub)
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, lifespan="on", timeout_graceful_shutdown=_GRACE_S, server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_S, ssl_context_factory=(lambda *_: tls.context) if tls else None,
        )  # fmt: skip
        url = _url("https" if tls else "http", host, listener.getsockname()[1])
        server = _Server(config, app, lambda: announce(url))
        with _sparing_collector(), _eager_switches(), tls.kept_fresh() if tls else nullcontext():
            server.run(sockets=[listener])


class _Server(uvicorn.Server):
    """Ends quietly on a signal, and tells open streams to end first; uvicorn by itself would wait for them, and would
    raise the signal again afterwards."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._app = app
        self._on_started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_started()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._app.state.stopping.set()
        super().handle_exit(sig, frame)


@contextmanager
def _sparing_collector() -> Iterator[None]:
    """What was built so far stays, and batches of thousands of records need not be looked through ten times while they are
    made: that nearly halves what the lake's writer costs."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


@contextmanager
def _eager_switches() -> Iterator[None]:
    """Who answers gives the interpreter up at each signature it checks, the one that commits at each statement. With
    Python's own five milliseconds they wait that long, each time, for the lake's writer to let go."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_S)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
    """A listening socket. Raises LinkError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(2048)
        except OSError as error:
            what = (
                "is taken; choose another with --port"
                if error.errno == errno.EADDRINUSE
                else f"cannot be listened on: {error.strerror}"
            )
            raise LinkError(f"{host}:{port} {what}") from None
        yield listener


@contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Holds the directory for this process. Raises StorageError."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise StorageError(f"{path.parent} is served by another process already") from None
    try:
        yield
    finally:
        os.close(descriptor)


def _url(scheme: str, host: str, port: int) -> str:
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"{scheme}://{shown}:{port}"
