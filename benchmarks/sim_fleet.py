"""Ten thousand simulated devices against one hub process, as `tocsin sim fleet` plays them: enrolment, then check-ins each
minute and a sync each hour, both spread over their periods.

What is measured is SIM_FLEET_S seconds (180) of the steady state, and not an hour of it: in that time every device checks in
three times, and one in twenty brings its hour of windows, which all devices had behind them when they began. Per second the hub
has the same to do as over a whole hour. The hub has one core, the simulator the others; each is told for itself.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import psutil
import urllib3

from benchmarks.figure import Figure
from benchmarks.ingest import CLIENT_CORES, HUB_CORE, cpu_s_of, served
from firmware_sim.load.content import shape_of
from firmware_sim.load.fleet import FleetRun, LoadFleet
from firmware_sim.load.plan import FleetPlan
from firmware_sim.load.tally import Histogram
from hub.devices.issue import issue_token
from hub.settings import Hub, init_hub
from hub.state.database import open_state

N_DEVICES: Final = int(os.environ.get("SIM_FLEET_DEVICES", "10000"))
FOR_S: Final = float(os.environ.get("SIM_FLEET_S", "180"))
CHECKIN_S: Final = 60.0
SYNC_S: Final = 3600.0
PROCESSES: Final = 2
MEMORY_GOAL_MB: Final = 4096
_WARM_S: Final = 10.0  # of the steady state before it is measured
_ENROL_S: Final = 900.0
_SETTLED_S: Final = 120.0


def run() -> Iterable[Figure]:
    os.sched_setaffinity(0, CLIENT_CORES or [HUB_CORE])
    plan = FleetPlan(devices=N_DEVICES, sync_s=SYNC_S, checkin_s=CHECKIN_S, backlog_s=SYNC_S)
    with tempfile.TemporaryDirectory() as directory:
        hub = init_hub(Path(directory) / "hub", f"checkin_s = {CHECKIN_S}\n")
        command = [sys.executable, "-m", "tocsin", "hub", "serve", "--data", str(hub.paths.root), "--port", "0"]
        with served(command) as (server, url):
            run = FleetRun(plan, 1, 1.0, time.time_ns(), url, _token(hub), processes=PROCESSES)
            started = time.perf_counter()
            with LoadFleet(run) as fleet:
                assert fleet.reach("ready", _ENROL_S), "not all devices are in"
                yield Figure(name="enrolments a second", value=N_DEVICES / (time.perf_counter() - started), unit="1/s")
                yield from _steady(fleet, psutil.Process(server.pid), server)
                fleet.stop()
                yield from _accounts(fleet, hub, url)


def _steady(fleet: LoadFleet, hub: psutil.Process, server: Any) -> Iterator[Figure]:
    """`FOR_S` seconds of it, from when it has settled in."""
    fleet.go()
    fleet.reach("done", _WARM_S)
    before, cpu_s, began_s = fleet.tally(), -cpu_s_of(server), time.perf_counter()
    sim_cpu_s = -_cpu_s(fleet.pids)
    hub_mb, simulator_mb = [], []
    while time.perf_counter() < began_s + FOR_S:
        fleet.reach("done", 5.0)
        hub_mb.append(hub.memory_full_info().pss / 1e6)
        simulator_mb.append(fleet.memory_bytes() / 1e6)
    took_s = time.perf_counter() - began_s
    cpu_s += cpu_s_of(server)
    sim_cpu_s += _cpu_s(fleet.pids)
    after = fleet.tally()
    of = f"{N_DEVICES:,} devices for {took_s:.0f} s: "
    n_checkins = after.of("checkin").accepted - before.of("checkin").accepted
    n_syncs = after.of("ingest").accepted - before.of("ingest").accepted
    items = after.items_confirmed - before.items_confirmed
    yield Figure(name=f"{of}check-ins (due {N_DEVICES / CHECKIN_S:.1f})", value=n_checkins / took_s, unit="1/s")
    yield Figure(name=f"envelopes (syncs due {N_DEVICES / SYNC_S:.2f}, and urgent ones)", value=n_syncs / took_s, unit="1/s")
    due_items = N_DEVICES / shape_of(fleet.run.plan.profile).hop_ns * 1e9
    yield Figure(name=f"items confirmed (windows due {due_items:,.0f})", value=items / took_s, unit="1/s")
    yield Figure(name="the hub's share of its core", value=cpu_s / took_s * 100, unit="%", better="lower")
    yield Figure(name="the simulator's share of a core", value=sim_cpu_s / took_s * 100, unit="%", better="lower")
    yield Figure(name="the hub's memory at most, PSS", value=max(hub_mb), unit="MB", better="lower")
    name = f"the simulator's memory at most, PSS, {PROCESSES} processes and their parent"
    yield Figure(name=name, value=max(simulator_mb), unit="MB", goal=MEMORY_GOAL_MB, better="lower")
    for kind, what in (("checkin", "check-in"), ("ingest", "envelope")):
        answered_s = after.of(kind).answered_s.since(before.of(kind).answered_s)
        yield from _quantiles(f"{what} answered, connection included", answered_s)
    yield from _quantiles("the simulator's turns begin late by", after.late_s.since(before.late_s))


def _quantiles(name: str, times_s: Histogram) -> Iterator[Figure]:
    for share in (0.5, 0.95, 0.99):
        value = (times_s.quantile(share) or 0.0) * 1e3
        yield Figure(name=f"{name}, p{share * 100:.0f}", value=value, unit="ms", better="lower")


def _accounts(fleet: LoadFleet, hub: Hub, url: str) -> Iterator[Figure]:
    """What devices and hub say of it afterwards."""
    summary = fleet.summary()
    wrong = sum(sum(e["refused"].values()) + sum(e["failed"].values()) for e in summary["exchanges"].values())
    yield Figure(name="requests refused or failed", value=wrong, unit="", goal=0, better="lower")
    ledger = _ledger(hub, url)
    missing = ledger["missing"] + abs(ledger["received"] - summary["items"]["confirmed"])
    yield Figure(
        name="missing in the ledger, or not as confirmed to devices", value=missing, unit="items", goal=0, better="lower"
    )


def _ledger(hub: Hub, url: str) -> dict[str, Any]:
    """The fleet's, once everything that was acknowledged is in the lake."""
    headers = {"Authorization": f"Bearer {hub.admin_token}"}
    deadline_s = time.monotonic() + _SETTLED_S
    while True:
        ledger: dict[str, Any] = urllib3.request("GET", f"{url}/v1/ledger", headers=headers).json()
        if not ledger["lake_pending"] or time.monotonic() > deadline_s:
            return ledger
        time.sleep(0.5)


def _cpu_s(pids: list[int]) -> float:
    return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids)


def _token(hub: Hub) -> str:
    engine = open_state(hub.state_url)
    with engine.begin() as connection:
        made = issue_token(
            connection, hub, site="bench", profiles=[], max_uses=N_DEVICES, ttl_h=2, actor="bench", now_ns=time.time_ns()
        )
    engine.dispose()
    return str(made["token"])
