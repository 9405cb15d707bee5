"""Ingest on one hub process that has one core, its clients on the others: signed envelopes over real sockets, acknowledged only
once they are durable. Projector and lake writer run beside, as they do in service, on the same core.

At full speed the devices' envelopes are sealed beforehand, and each device sends its next when the one before is acknowledged;
told are the rate of acknowledgements, and the rate until everything is in the tables and the lake as well. At half of the goal
the devices send by the clock, however long the answers take (INGEST_PACED_S: for how many seconds; 600 for the goal's ten
minutes). Compared with the same requests to a server that only answers them, with the same core, and with the same envelopes
written to a file that is synced after each.
"""

from __future__ import annotations

import asyncio
import os
import re
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

N_DEVICES, N_FEATURES = 128, 26
N_WINDOWS = 10  # in an envelope: one of each of ten assets
GOAL_PER_S = 2_000
PACED_S = float(os.environ.get("INGEST_PACED_S", "20"))
HUB_CORE, *CLIENT_CORES = sorted(os.sched_getaffinity(0))
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
    os.sched_setaffinity(0, CLIENT_CORES or [HUB_CORE])
    with tempfile.TemporaryDirectory() as directory:
        hub = init_hub(Path(directory) / "hub")
        command = [sys.executable, "-m", "tocsin", "hub", "serve", "--data", str(hub.paths.root), "--port", "0"]
        with served(command) as (server, url):
            devices = [_Device(f"gw-{n:03}", url, hub.join_token) for n in range(N_DEVICES)]
            yield from _at_full_speed(server, url, hub.admin_token, [device.sealed(100, N_WINDOWS) for device in devices], 10)
            yield from _at_full_speed(server, url, hub.admin_token, [device.sealed(40, 20) for device in devices], 20)
            yield from _paced(server, url, devices)
        envelopes = [device.sealed(60, N_WINDOWS) for device in devices]
        with served([sys.executable, "-c", _ANSWERING]) as (_, url):
            took_s, waits_s = asyncio.run(_send_all(url, envelopes))
        yield Figure(name="compare: the same requests, only answered", value=len(waits_s) / took_s, unit="1/s")
        writing = _written_and_synced(Path(directory) / "envelopes", [body for device in envelopes for body in device])
        yield Figure(name="compare: the same envelopes in a file, synced after each", value=writing, unit="1/s")


def _at_full_speed(
    server: subprocess.Popen[str], url: str, token: str, envelopes: list[list[bytes]], n_windows: int
) -> Iterable[Figure]:
    cpu_s, started = -cpu_s_of(server), time.perf_counter()
    took_s, waits_s = asyncio.run(_send_all(url, envelopes))
    _wait_until_consumed(url, token)
    all_s = time.perf_counter() - started
    cpu_s += cpu_s_of(server)
    per_s, of, goal = len(waits_s) / took_s, f"{n_windows} windows: ", n_windows == N_WINDOWS
    yield Figure(name=f"envelopes of {of}acknowledged", value=per_s, unit="1/s", goal=GOAL_PER_S if goal else None)
    yield Figure(name=f"{of}the same until all is in the lake", value=len(waits_s) / all_s, unit="1/s")
    values_goal = 400_000 if goal else None
    yield Figure(name=f"{of}feature values", value=per_s * n_windows * N_FEATURES, unit="1/s", goal=values_goal)
    yield Figure(name=f"{of}until acknowledged, median", value=statistics.median(waits_s) * 1e3, unit="ms", better="lower")
    name = f"{of}the hub's CPU time for one envelope, all included"
    yield Figure(name=name, value=cpu_s / len(waits_s) * 1e3, unit="ms", better="lower")


def _wait_until_consumed(url: str, token: str) -> None:
    """Until projector and lake have all that was acknowledged."""
    headers = {"Authorization": f"Bearer {token}"}
    while any(urllib3.request("GET", f"{url}/v1/summary", headers=headers).json()["ingest_pending"].values()):
        time.sleep(0.05)


