"""Real things to read from: a pseudo-terminal that can be unplugged, a broker that can be stopped, a wire that can be cut."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import tty
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from agent.sources.source import Burst
from models.contract.reading import Reading
from tests.ports import own_port
from tests.waiting import wait_until

free_port = own_port
KNOWN = {"pump-1": ["flow", "pressure"], "fan-1": ["speed"], "host": ["cpu_load", "memory_used", "net_sent", "net_received"]}
NOW_NS = 1_700_000_000_000_000_000


@dataclass
class Recorder:
    """A `deliver` that keeps what it got, and by whom; it blocks while `gate` is shut.

    It acknowledges at once unless told not to.
    """

    acknowledge: bool = True
    bursts: list[Burst] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)
    gate: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    def __call__(self, burst: Burst) -> None:
        self.threads.add(threading.get_ident())
        self.bursts.append(burst)
        if self.acknowledge and burst.acknowledge is not None:
            burst.acknowledge()
        assert self.gate.wait(120)

    @property
    def rows(self) -> list[tuple[str, str, int, float]]:
        """Every reading so far, blocks taken apart."""
        return rows_of([r for burst in self.bursts for r in burst.readings])

    @property
    def values(self) -> list[float]:
        return [value for *_, value in self.rows]

    @property
    def frame_errors(self) -> int:
        return sum(burst.frame_errors for burst in self.bursts)


def rows_of(readings: list) -> list[tuple[str, str, int, float]]:
    rows = []
    for r in readings:
        times, values = ([r.captured_at_ns], [r.value]) if isinstance(r, Reading) else (r.captured_at_ns, r.values)
        rows += [(r.asset, r.channel, int(at), float(v)) for at, v in zip(times, np.asarray(values), strict=True)]
    return rows


class Port:
    """A serial port at a fixed path, whose other end is held by the test."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.plug_in()

    def plug_in(self) -> None:
        self.master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.path.symlink_to(os.ttyname(self._slave))

    def unplug(self) -> None:
        self.path.unlink(missing_ok=True)
        for descriptor in (self.master, self._slave):
            with suppress(OSError):
                os.close(descriptor)

    def write(self, data: bytes) -> None:
        assert os.write(self.master, data) == len(data)


class Relay:
    """A wire to a TCP port, which can be cut with no word to either end."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._accepting = True
        self.port: int = self._listener.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self.n_connections = 0
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def cut(self) -> None:
        for sock in (end for pair in self._pairs for end in pair):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def refuse(self) -> None:
        """From now on, who connects is hung up on."""
        self._accepting = False

    def accept(self) -> None:
        self._accepting = True

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(30)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if not self._accepting:
                    near.close()
                    continue
                far = socket.create_connection(("127.0.0.1", self._target))
                self._pairs.append((near, far))
                self.n_connections += 1
                for pair in ((near, far), (far, near)):
                    thread = threading.Thread(target=self._copy, args=pair, daemon=True)
                    self._threads.append(thread)
                    thread.start()

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for sock in (source, sink):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


class Broker:
    """mosquitto on a port of its own, bound to loopback."""

    def __init__(self, folder: Path, extra: str = "") -> None:
        self._folder = folder
        self._process: subprocess.Popen | None = None
        self.port = own_port()
        # As root, mosquitto would become a user who may not look into the test's folder.
        config = f"user root\nlistener {self.port} 127.0.0.1\npersistence false\nmax_queued_messages 0\n"
        (folder / "mosquitto.conf").write_text(config + (extra or "allow_anonymous true\n"))

    def start(self) -> None:
        with (self._folder / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen(["mosquitto", "-c", str(self._folder / "mosquitto.conf")], stdout=log, stderr=log)
        wait_until(self._answers, what="mosquitto to listen")

    def stop(self) -> None:
        """In order: what it keeps for its sessions, a broker writes down at its end."""
        if self._process is not None:
            try:
                wait_until(self._terminated, what="mosquitto to end")
            finally:
                self._process.kill()
                self._process.wait(30)
                self._process = None

    @property
    def log(self) -> str:
        return (self._folder / "mosquitto.log").read_text()

    def _terminated(self) -> bool:
        """It is told again: mosquitto forgets a signal that comes while it starts."""
        assert self._process is not None
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        return self._process.poll() is not None

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    recorder = Recorder()
    yield recorder
    recorder.gate.set()


@pytest.fixture
def port(tmp_path: Path) -> Iterator[Port]:
    port = Port(tmp_path / "ttyTest")
    yield port
    port.unplug()


@pytest.fixture
def make_broker(tmp_path: Path) -> Iterator[Callable[[str], Broker]]:
    if shutil.which("mosquitto") is None:
        pytest.skip("mosquitto is not on PATH")
    brokers: list[Broker] = []

    def make(extra: str = "") -> Broker:
        broker = Broker(tmp_path, extra)
        brokers.append(broker)
        broker.start()
        return broker

    yield make
    for broker in brokers:
        broker.stop()


@pytest.fixture
def broker(make_broker: Callable[[str], Broker]) -> Broker:
    return make_broker("")


@pytest.fixture
def relay(broker: Broker) -> Iterator[Relay]:
    relay = Relay(broker.port)
    yield relay
    relay.close()
