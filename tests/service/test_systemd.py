"""The installed service under a real systemd: one container, booted once, with the agent from the built wheel in it."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.agent.outboxes import stored_items
from tests.debian.root import Unavailable, cached_root, copied_root, own_architecture, this_release, why_not
from tests.debian.wheels import CHECKOUT, built_wheel, cached_wheels
from tests.service.container import Container, DidNotBoot
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.systemd, pytest.mark.timeout(600)]

_PACKAGES = "systemd,systemd-sysv,python3,python3-venv"
_WATCHDOG_S = 8  # an agent that is held up for seconds by a busy machine is not to be taken for one that hangs
_CONFIG = """
[device]
id = "box-1"
state_dir = "/var/lib/tocsin"
max_outbox_mb = 1

[[assets]]
id = "box"
profile = "box"

[[host]]
asset = "box"
interval_s = 0.2
"""
_PROFILE = """
name = "box"
title = "A box, looked at often"
windowing = { rate_hz = 5.0, window_s = 1.0, lateness_s = 0.2, max_gap_s = 1.0 }
features = { per_channel = ["mean", "std"] }
commissioning = { windows = 30 }

[[channels]]
name = "cpu_load"
unit = "%"

[[channels]]
name = "memory_used"
unit = "%"
"""
_PROBE = """
CHILD = '''
import os, resource
from agent.distribution.child import end_with, limit
end_with(os.getppid())
limit()
import agent.distribution.client
print(resource.getrlimit(resource.RLIMIT_AS)[0] >> 20, open("/proc/self/oom_score_adj").read().strip())
'''
import ctypes
from pathlib import Path

import numpy as np

from models.runtime import Int8Model

model = Int8Model(Path("/etc/tocsin/model.tflite").read_bytes())
print("scored", model.run(np.ones(model.n_inputs, np.float32)).shape)
timex = ctypes.create_string_buffer(512)
print("clock state", ctypes.CDLL(None).adjtimex(timex))
timex[0] = 2  # ADJ_FREQUENCY: no longer a question
print("clock set", ctypes.CDLL(None).adjtimex(timex))
for path in ("/etc/tocsin/new", "/opt/tocsin/new", "/usr/new"):
    try:
        Path(path).write_text("")
    except OSError as error:
        print("write", path, error.strerror)
nodes = (path for path in Path("/dev").iterdir() if not path.is_symlink())
import subprocess, sys
said = subprocess.run([sys.executable, "-I", "-c", CHILD], capture_output=True, text=True)
print("child", said.stdout, said.stderr[-300:])
print("devices", sorted(path.name for path in nodes if path.is_char_device() or path.is_block_device()))
"""
_OPEN_PORTS = """
import errno, os

for name in ("/dev/line-a", "/dev/line-b"):
    try:
        os.close(os.open(name, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK))
        print(name, "passed")
    except OSError as error:  # EPERM: the device rule; EACCES: the file mode; others come from the driver
        print(name, "passed" if error.errno not in (errno.EPERM, errno.EACCES) else errno.errorcode[error.errno])
