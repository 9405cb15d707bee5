"""Check-ins of 10,000 devices, one a minute each, at one hub process that has one core: signed, stored durably, answered with
what each device should hold. The devices send by the clock, spread over the minute, each on a connection of its own.

Every device has four assets of two profiles and holds two bundles, and a rollout to all of them is on. CHECKINS_S: for how
many seconds.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, insert

from benchmarks.figure import Figure
from benchmarks.ingest import CLIENT_CORES, HUB_CORE, cpu_s_of, served
from hub.rollout.cohorts import Member
from hub.rollout.gates import GateSettings
from hub.rollout.machine import make_plan
from hub.rollout.store import Rollout, add, set_fleet_bundle
from hub.settings import Hub, init_hub
from hub.state.database import open_state
from hub.state.schema import bundles, devices
from models.contract.checkin import AssetReport, CheckIn, SlotReport
from models.contract.clock import Stamp
from models.contract.envelope import seal
from models.contract.signing import SigningKey

N_DEVICES: Final = 10_000
EVERY_S: Final = 60.0
FOR_S: Final = float(os.environ.get("CHECKINS_S", "20"))
START_NS: Final = 1_790_000_000_000_000_000


def run() -> Iterable[Figure]:
    os.sched_setaffinity(0, CLIENT_CORES or [HUB_CORE])
    n_sent = int(N_DEVICES / EVERY_S * FOR_S)
    keys = [SigningKey(Ed25519PrivateKey.generate()) for _ in range(min(N_DEVICES, n_sent))]
    with tempfile.TemporaryDirectory() as directory:
        hub = init_hub(Path(directory) / "hub", f"checkin_s = {EVERY_S}\n")
        _enrol(hub, keys)
        checkins = [_checkin(n % len(keys), keys[n % len(keys)], n // len(keys)) for n in range(n_sent)]
        command = [sys.executable, "-m", "tocsin", "hub", "serve", "--data", str(hub.paths.root), "--port", "0"]
        with served(command) as (server, url):
            cpu_s, started = -cpu_s_of(server), time.perf_counter()
            waits_s = asyncio.run(_send(url, checkins))
            took_s = time.perf_counter() - started
            cpu_s += cpu_s_of(server)
    quantiles = statistics.quantiles(waits_s, n=100)
    yield Figure(name=f"check-ins a second, {N_DEVICES:,} devices every {EVERY_S:g} s", value=len(waits_s) / took_s, unit="1/s")
    yield Figure(name="the hub's share of its core", value=cpu_s / took_s * 100, unit="%", goal=50, better="lower")
    yield Figure(name="its CPU time for one check-in", value=cpu_s / len(waits_s) * 1e3, unit="ms", better="lower")
    yield Figure(name="until answered, median", value=quantiles[49] * 1e3, unit="ms", better="lower")
    yield Figure(name="until answered, 99 of 100", value=quantiles[98] * 1e3, unit="ms", better="lower")


def _enrol(hub: Hub, keys: list[SigningKey]) -> None:
    """All at once, past the API: enrolling is not what is measured."""
    said = {"site": "north", "hardware": "Pi 4", "agent_version": "bench", "enrolled_ns": START_NS, "last_seen_ns": START_NS}
    rows = [{"device_id": f"gw-{n:05}", "public_key": keys[n % len(keys)].public_bytes, **said} for n in range(N_DEVICES)]
    engine = open_state(hub.state_url)
    with engine.begin() as connection:
        connection.execute(insert(devices), rows)
        add_rollout(connection, canaries=None, waves=3, stage=0)
    engine.dispose()


def add_rollout(connection: Connection, *, canaries: int | None, waves: int, stage: int) -> None:
    """One of pump-2, in place of pump-1, to all devices; it asks for more evidence than it will get."""
    connection.execute(insert(bundles), [_bundle(version) for version in (1, 2)])
    set_fleet_bundle(connection, "pump", "pump-1", START_NS)
    members = [Member(f"gw-{n:05}", "north", "Pi 4") for n in range(N_DEVICES)]
    plan = make_plan(members, "seed", canaries=canaries, waves=waves, gates=GateSettings(min_windows=10**6))
    add(connection, Rollout("r1", "pump", "pump-2", "pump-1", "running", stage, START_NS, plan, START_NS, None, ""))


def _bundle(version: int) -> dict[str, object]:
    of = {"profile": "pump", "spec_hash": "0123456789abcdef", "size": 1000, "signature": b"s" * 64, "created_ns": START_NS}
    return {**of, "bundle_id": f"pump-{version}", "version": version, "sha256": f"{version:064x}", "manifest": {}, "card": {}}


def _checkin(n: int, key: SigningKey, minute: int) -> bytes:
    return seal(checkin_of(n, minute), "checkin", f"gw-{n:05}", key.sign)


def checkin_of(n: int, minute: int) -> CheckIn:
    at_ns = minute * int(EVERY_S) * 10**9 + n
    assets = [
        AssetReport(
            asset=f"a{asset}", profile=("pump", "fan")[asset % 2], spec_hash="0123456789abcdef", state="normal", p_value=0.5
        )
        for asset in range(4)
    ]
    slots = [
        SlotReport(profile=profile, slot="active", bundle_id=f"{profile}-1", n_windows=1000 + minute)
        for profile in ("pump", "fan")
    ]
    return CheckIn(
        at=Stamp(START_NS + at_ns, at_ns, "boot", synced=True),
        epoch="e1",
        agent_version="bench",
        starts=1,
        uptime_s=60.0 * minute,
        rss_bytes=50_000_000,
        peak_rss_bytes=60_000_000,
        backlog_items=3,
        backlog_bytes=2000,
        assets=assets,
        slots=slots,
    )


async def _send(url: str, checkins: list[bytes]) -> list[float]:
    """How long each waited for its answer, from when it was due, s."""
    host, port = url.removeprefix("http://").split(":")
    started, pause_s = time.perf_counter() + 0.1, EVERY_S / N_DEVICES

    async def send(n: int, body: bytes) -> float:
        due = started + n * pause_s
        await asyncio.sleep(due - time.perf_counter())
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            b"POST /v1/checkin HTTP/1.1\r\nHost: hub\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 200"), answer
        writer.close()
        return time.perf_counter() - due

    return await asyncio.gather(*(send(n, body) for n, body in enumerate(checkins)))
