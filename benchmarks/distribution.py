"""One update of a device's model: what its verifying child takes in time and memory, and what the agent is spared.

A hub's real server and repository; the device's side is the agent's. Each bundle is a new one: root, timestamp, snapshot, the
profile's list and the archive are asked for each time.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import urllib3
import uvicorn

from agent.distribution.process import Distribution
from benchmarks.figure import Figure, median_of
from benchmarks.gateway import MODEL, PROFILE, wait
from hub.app import build_app
from hub.registry.registry import Registry
from hub.settings import Hub, init_hub
from hub.state.database import open_state
from models.bundle.archive import Golden, digest, pack_bundle
from models.bundle.manifest import Manifest
from models.contract.checkin import DesiredBundle
from models.contract.config import load_profile
from models.contract.signing import root_message
from models.detectors.autoencoder import TfliteAutoencoder

_RUNS: Final = 9
_LARGE: Final = 7_900_000  # near what a bundle may have
_RSS: Final = """
import sys
import numpy, ai_edge_litert.interpreter, cryptography.hazmat.primitives.asymmetric.ed25519
if sys.argv[1] == "tuf":
    import tuf.ngclient
print(next(int(line.split()[1]) for line in open("/proc/self/smaps_rollup") if line.startswith("Private_Dirty:")))
"""


def run() -> Iterable[Figure]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        hub = init_hub(folder / "hub", "port = 0\n")
        with _serving(hub) as url:
            engine = open_state(hub.state_url)
            registry = Registry(engine, hub.paths.bundles, hub.repository())
            device = _device(hub, url, folder / "state")
            small = [_update(registry, device, folder, version, 0) for version in range(1, _RUNS + 1)]
            large = [_update(registry, device, folder, version, _LARGE) for version in range(_RUNS + 1, 2 * _RUNS + 1)]
            engine.dispose()
    yield median_of("a bundle of 3 kB, fetched and verified", [took for took, _ in small], "s", better="lower")
    yield median_of("a bundle of 7.9 MB", [took for took, _ in large], "s", better="lower")
    yield median_of("the child's CPU time, small", [cpu for _, cpu in small], "s", better="lower")
    yield Figure(name="the child's peak resident set", value=device.peak_rss_bytes / 1e6, unit="MB", better="lower")
    with_tuf, without = (_private_kb(word) for word in ("tuf", "none"))
    yield Figure(name="python-tuf in the agent would cost", value=(with_tuf - without) / 1e3, unit="MB", better="lower")


@contextmanager
def _serving(hub: Hub) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(build_app(hub), host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait(lambda: server.started, 30, "the hub")
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)


def _device(hub: Hub, url: str, state: Path) -> Distribution:
    state.mkdir()
    device = Distribution(state, url, 10.0, lambda: hub.key.public_bytes, time.time_ns)
    root = urllib3.request("GET", f"{url}/v1/tuf/metadata/1.root.json").data
    assert device.adopt_root(root, hub.key.sign(root_message(root)))
    return device


def _update(registry: Registry, device: Distribution, folder: Path, version: int, padding: int) -> tuple[float, float]:
    """(wall s, the child's CPU s)."""
    archive = _archive(folder, version, padding)
    bundle_id = registry.publish(archive, now_ns=time.time_ns())
    wanted = DesiredBundle(bundle_id, digest(archive), len(archive))
    before, started_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    assert device.fetch("rig", wanted) == archive
    took_s, after = time.perf_counter() - started_s, resource.getrusage(resource.RUSAGE_CHILDREN)
    return took_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _archive(folder: Path, version: int, padding: int) -> bytes:
    (folder / "rig.toml").write_text(PROFILE)
    profile = load_profile("rig", folder)
    inputs = np.random.default_rng(3).normal(size=(8, 18)).astype(np.float32)
    detector = TfliteAutoencoder(MODEL.read_bytes(), 8.0)
    golden = Golden(inputs, np.array([detector.score(z).score for z in inputs]))
    manifest = Manifest(
        bundle_id=f"rig-v{version}", profile="rig", version=version, created_ns=1, spec_hash=profile.spec_hash, n_features=18,
        model_sha256="0" * 64, golden_sha256="0" * 64,
    )  # fmt: skip
    return pack_bundle(manifest, MODEL.read_bytes(), golden, {"padding": "x" * padding})


def _private_kb(word: str) -> int:
    return int(subprocess.run([sys.executable, "-c", _RSS, word], capture_output=True, text=True, check=True).stdout)
