"""A hub in a fresh directory, behind a real socket."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import uvicorn

from hub.app import build_app
from hub.settings import Hub, init_hub
from hub.tls.serving import ServerTls
from models.contract.envelope import Ack
from tests.hub.simulated_device import SimulatedDevice
from tests.waiting import PATIENCE_S, wait_until

FAST = "lake_commit_s = 0.1\nrollout_tick_s = 0.5\nport = 0\n"


@dataclass
class HubClient:
    """Requests to a hub as a device or an operator makes them."""

    http: httpx.Client
    hub: Hub

    def enrolled(self, device: SimulatedDevice | None = None) -> SimulatedDevice:
        device = device or SimulatedDevice()
        reply = self.http.post("/v1/enrol", content=device.enrol(self.hub.join_token))
        assert reply.status_code == 200, reply.text
        return device

    def ingest(self, sealed: bytes) -> Ack:
        reply = self.http.post("/v1/ingest", content=sealed)
        assert reply.status_code == 200, reply.text
        return msgspec.msgpack.decode(reply.content, type=Ack)

    def get(self, path: str, **params: Any) -> Any:
        reply = self.http.get(path, params=params, headers=self.auth)
        assert reply.status_code == 200, reply.text
        return reply.json()

    @property
    def auth(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.hub.admin_token}"}

    def settled_ledger(self) -> dict[str, int]:
        """The fleet's ledger once the lake and the tables have everything."""
        wait_until(lambda: not any(self.get("/v1/summary")["ingest_pending"].values()), what="all is consumed")
        return wait_until(lambda: (found := self.get("/v1/ledger"))["lake_pending"] == 0 and found, what="lake caught up")


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    return init_hub(tmp_path / "hub", FAST)


@pytest.fixture
def client(hub: Hub) -> Iterator[HubClient]:
    with running(hub) as found:
        yield found


@contextmanager
def running(hub: Hub, tls: ServerTls | None = None) -> Iterator[HubClient]:
    """The hub on a free port, started and stopped as `tocsin hub serve` does; with `tls` by https only."""
    app = build_app(hub)
    config = uvicorn.Config(app, port=0, log_level="warning", lifespan="on", timeout_graceful_shutdown=5)
    if tls is not None:
        config.ssl_context_factory = lambda *_: tls.context
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started, what="the hub answers")
        port = server.servers[0].sockets[0].getsockname()[1]
        scheme, verify = ("http", True) if tls is None else ("https", ssl.create_default_context(cafile=hub.tls.ca))
        with httpx.Client(base_url=f"{scheme}://127.0.0.1:{port}", timeout=PATIENCE_S, verify=verify) as http:
            yield HubClient(http, hub)
    finally:
        app.state.stopping.set()
        server.should_exit = True
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
