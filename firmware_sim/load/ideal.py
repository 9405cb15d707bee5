"""A hub in memory that takes everything at once: what light devices are played against in virtual time, and tested with.

It verifies signatures and keeps an account of what came: of each lane the numbers, and whether one came with two contents.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import msgspec

from firmware_sim.load.ask import Ask
from models.contract.checkin import CheckIn, CheckInReply, DesiredSlots, Enrol, EnrolReply
from models.contract.envelope import Ack, Batch, Rejection, open_sealed, read_sealed
from models.contract.items import Item
from models.contract.signing import verified
from models.errors import EnvelopeError

LaneKey = tuple[str, str, str]  # device, epoch, lane
_encode = msgspec.msgpack.Encoder().encode


@dataclass(slots=True)
class LaneAccount:
    """`cursor`: up to there everything came. `contents`: by number, a digest of what came first under it."""

    cursor: int = 0
    ahead: list[tuple[int, int]] = field(default_factory=list)
    contents: dict[int, bytes] = field(default_factory=dict)
    kinds: dict[str, int] = field(default_factory=dict)

    def take(self, item: Item) -> bool:
        """Whether it is the same item as before, or new."""
        digest = hashlib.blake2b(item.body, digest_size=8).digest()
        spans = item.first_seq != item.seq
        same = spans or self.contents.setdefault(item.seq, digest) == digest
        if item.seq > self.cursor:
            self.kinds[item.kind] = self.kinds.get(item.kind, 0) + 1
        self.ahead.append((item.first_seq, item.seq))
        for first, last in sorted(self.ahead):
            if first <= self.cursor + 1:
                self.cursor = max(self.cursor, last)
        self.ahead = [span for span in self.ahead if span[1] > self.cursor]
        return same


@dataclass(slots=True)
class Answer:
    """`message`: what was inside, where that could be read."""

    status: int
    data: bytes
    message: Batch | CheckIn | Enrol | None = None


class IdealHub:
    """`slots`: what every device should hold. `keep`: whether batches are kept, to look into."""

    def __init__(self, slots: list[DesiredSlots] | None = None, *, keep: bool = False) -> None:
        self.slots = slots or []
        self._keep = keep
        self.archives: dict[str, bytes] = {}  # by path
        self.lanes: dict[LaneKey, LaneAccount] = {}
        self.checkins: dict[str, CheckIn] = {}
        self.batches: list[Batch] = []  # where `keep` says so
        self._keys: dict[str, bytes] = {}

    def answer(self, ask: Ask, now_ns: int) -> Answer:
        """What a hub would say to a whole request."""
        try:
            if ask.kind == "fetch":
                archive = self.archives.get(ask.path)
                return Answer(404, b"") if archive is None else Answer(200, archive)
            assert ask.body is not None
            return self._take(ask, now_ns)
        except EnvelopeError as error:
            return Answer(400, msgspec.json.encode({"detail": str(error)}))

    def _take(self, ask: Ask, now_ns: int) -> Answer:
        assert ask.body is not None
        assert ask.kind != "fetch"
        sealed = read_sealed(ask.body, ask.kind)
        if ask.kind == "enrol":
            enrol = open_sealed(sealed, lambda *_: None, Enrol)
            self._keys[sealed.device_id] = enrol.public_key
            return Answer(200, _encode(EnrolReply(hub_id="ideal", hub_public_key=bytes(32))), enrol)
        if ask.kind == "checkin":
            checkin = open_sealed(sealed, self._verify, CheckIn)
            self.checkins[sealed.device_id] = checkin
            return Answer(200, _encode(CheckInReply(hub_time_ns=now_ns, next_checkin_s=0.0, slots=self.slots)), checkin)
        batch = open_sealed(sealed, self._verify, Batch)
        if self._keep:
            self.batches.append(batch)
        return Answer(200, _encode(self._account(sealed.device_id, batch, now_ns)), batch)

    def _account(self, device_id: str, batch: Batch, now_ns: int) -> Ack:
        cursors, rejected = {}, []
        for item in batch.items:
            account = self.lanes.setdefault((device_id, batch.epoch, item.lane), LaneAccount())
            if not account.take(item):
                rejected.append(Rejection(item.lane, item.seq, "another item is already stored under this number"))
            cursors[str(item.lane)] = account.cursor
        return Ack(epoch=batch.epoch, cursors=cursors, hub_time_ns=now_ns, rejected=rejected)

    def _verify(self, device_id: str, signature: bytes, message: bytes) -> None:
        if device_id not in self._keys or not verified(self._keys[device_id], signature, message):
            raise EnvelopeError(f"device {device_id}: not its signature")
