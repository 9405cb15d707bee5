"""The verifying child: whatever becomes of it, the agent has lost nothing but the attempt."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from agent.distribution import process
from agent.distribution.process import Distribution
from models.errors import LinkError, LinkTimeout
from tests.distribution.site import NOW_NS, Device, Handler, Site
from tests.waiting import PATIENCE_S, wait_until

BEFORE: set[int] = set()  # processes that other tests of this run have left


def children() -> list[psutil.Process]:
    """Those that verify something now."""
    return [child for child in psutil.Process().children() if child.pid not in BEFORE]


def has_ended(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture(autouse=True)
def before() -> None:
    BEFORE.clear()
    BEFORE.update(child.pid for child in psutil.Process().children())


@pytest.fixture
def device(device: Device) -> Device:
    """One that verifies in a child, as the agent does."""
    device.kind = Distribution
    device.restart()
    return device


def test_a_bundle_comes_by_a_child_which_leaves_nothing_behind(device: Device, site: Site) -> None:
    device.ask(site.publish(2))
    assert (device.active, device.reasons) == ("rig-v2", {})
    assert not device.kept["work"]
    assert not list(device.trusted.glob("*.part"))
    assert children() == []


# What a child may be instead of the right one: its program, and what is reported of it.
BAD = {
    "fails": ("raise SystemExit(1)", "ended with 1"),
    "says nothing": ("", "ended with"),
    "says garbage": ("print('{\"outcome\": ' + '[' * 3000)", "ended with"),
    "says another thing": ('print(\'{"outcome": "fine"}\')', "ended with"),
    "never stops talking": ("while True: print('x' * 4096)", "ended with"),
    "is killed": ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "ended with -9"),
    "crashes": ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "ended with -11"),
    "takes all memory": (
        "import os, agent.distribution.child as c; c.limit()\ntry: bytearray(1 << 30)\nexcept MemoryError: os.abort()",
        "ended with -6",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_child_that_goes_wrong_costs_the_attempt_and_is_reported(
    name: str, device: Device, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, reason = BAD[name]
    wanted = site.publish(2)
    before = device.kept
    monkeypatch.setattr(process, "command", lambda: [sys.executable, "-c", program])
    for _ in range(2):  # it may have been for want of memory
        with pytest.raises(LinkError, match=reason):
            device.ask(wanted)
        assert (device.kept, device.reasons) == (before, {})
    device.ask(wanted)
    assert (device.kept, device.active) == (before, "rig-v1")
    assert reason in device.reasons["rig-v2"]
    monkeypatch.undo()
    device.ask(wanted)
    assert device.active == "rig-v1", "tried again in a loop"
    device.an_hour_later()
    device.ask(wanted)
    assert (device.active, device.reasons) == ("rig-v2", {})


def test_a_child_that_says_it_has_verified_what_is_not_there_is_not_believed(
    device: Device, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = site.publish(2)
    before = device.kept
    monkeypatch.setattr(process, "command", lambda: [sys.executable, "-c", 'print(\'{"outcome": "verified"}\')'])
    device.ask(wanted)
    assert device.kept == before
    assert "what was verified is not there" in device.reasons["rig-v2"]


@pytest.mark.parametrize("content", [b"", b"x", b"x" * 100_000])
def test_a_child_that_leaves_other_bytes_than_it_says_is_not_believed(
    content: bytes, device: Device, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = site.publish(2)
    before = device.kept
    program = (
        f"import pathlib; p = pathlib.Path({str(device.trusted / 'work' / 'bundle')!r}); p.parent.mkdir(); "
        f'p.write_bytes({content[:1]!r} * {len(content)}); print(\'{{"outcome": "verified"}}\')'
    )
    monkeypatch.setattr(process, "command", lambda: [sys.executable, "-c", program])
    device.ask(wanted)
    assert device.kept == before
    assert "its digest is not the desired one" in device.reasons["rig-v2"]


HANG = [sys.executable, "-c", "import time; time.sleep(60)"]


def test_a_child_that_hangs_is_ended_at_the_deadline(device: Device, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = site.publish(2)
    before = device.kept
    monkeypatch.setattr(process, "command", lambda: HANG)
    monkeypatch.setattr(process, "deadline_s", lambda _timeout_s, _size: 0.2)
    with pytest.raises(LinkTimeout, match="did not come within"):
        device.ask(wanted)
    assert (device.kept, device.reasons) == (before, {})
    assert children() == []


def test_an_agent_that_stops_does_not_wait_for_its_child(device: Device, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = site.publish(2)
    before = device.kept
    monkeypatch.setattr(process, "command", lambda: HANG)
    failures: list[Exception] = []

    def work() -> None:
        try:
            device.ask(wanted)
        except LinkError as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    wait_until(children, what="a child")
    device.distribution.abort()
    thread.join(PATIENCE_S)
    assert [str(error) for error in failures] == ["the agent stops"]
    assert (device.kept, device.reasons) == (before, {})
    with pytest.raises(LinkError, match="the agent stops"):
        device.ask(wanted)


def test_the_child_gets_no_secret_and_no_open_file_of_the_agent(
    device: Device, site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MQTT_PASSWORD", "secret")
    with (tmp_path / "secret").open("wb"):
        program = "import json, os; print(json.dumps([sorted(os.environ), os.listdir('/proc/self/fd')]))"
        monkeypatch.setattr(process, "command", lambda: [sys.executable, "-I", "-c", program])
        seen: list[bytes] = []
        monkeypatch.setattr(process, "_ask", lambda child, request: seen.append(child.communicate()[0]) or b"")
        with pytest.raises(LinkError):
            device.ask(site.publish(2))
    assert b"MQTT_PASSWORD" not in seen[0]
    assert b'["0", "1", "2", "3"]' in seen[0]  # 3: the listing itself


def test_the_child_is_limited_in_memory_processor_time_and_files() -> None:
    program = """
