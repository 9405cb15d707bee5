"""A hub behind the `HubLink` protocol, in memory: a good one that keeps a ledger, and all the ways in which one can be bad."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from models.contract.envelope import Ack, Batch, Rejection, open_sealed, read_sealed
from models.contract.items import LANES, Body, Item, decode_body
from models.contract.signing import verified
from models.errors import EnvelopeError, ItemError, LinkError
from tests.builders import T0_NS, signing_key


@dataclass
class MemoryHub:
    """`answer`: what becomes of an acknowledgement on its way; `accept`: how many items of a batch are taken."""

    device_key: bytes = signing_key().public_bytes
    answer: Callable[[bytes], bytes] = lambda reply: reply
    accept: Callable[[list[Item]], list[Item]] = lambda items: items
    files: dict[str, bytes | LinkError] = field(default_factory=dict)
    replies: dict[str, bytes | LinkError] = field(default_factory=dict)
    bodies: dict[str, dict[int, Body]] = field(default_factory=lambda: {lane: {} for lane in LANES})
    cursors: dict[str, int] = field(default_factory=lambda: dict.fromkeys(LANES, 0))
    rejected: list[Rejection] = field(default_factory=list)
    redelivered: int = 0
    seen: dict[str, set[int]] = field(default_factory=lambda: {lane: set() for lane in LANES})
    n_resets: int = 0
    posts: list[tuple[str, bytes]] = field(default_factory=list)
    gets: list[str] = field(default_factory=list)

    def post(self, path: str, body: bytes) -> bytes:
        self.posts.append((path, body))
        if path == "/v1/ingest":
            return self.answer(self._ingest(body))
        reply = self.replies[path]
        if isinstance(reply, LinkError):
            raise reply
        return reply

    def get(self, path: str, max_bytes: int) -> bytes:
        self.gets.append(path)
        file = self.files[path]
        if isinstance(file, LinkError):
            raise file
        if len(file) > max_bytes:
            raise LinkError(f"GET {path}: more than {max_bytes} bytes")
        return file

    def reset(self) -> None:
        self.n_resets += 1

    def _verify(self, device_id: str, signature: bytes, message: bytes) -> None:
        if not verified(self.device_key, signature, message):
            raise EnvelopeError(f"not signed by {device_id}")

    def _ingest(self, body: bytes) -> bytes:
        batch = open_sealed(read_sealed(body, "ingest"), self._verify, Batch)
        rejected = []
        for item in self.accept(batch.items):
            seen = self.seen[item.lane]
            if item.seq in seen:
                self.redelivered += 1
                continue
            seen.update(range(item.first_seq, item.seq + 1))
            while self.cursors[item.lane] + 1 in seen:
                self.cursors[item.lane] += 1
            try:
                self.bodies[item.lane][item.seq] = decode_body(item.kind, item.body)
            except ItemError as error:
                rejected.append(Rejection(item.lane, item.seq, str(error)))
        self.rejected += rejected
        ack = Ack(epoch=batch.epoch, cursors=dict(self.cursors), hub_time_ns=T0_NS, rejected=rejected)
        return msgspec.msgpack.encode(ack)
