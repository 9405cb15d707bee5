"""A hub's real repository behind a real socket whose answers a test may change, and a device that fetches from it.

The device's updater, slots and store are the real ones. `Device` verifies in this process, which is quicker; the child process
itself is put to the test in `test_process.py`.
"""

from __future__ import annotations

import re
import ssl
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from sqlalchemy import select
from tuf.api.metadata import Metadata

from agent.distribution import child
from agent.distribution.messages import Fetch, Report
from agent.distribution.process import Distribution
from agent.judges import Serving
from agent.uplink.slots import SlotStore
from agent.uplink.update import TRUST_AGAIN_S, Updater
from hub.distribution.metadata import NS_PER_S, load, signed_by
from hub.distribution.repository import newest_root
from hub.registry.registry import Registry
from hub.settings import init_hub
from hub.state.database import open_state
from hub.state.schema import tuf_metadata
from models.contract.checkin import DesiredBundle, DesiredSlots
from models.contract.signing import root_message
from tests.builders import BundleParts, desired, rig

NOW_NS = 1_790_000_000 * NS_PER_S  # 2026
DAY_NS = 86_400 * NS_PER_S
LINK_TIMEOUT_S = 30.0  # how long a device waits for a word: nothing here is about that, but where a test says so
Answer = Callable[["Handler"], None]


class Site:
    """A hub. `now_ns`: its clock. `answers`: instead of the right ones, by path; `asked`: (path, Range) of each request."""

    def __init__(self, directory: Path) -> None:
        self.hub = init_hub(directory / "hub")
        self.engine = open_state(self.hub.state_url)
        self.now_ns = NOW_NS
        self.answers: dict[str, bytes | int | Answer] = {}
        self.frozen: dict[str, bytes] | None = None
        self.asked: list[tuple[str, str]] = []
        self.repository = self.hub.repository()
        self.registry = Registry(self.engine, self.hub.paths.bundles, self.repository)
        self.tend()
        site = self

        class Bound(Handler):
            def __init__(self, *args: Any) -> None:
                self.site = site
                super().__init__(*args)

        self.handler = Bound
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Bound)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self.engine.dispose()

    def serve_tls(self, context: ssl.SSLContext) -> None:
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = self.url.replace("http:", "https:")

    # --- as its operator -----------------------------------------------------------------------------------------

    def tend(self) -> None:
        self.repository.tend(self.engine, self.now_ns)

    def publish(self, version: int, profile: str = "rig") -> DesiredBundle:
        """A good bundle; how the hub asks for it."""
        changes = {"version": version, "profile": profile}
        archive = BundleParts(f"{profile}-v{version}", changes=changes).pack()
        bundle_id = self.registry.publish(archive, now_ns=self.now_ns)
        return desired(archive, bundle_id)

    def rotate(self, *roles: str) -> None:
        for role in roles:
            self.repository.rotate(self.engine, role, actor="cli:test", now_ns=self.now_ns)

    # --- as an attacker ------------------------------------------------------------------------------------------

    def files(self) -> dict[str, bytes]:
        """Everything that is served of metadata, by name."""
        with self.engine.begin() as connection:
            rows = connection.execute(select(tuf_metadata).order_by(tuf_metadata.c.version)).all()
        named = {f"{row.version}.{row.role}.json": row.content for row in rows if row.role != "timestamp"}
        (timestamp,) = (row.content for row in rows if row.role == "timestamp")
        return named | {"timestamp.json": timestamp}

    def answer(self, name: str, what: bytes | int | Answer) -> None:
        """Metadata of that name is this from now on: bytes, a status, or whatever is done to the connection."""
        self.answers[f"/v1/tuf/metadata/{name}"] = what

    def signed(self, role: str) -> Any:
        """What the newest metadata of `role` says."""
        with self.engine.begin() as connection:
            found = load(connection, role)
        assert found is not None
        return Metadata.from_bytes(found[1]).signed

    def sign_as(self, signed: Any, *roles: str) -> bytes:
        """With keys that were taken from the hub."""
        signers = []
        for role in roles:
            (path,) = self.hub.paths.keys.glob(f"*/{role}.*.key")
            signer = self.repository.keys.find(role, self.keyids(role))
            assert signer is not None, path
            signers.append(signer)
        return signed_by(signed, *signers)

    def keyids(self, role: str) -> list[str]:
        with self.engine.begin() as connection:
            (found,) = [each for each in self.repository.status(connection) if each.role == role]
        root, targets = self.signed("root"), self.signed("targets")
        roles = root.roles | (targets.delegations.roles or {})
        assert found.key_file
        return list(roles[role].keyids)