import resource as r
from agent.distribution.child import limit
limit()
kinds = (r.RLIMIT_AS, r.RLIMIT_CPU, r.RLIMIT_FSIZE, r.RLIMIT_NOFILE, r.RLIMIT_CORE)
print([r.getrlimit(kind)[0] for kind in kinds], open('/proc/self/oom_score_adj').read().strip())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[268435456,", "120,", "9437184,", "64,", "0]", "1000"]


def test_verifying_does_not_load_the_agent_or_numpy() -> None:
    program = """
import sys, agent.distribution.child, agent.distribution.client
unwanted = ('numpy', 'agent.app', 'agent.pipeline', 'ai_edge_litert', 'sqlite3', 'hub')
print([module for module in sys.modules if module in unwanted])
"""
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"


# --- kill -9 at each step -----------------------------------------------------------------------------------------

STEPS = ["3.root.json", "timestamp.json", ".snapshot.json", ".targets.json", ".profile-rig.json", ".bundle"]


def at_step(site: Site, step: str, act: Callable[[], None]) -> None:
    """Do something when the device asks for that file, which then never comes."""
    right = Handler.do_GET

    def do_get(handler: Handler) -> None:
        if handler.path.endswith(step) and step not in done:
            done.append(step)
            act()
            handler.close_connection = True
            return
        right(handler)

    done: list[str] = []
    site.handler.do_GET = do_get


@pytest.mark.parametrize("step", STEPS)
def test_a_child_killed_at_any_step_leaves_what_was_verified_and_the_next_one_finishes(
    step: str, device: Device, site: Site
) -> None:
    site.rotate("targets")  # so that every kind of file is new
    wanted = site.publish(2)
    before, versions = device.kept, device.versions()
    at_step(site, step, lambda: os.kill(children()[0].pid, signal.SIGKILL))
    with pytest.raises(LinkError, match="ended with -9"):
        device.ask(wanted)
    assert (device.kept, device.reasons) == (before, {})
    assert all(version >= versions[role] for role, version in device.versions().items())
    device.ask(wanted)
    assert (device.active, device.reasons) == ("rig-v2", {})


AGENT = """
import sys
from pathlib import Path
from agent.distribution.process import Distribution
from models.contract.checkin import DesiredBundle
state, url, key, bundle_id, sha256, size, now_ns = sys.argv[1:]
distribution = Distribution(Path(state), url, 30.0, lambda: bytes.fromhex(key), lambda: int(now_ns))
distribution.fetch("rig", DesiredBundle(bundle_id, sha256, int(size)))
"""


@pytest.mark.parametrize("step", ["timestamp.json", ".bundle"])
def test_an_agent_killed_at_a_step_takes_its_child_along_and_the_next_one_finishes(
    step: str, device: Device, site: Site
) -> None:
    wanted = site.publish(2)
    before = device.kept
    key = site.hub.key.public_bytes.hex()
    arguments = [str(device.directory), site.url, key, wanted.bundle_id, wanted.sha256, str(wanted.size), str(NOW_NS)]
    agent = subprocess.Popen([sys.executable, "-c", AGENT, *arguments])
    its_children: list[psutil.Process] = []

    def kill() -> None:
        its_children.extend(psutil.Process(agent.pid).children())
        agent.kill()

    at_step(site, step, kill)
    assert agent.wait(PATIENCE_S) == -signal.SIGKILL
    assert len(its_children) == 1
    wait_until(lambda: has_ended(its_children[0]), what="the child to end")
    device.restart()
    device.updater.resume()
    assert device.kept | {"work": False} == before
    device.ask(wanted)
    assert (device.active, device.reasons, device.kept["work"]) == ("rig-v2", {}, False)
