"""A hub on a real socket that enrols devices, takes their items, and fails in whatever way a test asks for."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec

from models.contract.checkin import CheckIn, CheckInReply, Enrol, EnrolReply
from models.contract.envelope import open_sealed, read_sealed
from tests.agent.hub_in_memory import MemoryHub
from tests.builders import T0_NS
from tests.ports import own_port

CHECKIN = msgspec.msgpack.encode(CheckInReply(hub_time_ns=T0_NS, next_checkin_s=0.0))


@dataclass
class Fault:
    """`stores`: whether the hub has taken the batch in before it fails. `answer`: raw bytes instead of the right ones, None =
    none at all. `resets`: the connection ends with RST. `hangs`: it stays open, and nobody speaks."""

    stores: bool = False
    answer: bytes | None = None
    resets: bool = False
    hangs: bool = False


def status(line: str, *headers: str, body: bytes = b"because") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {line}", *headers, f"Content-Length: {len(body)}", "", ""]).encode() + body


@dataclass
class FaultyHub:
    """`memory`: what arrived. `fault`: of ingest, from now on. `port`: 0 = any; `close` and `open` again to be away."""

    fault: Fault | None = None
    memory: MemoryHub = field(default_factory=MemoryHub)
    n_faults: int = 0
    checkins: list[CheckIn] = field(default_factory=list)
    port: int = 0

    def open(self) -> FaultyHub:
        hub = self
        connections = self._connections = list[socket.socket]()
        self._over = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                connections.append(self.connection)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hub.answer(self, body)

            def log_message(self, *_: Any) -> None: ...

        class Server(ThreadingHTTPServer):
            allow_reuse_address = True
            daemon_threads = True
            request_queue_size = 64

        self.port = self.port or own_port()
        self._server = Server(("127.0.0.1", self.port), Handler)
        self._lock = threading.Lock()
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        fault = self.fault if handler.path == "/v1/ingest" else None
        with self._lock:
            reply = None if fault is not None and not fault.stores else self._take(handler.path, body)
        if fault is None:
            handler.wfile.write(status("200 OK", body=reply or b""))
            return
        self.n_faults += 1
        if fault.hangs:
            self._over.wait(60)
        if fault.resets:
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if fault.answer is not None:
            handler.wfile.write(fault.answer)
        handler.close_connection = True

    def _take(self, path: str, body: bytes) -> bytes:
        if path == "/v1/enrol":
            enrol = open_sealed(read_sealed(body, "enrol"), lambda *_: None, Enrol)
            self.memory.device_key = enrol.public_key
            return msgspec.msgpack.encode(EnrolReply(hub_id="hub-1", hub_public_key=bytes(32)))
        if path == "/v1/checkin":
            self.checkins.append(open_sealed(read_sealed(body, "checkin"), self.memory._verify, CheckIn))
            return CHECKIN
        return self.memory.post(path, body)

    def close(self) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