class Handler(BaseHTTPRequestHandler):
    """Serves what the hub has, or what the test says instead."""

    protocol_version = "HTTP/1.1"
    site: Site

    def do_GET(self) -> None:
        site = self.site
        site.asked.append((self.path, self.headers.get("Range", "")))
        answer = site.answers.get(self.path)
        if callable(answer):
            self.close_connection = True
            answer(self)
            return
        content = self._right() if answer is None else answer
        if isinstance(content, int):
            self.send(b"because", status=content)
        else:
            self.send(content)

    def send(self, content: bytes, status: int = 200, claimed: int | None = None) -> None:
        """`claimed`: of which length it is said to be."""
        start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if start and status == 200:
            first = int(start[1])
            status, rest = (206, content[first:]) if first < len(content) else (416, b"")
            self.send_response(status)
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(status)
            rest = content
        self.send_header("Content-Length", str(len(rest) if claimed is None else claimed))
        self.end_headers()
        self.wfile.write(rest)

    def break_off(self, content: bytes, after: int) -> None:
        """Send the headers of all and `after` bytes of what was asked for, then hang up."""
        first = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        self.send_response(206 if first else 200)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - first))
        self.end_headers()
        self.wfile.write(content[first : first + after])

    def _right(self) -> bytes | int:
        name = self.path.rpartition("/")[2]
        if "/metadata/" in self.path:
            files = self.site.files() if self.site.frozen is None else self.site.frozen
            return files.get(name, 404)
        path = self.site.registry.path(name.partition(".")[0])
        return path.read_bytes() if path.is_file() else 404

    def log_message(self, *_: Any) -> None: ...


class InProcess(Distribution):
    """Verifies here instead of in a child."""

    def _run(self, request: Fetch) -> Report:
        before = tempfile.tempdir
        try:
            return child.run(request)
        finally:
            tempfile.tempdir = before


@dataclass
class Device:
    """Slots, updater and what it trusts of `site`, on disk below `directory`. `now_ns`: its timeline."""

    directory: Path
    site: Site
    kind: type[Distribution] = InProcess
    now_ns: int = NOW_NS
    now_s: float = 0.0
    served: tuple[str | None, str | None] = (None, None)
    slots: SlotStore = field(init=False)

    def __post_init__(self) -> None:
        self.directory.mkdir(exist_ok=True)
        self.restart()

    def restart(self) -> None:
        self.slots = SlotStore(self.directory)
        key = self.site.hub.key.public_bytes
        self.distribution = self.kind(self.directory, self.site.url, LINK_TIMEOUT_S, lambda: key, lambda: self.now_ns)
        specs = {"rig": rig().spec_hash, "fan": rig().spec_hash}
        self.updater = Updater(self.slots, self.distribution, specs, self._serve, lambda: self.now_s)

    def bootstrap(self) -> None:
        """The check-in's part: the root that the hub's key has signed."""
        with self.site.engine.begin() as connection:
            root = newest_root(connection)
        assert self.distribution.adopt_root(root, self.site.hub.key.sign(root_message(root)))

    def ask(self, active: DesiredBundle | None, profile: str = "rig") -> None:
        self.updater.reconcile([DesiredSlots(profile=profile, active=active)])

    def an_hour_later(self) -> None:
        self.now_s += TRUST_AGAIN_S + 1

    def _serve(self, profile: str, active: Serving | None, shadow: Serving | None) -> None:
        if profile == "rig":
            self.served = (active and active.detector.detector_id, shadow and shadow.detector.detector_id)

    @property
    def active(self) -> str | None:
        held = self.slots.of("rig").active
        return held and held.bundle_id

    @property
    def reasons(self) -> dict[str, str]:
        """As the next check-in reports them."""
        return {failure.bundle_id: failure.reason for failure in self.slots.failures}

    @property
    def trusted(self) -> Path:
        assert self.distribution.directory is not None
        return self.distribution.directory

    @property
    def kept(self) -> dict[str, object]:
        """What must not change when an update fails: slots, bundles, and that nothing is left lying about."""
        bundles = {path.name: path.read_bytes() for path in sorted((self.directory / "bundles").iterdir())}
        return {
            "slots": self.slots.profiles,
            "served": self.served,
            "bundles": bundles,
            "work": (self.trusted / "work").exists(),
        }

    def versions(self) -> dict[str, int]:
        """Of the metadata that it trusts."""
        return {
            path.name.removesuffix(".json"): Metadata.from_bytes(path.read_bytes()).signed.version
            for path in self.trusted.glob("*.json")
        }