"""
# What a device's owner would put there to change a setting; the tests are not as patient as the service.
_DROP_IN = f"[Service]\nWatchdogSec={_WATCHDOG_S}\nRestartSec=0.2\n"


@pytest.fixture(scope="module")
def box() -> Iterator[Container]:
    """A booted container with the service installed as docs/service.md says, and running."""
    if reason := why_not(("systemd-nspawn", "systemd-container"), ("nsenter", "util-linux"), ("dpkg", "dpkg")):
        _skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="tocsin-container-"))
    container = Container(folder / "root", folder / "console.log")
    try:
        _provide(container, folder)
        container.boot()
        _install(container)
        yield container
    except (Unavailable, DidNotBoot) as error:
        _skip(str(error))
    finally:
        container.cut_power()
        shutil.rmtree(folder)


def _skip(reason: str) -> None:
    """Continuous integration must not pass for want of a container."""
    (pytest.fail if os.environ.get("TOCSIN_REQUIRE_SYSTEMD") else pytest.skip)(reason)


def _provide(container: Container, folder: Path) -> None:
    release = this_release()
    if release is None:
        raise Unavailable("apt's sources on this machine do not name a mirror of its own release")
    copied_root(cached_root(release, own_architecture(), _PACKAGES), container.root)
    version = next((container.root / "usr/lib").glob("python3.*")).name.removeprefix("python")
    wheels = container.root / "root/wheels"
    shutil.copytree(cached_wheels(version), wheels)
    shutil.copy2(built_wheel(folder), wheels)
    for name, text in {
        "etc/tocsin/tocsin.toml": _CONFIG,
        "etc/tocsin/box.toml": _PROFILE,
        "etc/systemd/system/tocsin.service.d/override.conf": _DROP_IN,
    }.items():
        (container.root / name).parent.mkdir(parents=True, exist_ok=True)
        (container.root / name).write_text(text)


def _install(container: Container) -> None:
    container.run("python3", "-m", "venv", "/opt/tocsin")
    container.run("/opt/tocsin/bin/pip", "install", "--quiet", "--no-index", "--find-links=/root/wheels", "tocsin")
    told = container.run("/opt/tocsin/bin/tocsin", "agent", "install").stdout
    assert "tocsin.service is running" in told


@pytest.fixture
def running(box: Container) -> Container:
    """The container, its service running whatever the test before did to it."""
    box.run("systemctl", "start", "tocsin")
    assert _show(box, "ActiveState") == "active"
    return box


def _show(box: Container, name: str) -> str:
    return box.run("systemctl", "show", "--value", f"--property={name}", "tocsin").stdout.strip()


def _journal(box: Container, *options: str) -> str:
    box.run("journalctl", "--sync")  # what has been said is in it only once it has been written down
    return box.run("journalctl", "--no-pager", "--unit=tocsin", *options).stdout


def _stored(box: Container) -> dict[tuple[str, int], bytes]:
    """All that waits for the hub: there is none, so all that was ever produced. Asserts that no number is missing."""
    items = {(item.lane, item.seq): bytes(item.body) for item in stored_items(box.root / "var/lib/tocsin/outbox.db")}
    last = {lane: max(seq for each, seq in items if each == lane) for lane in {lane for lane, _ in items}}
    assert set(items) == {(lane, seq) for lane, end in last.items() for seq in range(1, end + 1)}
    return items


def _starts(box: Container) -> tuple[str, int]:
    """The epoch, and how often an agent has started in it."""
    with closing(sqlite3.connect(f"file:{box.root}/var/lib/tocsin/outbox.db?mode=ro", uri=True)) as db:
        meta = dict(db.execute("SELECT key, value FROM meta"))
    return meta["epoch"], int(meta["starts"])


def _fed_us(box: Container) -> int:
    """When the pipeline last fed the watchdog, monotonic µs."""
    return int(_show(box, "WatchdogTimestampMonotonic"))


def _learned_windows(box: Container) -> int:
    """How far the asset's commissioning has come."""
    asked = json.loads(box.run("/opt/tocsin/bin/tocsin", "agent", "status", "--json").stdout)
    return int(asked["assets"]["box"]["commissioned"].split("/")[0])


def _wait_for_more(box: Container, n_items: int = 3) -> None:
    before = len(_stored(box))
    wait_until(lambda: len(_stored(box)) >= before + n_items, timeout_s=60, what="more items in the outbox")


def test_the_service_is_ready_enabled_and_says_how_it_is(running: Container) -> None:
    assert _show(running, "SubState") == "running"
    assert _show(running, "UnitFileState") == "enabled"
    wait_until(lambda: re.search(r"1 (commissioning|normal|silent).*; outbox \d+ items", _show(running, "StatusText")))
    _wait_for_more(running)
    asked = running.run("/opt/tocsin/bin/tocsin", "agent", "status").stdout
    assert "box-1" in asked
    assert "source host: up" in asked