def _paced(server: subprocess.Popen[str], url: str, devices: list[_Device]) -> Iterable[Figure]:
    """Half of the goal, by the clock."""
    watched = _Memory(server.pid)
    started = time.perf_counter()
    waits_s = asyncio.run(_send_by_the_clock(url, devices, GOAL_PER_S / 2, PACED_S, watched))
    took_s = time.perf_counter() - started
    quantiles = statistics.quantiles(waits_s, n=100)
    of = f"{GOAL_PER_S // 2} a second for {PACED_S:g} s: "
    yield Figure(name=f"{of}acknowledged", value=len(waits_s) / took_s, unit="1/s")
    yield Figure(name=f"{of}until acknowledged, median", value=quantiles[49] * 1e3, unit="ms", better="lower")
    yield Figure(name=f"{of}until acknowledged, 99 of 100", value=quantiles[98] * 1e3, unit="ms", goal=100, better="lower")
    yield Figure(name=f"{of}the hub's memory at most", value=max(watched.rss_mb), unit="MB", better="lower")
    half = len(watched.rss_mb) // 2
    grown = max(watched.rss_mb[half:]) - max(watched.rss_mb[:half])
    yield Figure(name=f"{of}grown, second half's peak on the first's", value=grown, unit="MB", better="lower")


class _Memory:
    """The resident set of a process, each time it is looked up."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self.rss_mb: list[float] = []

    def look(self) -> None:
        self.rss_mb.append(self._process.memory_info().rss / 1e6)


@contextmanager
def served(command: list[str]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server and the address in its first line; ended at the end."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        os.sched_setaffinity(server.pid, [HUB_CORE])  # as it starts: its threads inherit it
        try:
            assert server.stdout is not None
            address = re.search(r"http://[0-9.:]+", server.stdout.readline())
            assert address, "the server names no address"
            yield server, address[0]
        finally:
            server.terminate()


def cpu_s_of(server: subprocess.Popen[str]) -> float:
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


class _Device:
    """Enrolled; `sealed` gives its next envelopes."""

    def __init__(self, device_id: str, url: str, join_token: str) -> None:
        self.device_id = device_id
        self._key = SigningKey(Ed25519PrivateKey.generate())
        self._seq = 0
        proof = join_proof(join_token, device_id, self._key.public_bytes)
        enrol = Enrol(public_key=self._key.public_bytes, join_proof=proof, agent_version="bench")
        reply = urllib3.request("POST", f"{url}/v1/enrol", body=seal(enrol, "enrol", device_id, self._key.sign))
        assert reply.status == 200, reply.data

    def sealed(self, n_envelopes: int, n_windows: int) -> list[bytes]:
        return [self.next(n_windows) for _ in range(n_envelopes)]

    def next(self, n_windows: int) -> bytes:
        items = [_item(self._seq + n) for n in range(1, n_windows + 1)]
        self._seq += n_windows
        return seal(Batch(epoch="e1", sent=items[-1].at, items=items), "ingest", self.device_id, self._key.sign)


def _item(seq: int) -> Item:
    """One of ten assets' windows; there are ten every ten seconds."""
    start_ns = START_NS + seq // 10 * 10_000_000_000
    scores = [
        SlotScore(detector=name, score=float(_rng.gamma(2)), p_value=float(_rng.random())) for name in ("pump-2", "pump-1")
    ]
    body = Aggregate(
        asset=f"p{seq % 10}",
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
    waits_s: list[float] = []

    async def send(device: list[bytes]) -> None:
        reader, writer = await _connected(url)
        waits_s.extend([await _post(reader, writer, body) for body in device])
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(send(device) for device in envelopes))
    return time.perf_counter() - started, waits_s


async def _send_by_the_clock(url: str, devices: list[_Device], per_s: float, for_s: float, watched: _Memory) -> list[float]:
    """How long each envelope waited, from when it was due: a device that is late with one is late with the next, too."""
    waits_s: list[float] = []
    period_s = len(devices) / per_s
    started = time.perf_counter()

    async def send(n: int, device: _Device) -> None:
        reader, writer = await _connected(url)
        due = started + n / len(devices) * period_s
        while due < started + for_s and time.perf_counter() < started + 2 * for_s:
            body = device.next(N_WINDOWS)
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            await _post(reader, writer, body)
            waits_s.append(time.perf_counter() - due)
            due += period_s
        writer.close()

    async def watch() -> None:
        while time.perf_counter() < started + for_s:
            watched.look()
            await asyncio.sleep(0.5)

    await asyncio.gather(watch(), *(send(n, device) for n, device in enumerate(devices)))
    return waits_s


async def _connected(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = url.removeprefix("http://").split(":")
    return await asyncio.open_connection(host, int(port))


async def _post(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> float:
    """How long it took, s."""
    started = time.perf_counter()
    writer.write(b"POST /v1/ingest HTTP/1.1\r\nHost: hub\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    await reader.readexactly(int(length.split(b":")[1]))
    return time.perf_counter() - started
