"""kill -9, two hundred times: real agent, broker and hub, hundreds of readings a second under way at every moment.

In MQTT 5 the broker keeps what the agent has not acknowledged; in 3.1.1 it sends twenty messages ahead, and the agent's
journal keeps what it acknowledged.

Every reading says by its value which one it is. In the end the hub has to have each window once, with each of its readings
once: nothing that was acknowledged is lost, and nothing that came again counts twice.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import paho.mqtt.client as paho
import pytest

from agent.status.control import ask
from hub.settings import Hub, init_hub
from models.contract.clock import NS_PER_S
from tests.hub.test_api_serve import served
from tests.sources.conftest import Broker
from tests.waiting import PATIENCE_S, wait_until

ASSETS, CHANNELS = ("rig-1", "rig-2"), ("a", "b", "c")
WINDOW_S, RATE_HZ = 2.0, 10.0
SPEED = 10.0  # event time goes so much faster than the clock: 600 readings a second
_TOCSIN = [sys.executable, "-m", "tocsin"]

PROFILE = """\
name = "counting"
[windowing]
rate_hz = 10.0
window_s = 2.0
lateness_s = 5.0
[features]
per_channel = ["mean"]
[commissioning]
windows = 5000
"""
CONFIG = """\
[device]
id = "gw-1"
state_dir = "state"
[hub]
url = "{url}"
join_token_file = "{token}"
sync_s = 0.3
[[mqtt]]
name = "plant"
port = {port}
topics = ["plant/{{asset}}"]
protocol = "{protocol}"
"""


class Plant(threading.Thread):
    """Publishes a message for each asset and sample, without pause; `n_samples` of them have been confirmed by the broker."""

    def __init__(self, port: int, start_ns: int) -> None:
        super().__init__(daemon=True)
        self._port = port
        self._start_ns = start_ns
        self._stopping = threading.Event()
        self.n_samples = 0

    def run(self) -> None:
        client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        client.connect("127.0.0.1", self._port)
        client.loop_start()
        began_s = time.monotonic()
        while not self._stopping.wait(0.02):
            due = int((time.monotonic() - began_s) * RATE_HZ * SPEED)
            while self.n_samples < due:
                self.n_samples += 1
                at_ms = self._start_ns // 1_000_000 + round(self.n_samples / RATE_HZ * 1000)
                for asset in ASSETS:
                    readings = dict.fromkeys(CHANNELS, self.n_samples)
                    sent = client.publish(f"plant/{asset}", json.dumps({"t_ms": at_ms, **readings}), qos=1)
        sent.wait_for_publish(PATIENCE_S)
        client.disconnect()
        client.loop_stop()

    def finish(self) -> int:
        self._stopping.set()
        self.join(2 * PATIENCE_S)
        assert not self.is_alive()
        return self.n_samples


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    return init_hub(tmp_path / "hub", "lake_commit_s = 1.0\nport = 0\n")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    (tmp_path / "broker").mkdir()
    broker = Broker(tmp_path / "broker", "allow_anonymous true\nmax_queued_messages 0\n")
    broker.start()
    yield broker
    broker.stop()


def lay_out(folder: Path, url: str, token: Path, port: int, protocol: str) -> Path:
    channels = "".join(f'[[channels]]\nname = "{name}"\n' for name in CHANNELS)
    (folder / "counting.toml").write_text(PROFILE + channels)
    assets = "".join(f'[[assets]]\nid = "{name}"\nprofile = "counting"\n' for name in ASSETS)
    config = folder / "tocsin.toml"
    config.write_text(CONFIG.format(url=url, token=token, port=port, protocol=protocol) + assets)
    return config


def start(config: Path) -> subprocess.Popen[bytes]:
    with (config.parent / "agent.log").open("ab") as log:
        return subprocess.Popen([*_TOCSIN, "agent", "run", "--config", str(config)], stdout=log, stderr=log)


def subscribed(config: Path) -> bool:
    status = ask(config.parent / "state")
    return status is not None and status["sources"]["plant"]["link"] == "up"


def live_and_die(config: Path, rng: random.Random) -> None:
    agent = start(config)
    with pytest.raises(subprocess.TimeoutExpired):  # it dies of nothing else
        agent.wait(rng.uniform(0.2, 1.6))
    agent.kill()
    assert agent.wait(PATIENCE_S) == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("protocol", "cycles"), [("5", 150), ("3.1.1", 50)])
def test_nothing_is_lost_or_doubled_by_two_hundred_kills(
    tmp_path: Path, hub: Hub, broker: Broker, protocol: str, cycles: int
) -> None:
    rng = random.Random(20)
    start_ns = (time.time_ns() // NS_PER_S // 3600 - 2) * 3600 * NS_PER_S  # on a window's edge, and never ahead of the clock
    with served(hub) as (_, url):
        config = lay_out(tmp_path, url, hub.paths.root / "join.token", broker.port, protocol)
        first = start(config)
        wait_until(lambda: subscribed(config), what="the first subscription")
        plant = Plant(broker.port, start_ns)
        plant.start()
        wait_until(lambda: plant.n_samples > 50)
        first.kill()
        first.wait(PATIENCE_S)
        for _ in range(cycles):
            live_and_die(config, rng)
        last = start(config)
        n_samples = plant.finish()
        n_windows = int((n_samples / RATE_HZ - 6.0) // WINDOW_S)
        rows = wait_until(lambda: everything(hub, url, n_windows), 120, f"{n_windows} windows of each asset at the hub")
        last.terminate()
        assert last.wait(PATIENCE_S) == 0
    per_window = round(WINDOW_S * RATE_HZ)
    for asset in ASSETS:
        mine = sorted((row for row in rows if row["asset"] == asset), key=lambda row: row["start_ns"])
        starts = [(row["start_ns"] - start_ns) / NS_PER_S / WINDOW_S for row in mine]
        assert starts == list(range(len(mine)))  # each window once, and none missing
        assert [row["n_readings"] for row in mine] == [per_window * len(CHANNELS)] * len(mine)
        means = [n * per_window + (per_window + 1) / 2 for n in range(len(mine))]
        assert [row["features"] for row in mine] == [[mean] * len(CHANNELS) for mean in means]


def everything(hub: Hub, url: str, n_windows: int) -> list[dict[str, object]]:
    """All aggregates once each asset has `n_windows`; else nothing."""
    auth = {"Authorization": f"Bearer {hub.admin_token}"}
    ledger = httpx.get(f"{url}/v1/ledger", headers=auth, timeout=PATIENCE_S).json()
    if ledger["lake_pending"] or ledger["lake_rows"] < n_windows * len(ASSETS):
        return []
    sql = "SELECT asset, start_ns, n_readings, features FROM aggregates"
    command = [*_TOCSIN, "hub", "query", sql, "--data", str(hub.paths.root), "--json"]
    rows: list[dict[str, object]] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    enough = all(sum(row["asset"] == asset for row in rows) >= n_windows for asset in ASSETS)
    return rows if enough else []
