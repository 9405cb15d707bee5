"""What TLS costs the hub: CPU time for a request on a new connection and on one that is kept, with TLS and without.

Two hub processes, one after the other; the client, with the hub's own CA pinned, asks `/healthz` one request after the other.
And what it costs a device in memory: a process with the agent's link that has asked once, by http and by https.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from agent.uplink.hub_link import HttpHubLink
from agent.uplink.tls import trusting
from benchmarks.figure import Figure
from hub.settings import Hub, init_hub

_N_REQUESTS = 1500
_ASKS_ONCE = """
import sys
from pathlib import Path
from agent.uplink.hub_link import HttpHubLink
from agent.uplink.tls import trusting
link = HttpHubLink(sys.argv[1], 20.0, lambda: trusting(Path(sys.argv[2])))
link.get("/healthz", 1000)
rollup = Path("/proc/self/smaps_rollup").read_text()
print(next(line.split()[1] for line in rollup.splitlines() if line.startswith("Private_Dirty:")))
"""


def run() -> Iterable[Figure]:
    cost: dict[tuple[str, bool], float] = {}
    private_kb: dict[str, float] = {}
    for tls in ("off", "own"):
        with tempfile.TemporaryDirectory() as directory:
            hub = init_hub(Path(directory), f'tls = "{tls}"\nport = 0\n')
            with _served(hub) as (server, url):
                for kept in (False, True):
                    cost[tls, kept] = _cost_us(server, url, hub.tls.ca, kept=kept)
                command = [sys.executable, "-c", _ASKS_ONCE, url, str(hub.tls.ca)]
                private_kb[tls] = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    for kept, where in ((False, "on a new connection"), (True, "on a kept one")):
        yield Figure(name=f"the hub's CPU time for a request {where}, TLS", value=cost["own", kept], unit="µs", better="lower")
        yield Figure(name=f"compare: {where}, without", value=cost["off", kept], unit="µs")
    more_mb = (private_kb["own"] - private_kb["off"]) / 1000
    yield Figure(name="memory that TLS takes on a device, private", value=more_mb, unit="MB", better="lower")


def _cost_us(server: psutil.Process, url: str, ca: Path, *, kept: bool) -> float:
    link = HttpHubLink(url, 20.0, lambda: trusting(ca))
    link.get("/healthz", 1000)
    before_s = sum(server.cpu_times()[:2])
    for _ in range(_N_REQUESTS):
        link.get("/healthz", 1000)
        if not kept:
            link.reset()
    after_s = sum(server.cpu_times()[:2])
    link.close()
    return float((after_s - before_s) / _N_REQUESTS * 1e6)


@contextmanager
def _served(hub: Hub) -> Iterator[tuple[psutil.Process, str]]:
    """A hub process and its address; ended at the end."""
    command = [sys.executable, "-m", "tocsin", "hub", "serve", "--data", str(hub.paths.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = re.search(r"https?://[0-9.:]+", server.stdout.readline())
            assert address, "the server names no address"
            yield psutil.Process(server.pid), address[0]
        finally:
            server.terminate()
