"""A container with a systemd of its own, booted by systemd-nspawn; the host needs no systemd."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import psutil

from tests.waiting import wait_until

_REBOOT = 133  # how nspawn ends with --keep-unit where the container wants to start anew


class DidNotBoot(Exception):
    """nspawn gave up; the text is what it said. Without the needed rights (in most containers) it always does."""


class Container:
    """The root folder `root`, which is changed by what runs in it. `log`: what the container says on its console."""

    def __init__(self, root: Path, log: Path) -> None:
        self.root = root
        self._log = log
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._leader: int | None = None

    def boot(self) -> None:
        """Start it and wait until its systemd has started everything. Raises DidNotBoot."""
        command = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network", "--link-journal=no"]
        command += ["--resolv-conf=off", "--timezone=off", "--console=passive", f"--machine=tocsin-{os.getpid()}"]
        # What nspawn forbids its guests and a real machine allows: to ask how the clock is, and to set up device rules.
        command += ["--system-call-filter=adjtimex clock_adjtime bpf", f"--directory={self.root}", "--boot"]
        environment = {**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}  # device rules need it; so do today's devices
        with self._log.open("ab") as log:
            self._nspawn = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._leader = wait_until(self._first_process, 60, "the container's first process")
        wait_until(self._is_up, timeout_s=180, what=f"systemd in the container, see {self._log}")

    def _alive(self) -> subprocess.Popen[bytes]:
        assert self._nspawn is not None
        if self._nspawn.poll() is not None:
            raise DidNotBoot(f"systemd-nspawn ended with {self._nspawn.returncode}: {self._said()}")
        return self._nspawn

    def _said(self) -> str:
        return self._log.read_text(errors="replace")[-500:].strip()

    def _first_process(self) -> int | None:
        """The child that is number 1 in a PID namespace of its own; nspawn has other, short-lived ones."""
        for child in psutil.Process(self._alive().pid).children():
            with suppress(FileNotFoundError, ProcessLookupError):
                numbers = re.search(r"^NSpid:\s+\d+\s+1$", Path(f"/proc/{child.pid}/status").read_text(), re.MULTILINE)
                if numbers:
                    return child.pid
        return None

    def _is_up(self) -> bool:
        self._alive()
        return self.run("systemctl", "is-system-running", check=False).stdout.strip() in ("running", "degraded")

    def run(self, *command: str, check: bool = True, timeout_s: float = 300.0) -> subprocess.CompletedProcess[str]:
        """Run `command` as root in the container, outside of any service."""
        assert self._leader is not None
        inside = ["nsenter", f"--target={self._leader}", "--all", "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]
        done = subprocess.run([*inside, *command], capture_output=True, text=True, check=False, timeout=timeout_s)
        assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def reboot(self) -> None:
        """Shut down in order and start again."""
        assert self._nspawn is not None
        self.run("systemctl", "--no-block", "reboot")
        code = self._nspawn.wait(180)
        assert code == _REBOOT, f"nspawn ended with {code}: {self._said()}"
        self.boot()

    def cut_power(self) -> None:
        """Kill everything in it at once, as nobody would."""
        if self._nspawn is None:
            return
        if self._nspawn.poll() is None:
            leader = self._first_process()
            os.kill(leader or self._nspawn.pid, signal.SIGKILL)  # the first of a PID namespace takes all others with it
            self._nspawn.wait(30)
        self._nspawn = self._leader = None