def test_systemd_finds_no_mistake_in_the_unit_and_rates_it_ok(box: Container) -> None:
    verified = box.run("systemd-analyze", "verify", "/etc/systemd/system/tocsin.service")
    assert verified.stdout + verified.stderr == ""
    rated = box.run("systemd-analyze", "security", "--no-pager", "tocsin.service").stdout
    exposure = re.search(r"Overall exposure level for tocsin.service: ([\d.]+)", rated)
    assert exposure, rated
    assert float(exposure[1]) <= 3.0, rated


def test_the_process_has_its_own_user_no_capability_and_a_read_only_system(running: Container) -> None:
    pid = _show(running, "MainPID")
    fields = dict(line.split(":\t") for line in running.run("cat", f"/proc/{pid}/status").stdout.splitlines() if ":\t" in line)
    uid = running.run("id", "-u", "tocsin").stdout.strip()
    assert fields["Uid"].split() == [uid] * 4 != ["0"] * 4
    assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")
    assert {int(fields[name], 16) for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    mounts = running.run("cat", f"/proc/{pid}/mountinfo").stdout.splitlines()
    options = {line.split()[4]: line.split()[5].split(",")[0] for line in mounts}
    assert options["/"] == "ro"
    assert options["/var/lib/tocsin"] == "rw"
    assert running.run("stat", "--format=%U %a", "/var/lib/tocsin").stdout.split() == ["tocsin", "700"]


def _run_as_the_service(box: Container, unit: str, script: str) -> str:
    """What `script` prints where it runs in place of the agent, under everything else that `unit` says."""
    (box.root / "etc/tocsin/script.py").write_text(script)
    unit = re.sub(r"(?m)^ExecStart=(\S+).*", r"ExecStart=\1 -I /etc/tocsin/script.py", unit)
    unit = re.sub(r"(?m)^(Restart|WatchdogSec|StartLimit)\w*=.*\n", "", unit).replace("Type=notify", "Type=oneshot")
    (box.root / "etc/systemd/system/script.service").write_text(unit)
    box.run("systemctl", "daemon-reload")
    since_s = time.time()
    done = box.run("systemctl", "start", "script", check=False)
    box.run("journalctl", "--sync")
    told = box.run("journalctl", "--no-pager", "--unit=script", "--output=cat", f"--since=@{since_s:.6f}").stdout
    assert done.returncode == 0, told
    return told


def test_an_int8_model_scores_under_the_same_restrictions_and_nothing_else_is_open(running: Container) -> None:
    """The unit with another command in it: what the agent does with a model from a hub must work there too."""
    shutil.copy2(CHECKOUT / "tests/data/tiny_int8.tflite", running.root / "etc/tocsin/model.tflite")
    unit = running.run("/opt/tocsin/bin/tocsin", "agent", "install", "--dry-run").stdout
    told = _run_as_the_service(running, unit, _PROBE)
    assert "scored (18,)" in told
    assert "child 256 1000" in told, "what verifies bundles must be able to limit itself, and to load what it needs"
    assert re.search(r"clock state [0-5]\n", told), "0..5: what the kernel says of its clock; -1: it may not be asked"
    assert "clock set -1" in told
    assert told.count("Read-only file system") == 3
    assert "devices ['full', 'null', 'random', 'tty', 'urandom', 'zero']" in told


def test_the_port_that_the_configuration_names_opens_and_its_neighbour_does_not(running: Container) -> None:
    for name, minor in (("a", "64"), ("b", "65")):  # ttyS0, ttyS1; whether there is hardware behind them does not matter
        running.run("mknod", "--mode=660", f"/dev/line-{name}", "c", "4", minor)
        running.run("chgrp", "dialout", f"/dev/line-{name}")
    config = running.root / "etc/tocsin/serial.toml"
    config.write_text(f'{_CONFIG}\n[[serial]]\nname = "line"\nport = "/dev/line-a"\n')
    unit = running.run("/opt/tocsin/bin/tocsin", "agent", "install", "--dry-run", "--config", "/etc/tocsin/serial.toml").stdout
    told = _run_as_the_service(running, unit, _OPEN_PORTS)
    assert "/dev/line-a passed" in told
    assert "/dev/line-b EPERM" in told


def test_a_pipeline_that_gets_on_is_left_alone(running: Container) -> None:
    restarts, pid = _show(running, "NRestarts"), _show(running, "MainPID")
    fed_us = _fed_us(running)
    wait_until(
        lambda: _fed_us(running) > fed_us + 1.5 * _WATCHDOG_S * 1e6,
        timeout_s=8 * _WATCHDOG_S,
        what="the watchdog being fed for longer than its patience",
    )
    assert (_show(running, "NRestarts"), _show(running, "MainPID")) == (restarts, pid)


def _wait_for_restart_by_watchdog(box: Container, pid: str, since_s: float) -> str:
    """What the journal says of it, since the Unix time `since_s`."""
    wait_until(lambda: _show(box, "MainPID") not in ("0", pid), timeout_s=90, what="a new process")
    wait_until(lambda: _show(box, "ActiveState") == "active", timeout_s=90, what="the service being ready again")
    told = _journal(box, f"--since=@{since_s:.6f}")
    assert "Watchdog timeout" in told
    assert "Failed with result 'watchdog'" in told
    return told


def test_a_stopped_process_is_killed_by_the_watchdog_and_started_again(running: Container) -> None:
    _wait_for_more(running)
    pid, (epoch, starts), before, since_s = _show(running, "MainPID"), _starts(running), _stored(running), time.time()
    running.run("sh", "-c", f"kill -STOP {pid}")
    _wait_for_restart_by_watchdog(running, pid, since_s)
    assert _starts(running) == (epoch, starts + 1)
    assert before.items() <= _stored(running).items()
    _wait_for_more(running)


def test_a_hung_pipeline_is_killed_although_the_rest_of_the_process_lives(running: Container) -> None:
    """Another process holds the database's lock: the pipeline waits in a write, while the control socket still answers."""
    _wait_for_more(running)
    pid, (epoch, starts), since_s = _show(running, "MainPID"), _starts(running), time.time()
    with closing(sqlite3.connect(running.root / "var/lib/tocsin/outbox.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")  # what the tail takes needs no lock: the pipeline hangs once that is full
        hung = lambda: time.monotonic_ns() / 1e3 - _fed_us(running) > _WATCHDOG_S * 0.5e6  # noqa: E731
        wait_until(hung, timeout_s=90, what="the pipeline hanging")
        before = _stored(running)
        assert "box-1" in running.run("/opt/tocsin/bin/tocsin", "agent", "status").stdout
        assert _show(running, "MainPID") == pid
        wait_until(lambda: _show(running, "MainPID") != pid, timeout_s=90, what="the watchdog's kill")
        assert _stored(running) == before
    told = _wait_for_restart_by_watchdog(running, pid, since_s)
    assert "in _work" in told, "the stack of the thread that hung"
    assert _starts(running) == (epoch, starts + 1)
    assert before.items() <= _stored(running).items()
    _wait_for_more(running)


def test_stopping_stores_what_is_left_and_ends_well(running: Container) -> None:
    _wait_for_more(running)
    before, since_s = _stored(running), time.time()
    running.run("systemctl", "stop", "tocsin")
    assert (_show(running, "Result"), _show(running, "ExecMainStatus"), _show(running, "ActiveState")) == (
        "success", "0", "inactive",
    )  # fmt: skip
    assert "SIGKILL" not in _journal(running, f"--since=@{since_s:.6f}")
    left = {path.name for path in (running.root / "var/lib/tocsin").iterdir()}
    assert not left & {"outbox.db-wal", "outbox.db-shm", "agent.sock"}, "all of it is in the one file"
    assert before.items() <= _stored(running).items()


def test_a_reboot_loses_nothing_and_the_agent_is_back_by_itself(running: Container) -> None:
    _wait_for_more(running)
    epoch, starts = _starts(running)
    before, learned = _stored(running), _learned_windows(running)
    boot_id = running.run("cat", "/proc/sys/kernel/random/boot_id").stdout
    running.reboot()
    assert running.run("cat", "/proc/sys/kernel/random/boot_id").stdout != boot_id
    assert _show(running, "ActiveState") == "active"
    assert _starts(running) == (epoch, starts + 1)
    assert before.items() <= _stored(running).items()
    assert _learned_windows(running) >= learned > 0
    _wait_for_more(running)


def test_everything_killed_at_once_loses_nothing_that_was_stored(running: Container) -> None:
    _wait_for_more(running)
    (epoch, starts), before = _starts(running), _stored(running)
    running.cut_power()
    running.boot()
    assert _show(running, "ActiveState") == "active"
    assert _starts(running) == (epoch, starts + 1)
    assert before.items() <= _stored(running).items()
    _wait_for_more(running)


def test_a_wrong_configuration_is_told_once_and_not_tried_again(running: Container) -> None:
    config = running.root / "etc/tocsin/tocsin.toml"
    since_s = time.time()
    try:
        config.write_text(_CONFIG.replace("interval_s", "intervall_s"))
        assert running.run("systemctl", "restart", "tocsin", check=False).returncode != 0
        assert (_show(running, "ActiveState"), _show(running, "ExecMainStatus")) == ("failed", "78")
        told = _journal(running, f"--since=@{since_s:.6f}", "--output=cat")
        assert told.count("intervall_s") == 1
        refused = running.run("/opt/tocsin/bin/tocsin", "agent", "install", check=False)
        assert (refused.returncode, "intervall_s" in refused.stderr) == (78, True)
    finally:
        config.write_text(_CONFIG)


def test_a_secret_that_the_service_may_not_read_is_named_before_anything_changes(running: Container) -> None:
    token, unit = running.root / "etc/tocsin/join.token", running.root / "etc/systemd/system/tocsin.service"
    token.write_text("secret\n")
    token.chmod(0o600)
    config = running.root / "etc/tocsin/other.toml"
    config.write_text(f'{_CONFIG}\n[hub]\nurl = "http://127.0.0.1:1"\njoin_token_file = "join.token"\n')
    before, pid = unit.read_bytes(), _show(running, "MainPID")
    refused = running.run("/opt/tocsin/bin/tocsin", "agent", "install", "--config", "/etc/tocsin/other.toml", check=False)
    assert refused.returncode == 1
    assert "chgrp tocsin /etc/tocsin/join.token" in refused.stderr
    assert (unit.read_bytes(), _show(running, "MainPID")) == (before, pid)


def test_without_root_the_unit_is_printed_and_not_installed(running: Container) -> None:
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/opt/tocsin/bin/tocsin", "agent", "install"]
    printed = running.run(*as_nobody, "--dry-run")
    assert printed.stdout == (running.root / "etc/systemd/system/tocsin.service").read_text()
    refused = running.run(*as_nobody, check=False)
    assert (refused.returncode, "sudo" in refused.stderr) == (1, True)


def test_a_state_directory_elsewhere_is_made_and_a_strangers_is_refused(running: Container) -> None:
    config = running.root / "etc/tocsin/elsewhere.toml"
    config.write_text(_CONFIG.replace("/var/lib/tocsin", "/srv/data/tocsin"))
    others = running.root / "etc/tocsin/others.toml"
    others.write_text(_CONFIG.replace("/var/lib/tocsin", "/srv"))
    refused = running.run("/opt/tocsin/bin/tocsin", "agent", "install", "--config", "/etc/tocsin/others.toml", check=False)
    assert (refused.returncode, "/srv: not the directory of the user tocsin" in refused.stderr) == (1, True)
    assert running.run("stat", "--format=%U", "/srv").stdout.strip() == "root"
    try:
        running.run("/opt/tocsin/bin/tocsin", "agent", "install", "--config", "/etc/tocsin/elsewhere.toml")
        assert _show(running, "ActiveState") == "active"
        assert (running.root / "srv/data/tocsin/outbox.db").exists()
    finally:
        running.run("/opt/tocsin/bin/tocsin", "agent", "install")
