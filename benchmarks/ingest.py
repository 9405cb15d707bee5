"""Ingest on one hub process: signed envelopes of 20 windows, over real sockets, acknowledged only once they are durable.

The devices' envelopes are sealed beforehand; each device sends its next when the one before is acknowledged. The client
shares the machine with the hub. Projector and lake writer run beside, as they do in service. Compared with the same requests
to a server that only answers them, and with the same envelopes written to a file that is synced after each.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import psutil
import urllib3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.figure import Figure
from hub.settings import init_hub
from models.contract.checkin import Enrol
from models.contract.clock import Stamp
from models.contract.envelope import Batch, seal
from models.contract.items import Aggregate, Item, SlotScore, encode_body, pack_floats
from models.contract.signing import SigningKey, join_proof

N_DEVICES, N_ENVELOPES, N_WINDOWS, N_FEATURES = 32, 60, 20, 26
START_NS = 1_790_000_000_000_000_000
_ANSWERING = """
import socket, uvicorn
from starlette.responses import Response
async def app(scope, receive, send):
    while (await receive()).get("more_body"): pass
    await Response(b"ok")(scope, receive, send)
listener = socket.create_server(("127.0.0.1", 0))
print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="error", access_log=False)).run(sockets=[listener])
"""
_rng = np.random.default_rng(1)


def run() -> Iterable[Figure]:
    with tempfile.TemporaryDirectory() as directory:
        hub = init_hub(Path(directory) / "hub", "lake_commit_s = 2.0\n")
        command = [sys.executable, "-m", "tocsin", "hub", "serve", "--data", str(hub.paths.root), "--port", "0"]
        with _served(command) as (server, url):
            envelopes = [_device(f"gw-{n:03}", url.split("/?token=")[0], hub.join_token) for n in range(N_DEVICES)]
            cpu_s = -_cpu_s(server)
            took_s, waits_s = asyncio.run(_send_all(url.split("/?token=")[0], envelopes))
            cpu_s += _cpu_s(server)
        yield from _figures(took_s, waits_s, cpu_s)
        with _served([sys.executable, "-c", _ANSWERING]) as (_, url):
            took_s, waits_s = asyncio.run(_send_all(url, envelopes))
        yield Figure(name="compare: the same requests, only answered", value=len(waits_s) / took_s, unit="1/s")
        writing = _written_and_synced(Path(directory) / "envelopes", [body for device in envelopes for body in device])
        yield Figure(name="compare: the same envelopes in a file, synced after each", value=writing, unit="1/s")


def _figures(took_s: float, waits_s: list[float], cpu_s: float) -> Iterable[Figure]:
    per_s, last = len(waits_s) / took_s, statistics.quantiles(waits_s, n=100)[98]
    yield Figure(name=f"envelopes of {N_WINDOWS} windows, {N_DEVICES} devices", value=per_s, unit="1/s", goal=2_000)
    yield Figure(name="feature values ingested", value=per_s * N_WINDOWS * N_FEATURES, unit="1/s", goal=400_000)
    yield Figure(name="until acknowledged, median", value=statistics.median(waits_s) * 1e3, unit="ms", better="lower")
    yield Figure(name="until acknowledged, 99 of 100", value=last * 1e3, unit="ms", better="lower")
    yield Figure(name="the hub's CPU time for one envelope, all included", value=cpu_s / len(waits_s) * 1e3, unit="ms")


@contextmanager
def _served(command: list[str]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server and the address with which its first line ends; ended at the end."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield server, server.stdout.readline().split()[-1]
        finally:
            server.terminate()


def _cpu_s(server: subprocess.Popen[str]) -> float:
    times = psutil.Process(server.pid).cpu_times()
    return times.user + times.system


def _written_and_synced(path: Path, envelopes: list[bytes]) -> float:
    """Envelopes a second."""
    started = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        for body in envelopes:
            file.write(body)
            os.fsync(file.fileno())
    return len(envelopes) / (time.perf_counter() - started)


def _device(device_id: str, url: str, join_token: str) -> list[bytes]:
    """Enrols a device; its envelopes, ready to be sent."""
    key = SigningKey(Ed25519PrivateKey.generate())
    proof = join_proof(join_token, device_id, key.public_bytes)
    enrol = Enrol(public_key=key.public_bytes, join_proof=proof, agent_version="bench")
    reply = urllib3.request("POST", f"{url}/v1/enrol", body=seal(enrol, "enrol", device_id, key.sign))
    assert reply.status == 200, reply.data
    return [seal(_batch(n * N_WINDOWS), "ingest", device_id, key.sign) for n in range(N_ENVELOPES)]


def _batch(after_seq: int) -> Batch:
    items = [_item(after_seq + n) for n in range(1, N_WINDOWS + 1)]
    return Batch(epoch="e1", sent=items[-1].at, items=items)


def _item(seq: int) -> Item:
    start_ns = START_NS + seq * 10_000_000_000
    scores = [
        SlotScore(detector=name, score=float(_rng.gamma(2)), p_value=float(_rng.random())) for name in ("pump-2", "pump-1")
    ]
    body = Aggregate(
        asset="p1",
        profile="pump",
        spec_hash="0123456789abcdef",
        start_ns=start_ns,
        end_ns=start_ns + 10_000_000_000,
        features=pack_floats(_rng.normal(size=N_FEATURES)),
        n_readings=250,
        scores=scores,
        top=["flow", "vibration"],
    )
    at = Stamp(start_ns, start_ns - START_NS, "boot", synced=True)
    return Item(lane="aggregates", seq=seq, first_seq=seq, kind="aggregate", at=at, body=msgspec.Raw(encode_body(body)))


async def _send_all(url: str, envelopes: list[list[bytes]]) -> tuple[float, list[float]]:
    """How long it all took, and how long each envelope waited for its acknowledgement, s."""
    host, port = url.removeprefix("http://").split(":")
    waits_s: list[float] = []

    async def send(device: list[bytes]) -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        for body in device:
            started = time.perf_counter()
            writer.write(b"POST /v1/ingest HTTP/1.1\r\nHost: hub\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.split(b":")[1]))
            waits_s.append(time.perf_counter() - started)
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(send(device) for device in envelopes))
    return time.perf_counter() - started, waits_s
