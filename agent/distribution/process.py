"""Bundles for the updater, each by a child process that downloads and verifies it (`child.py`).

Invariants:
1. Whatever becomes of the child (it fails, hangs, is killed, runs out of memory), the agent has lost nothing but the attempt.
2. What the child says is not believed: size and digest of what it left are checked against what was asked for.
3. The child gets neither the agent's secrets nor its environment, and ends with the agent, or when it is stopped.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from agent.distribution import store
from agent.distribution.messages import MAX_REPORT_BYTES, Fetch, Report
from agent.isolation import isolation
from models.bundle.archive import digest
from models.contract.checkin import DesiredBundle
from models.contract.names import MAX_BUNDLE_BYTES
from models.errors import BundleUntrusted, LinkError, LinkTimeout

_DEATHS: Final = 3  # in a row: one may have been for want of memory
_START_S: Final = 30.0  # an interpreter and its imports, on a slow card
_METADATA_BYTES: Final = 256 * 1024
_SLOWEST_BYTES_PER_S: Final = 4000.0  # as in hub_link: what a link must carry at least
_ENVIRONMENT: Final = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "SSL_CERT_FILE", "SSL_CERT_DIR")


class Distribution:
    """What one device may load from one hub. `hub_public_key`: None before enrolment. `now_ns`: the device's timeline."""

    def __init__(
        self,
        state_dir: Path,
        hub_url: str,
        timeout_s: float,
        hub_public_key: Callable[[], bytes | None],
        now_ns: Callable[[], int],
    ) -> None:
        self._state_dir = state_dir.absolute()
        self._hub_url = hub_url
        self._timeout_s = timeout_s
        self._hub_public_key = hub_public_key
        self._now_ns = now_ns
        self.peak_rss_bytes = 0  # of the children so far
        self._lock = threading.Lock()  # guards what follows
        self._child: subprocess.Popen[bytes] | None = None
        self._closed = False
        self._deaths: Counter[str] = Counter()  # of children in a row, by bundle

    @property
    def directory(self) -> Path | None:
        key = self._hub_public_key()
        return store.directory_of(self._state_dir, key) if key is not None else None

    def root_version(self) -> int:
        """Of the TUF root that is trusted, 0 = none: the hub sends one then."""
        return store.root_version(self.directory) if self.directory is not None else 0

    def adopt_root(self, root: bytes, signature: bytes) -> bool:
        """Begin with `root`, if this device has none and its hub has signed it; whether it was taken."""
        key, directory = self._hub_public_key(), self.directory
        return key is not None and directory is not None and store.adopt_root(directory, root, signature, key)

    def fetch(self, profile: str, wanted: DesiredBundle) -> bytes:
        """The archive, verified. Raises BundleUntrusted: the repository does not vouch for it, or to verify it has killed
        child after child; LinkError: no way to get it now."""
        directory = self.directory
        if directory is None or not store.root_version(directory):
            raise LinkError("the hub has not sent its TUF root yet")
        if not 0 < wanted.size <= MAX_BUNDLE_BYTES:
            raise BundleUntrusted(f"{wanted.bundle_id}: {wanted.size} bytes; a bundle has at most {MAX_BUNDLE_BYTES}")
        store.clear_work(directory, keep_part_of=wanted.sha256)
        try:
            report = self._run(self._request(directory, profile, wanted))
            if report.outcome == "untrusted":
                raise BundleUntrusted(report.text)
            if report.outcome != "verified":
                raise LinkError(report.text)
            return _taken_over(store.staged(directory), wanted)
        finally:
            store.clear_work(directory, keep_part_of=wanted.sha256)

    def abort(self) -> None:
        """End the child that is at work, and let none begin after this."""
        with self._lock:
            self._closed = True
            if self._child is not None:
                self._child.kill()

    def _request(self, directory: Path, profile: str, wanted: DesiredBundle) -> Fetch:
        ca_file = self._state_dir / "ca.pem"
        return Fetch(
            hub_url=self._hub_url,
            directory=str(directory),
            profile=profile,
            bundle_id=wanted.bundle_id,
            sha256=wanted.sha256,
            size=wanted.size,
            now_ns=self._now_ns(),
            timeout_s=self._timeout_s,
            ca_file=str(ca_file) if ca_file.is_file() else "",
            parent_pid=os.getpid(),
        )

    def _run(self, request: Fetch) -> Report:
        limit_s = deadline_s(self._timeout_s, request.size)
        child = self._start()
        late = threading.Event()

        def give_up() -> None:
            late.set()
            child.kill()

        timer = threading.Timer(limit_s, give_up)
        timer.daemon = True
        timer.start()
        try:
            said = _ask(child, request)
        finally:
            timer.cancel()
            child.kill()
            code = child.wait()
            with self._lock:
                self._child = None
        if late.is_set():
            raise LinkTimeout(f"{self._hub_url}: {request.bundle_id} did not come within {limit_s:.0f} s")
        if self._closed:
            raise LinkError("the agent stops")
        try:
            report = msgspec.json.decode(said, type=Report)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self._deaths[request.bundle_id] += 1
            text = f"{request.bundle_id}: the process that verifies it ended with {code}"
            died_often = self._deaths[request.bundle_id] >= _DEATHS
            raise (BundleUntrusted(text) if died_often else LinkError(text)) from None
        self._deaths.pop(request.bundle_id, None)
        self.peak_rss_bytes = max(self.peak_rss_bytes, report.peak_rss_bytes)
        return report

    def _start(self) -> subprocess.Popen[bytes]:
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        with self._lock:
            if self._closed:
                raise LinkError("the agent stops")
            self._child = subprocess.Popen(
                command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, start_new_session=True
            )
            return self._child


def command() -> list[str]:
    """The child's program."""
    return [sys.executable, *isolation(), "-m", "agent.distribution.child"]


def deadline_s(timeout_s: float, size: int) -> float:
    """How long one attempt may take: to start, and to carry a bundle of `size` bytes over the slowest link."""
    return _START_S + timeout_s + (size + _METADATA_BYTES) / _SLOWEST_BYTES_PER_S


def _ask(child: subprocess.Popen[bytes], request: Fetch) -> bytes:
    """What the child says, whole or as far as it came."""
    assert child.stdin is not None
    assert child.stdout is not None
    with child.stdout:
        with suppress(BrokenPipeError), child.stdin:
            child.stdin.write(msgspec.json.encode(request))
        return child.stdout.read(MAX_REPORT_BYTES)


def _taken_over(path: Path, wanted: DesiredBundle) -> bytes:
    try:
        archive = path.read_bytes() if path.stat().st_size == wanted.size else b""
    except OSError as error:
        raise BundleUntrusted(f"{wanted.bundle_id}: what was verified is not there: {error}") from None
    if digest(archive) != wanted.sha256:
        raise BundleUntrusted(f"{wanted.bundle_id}: its digest is not the desired one")
    return archive
