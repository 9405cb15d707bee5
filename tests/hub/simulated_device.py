"""A device as the hub sees it: a key, and well-formed (or deliberately bad) sealed messages. No agent behind it."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from models.contract.checkin import AssetReport, CheckIn, Enrol, Rotate, SlotReport
from models.contract.claim import ClaimToken, claim_message
from models.contract.clock import Stamp
from models.contract.envelope import Batch, seal
from models.contract.items import (
    KIND_OF,
    LANE_OF,
    Aggregate,
    Alert,
    Body,
    Eviction,
    Evidence,
    Health,
    Item,
    RolledWindows,
    Rollup,
    SensorFault,
    SlotScore,
    encode_body,
    pack_floats,
)
from models.contract.signing import SigningKey, join_proof, rotation_message

NOW_NS = 1_790_000_000_000_000_000
SPEC = "0123456789abcdef"


def stamp(at_ns: int = NOW_NS) -> Stamp:
    return Stamp(at_ns, at_ns - NOW_NS + 10**12, "boot-1", synced=True)


def aggregate(n: int = 1, *, profile: str = "pump", n_features: int = 26, detector: str = "baseline") -> Aggregate:
    """The n-th window of ten seconds."""
    start_ns = NOW_NS + n * 10_000_000_000
    return Aggregate(
        asset="p1",
        profile=profile,
        spec_hash=SPEC,
        start_ns=start_ns,
        end_ns=start_ns + 10_000_000_000,
        features=pack_floats(np.full(n_features, n, dtype=np.float32)),
        n_readings=250,
        scores=[SlotScore(detector=detector, score=1.5, p_value=0.4)],
        top=["flow"],
    )


def alert(alert_id: str = "a1", *, closed_ns: int | None = None, p_value: float = 1e-4) -> Alert:
    return Alert(
        alert_id=alert_id,
        asset="p1",
        profile="pump",
        detector="baseline",
        severity="warning",
        opened_ns=NOW_NS,
        closed_ns=closed_ns,
        p_value=p_value,
        score=9.0,
        top=[("flow", 0.7), ("pressure", 0.3)],
    )


def fault(fault_id: str = "f1", *, closed_ns: int | None = None) -> SensorFault:
    return SensorFault(
        fault_id=fault_id, source="s", asset="p1", channel="flow", fault="stuck", opened_ns=NOW_NS, closed_ns=closed_ns
    )


def evidence(alert_id: str = "a1") -> Evidence:
    values = pack_floats(np.arange(20, dtype=np.float32))
    return Evidence(alert_id=alert_id, asset="p1", start_ns=NOW_NS, rate_hz=5.0, channels=["flow", "pressure"], values=values)


def health(uptime_s: float = 60.0) -> Health:
    return Health(
        uptime_s=uptime_s,
        rss_bytes=40_000_000,
        peak_rss_bytes=50_000_000,
        backlog_items=0,
        backlog_bytes=0,
        readings=1000,
        windows=10,
        raw_bytes=8000,
        sent_bytes=900,
        frame_errors=0,
    )


def eviction(n_items: int) -> Eviction:
    return Eviction(reason="budget", n_items=n_items, n_bytes=1000 * n_items, start_ns=NOW_NS, end_ns=NOW_NS + 1)


def rollup(n_windows: int, *assets: str, profile: str = "pump") -> Rollup:
    """`n_windows` of each asset, merged."""
    groups = [
        RolledWindows(
            asset=asset, profile=profile, spec_hash=SPEC, start_ns=NOW_NS, end_ns=NOW_NS + n_windows * 10**10,
            n_windows=n_windows, n_readings=100 * n_windows, mean=pack_floats(np.full(4, 2.0)),
            low=pack_floats(np.full(4, 1.0)), high=pack_floats(np.full(4, 3.0)),
            worst=SlotScore(detector="baseline", score=4.0, p_value=0.01),
        )
        for asset in assets
    ]  # fmt: skip
    return Rollup(reason="outbox full", n_windows=n_windows * len(assets), n_bytes=1000, groups=groups)


def item(body: Body, seq: int, *, first_seq: int | None = None, lane: str | None = None) -> Item:
    """`body` at its place; an eviction needs its lane."""
    kind = KIND_OF[type(body)]
    place = {"lane": lane or LANE_OF[kind], "seq": seq, "first_seq": first_seq or seq, "kind": kind, "at": stamp(NOW_NS + seq)}
    return Item(**place, body=msgspec.Raw(encode_body(body)))


def poison(seq: int, kind: str = "aggregate", body: object = None) -> Item:
    """An item whose body is no body of its kind."""
    raw = msgspec.Raw(msgspec.msgpack.encode({"asset": 7} if body is None else body))
    return Item(lane="aggregates", seq=seq, first_seq=seq, kind=kind, at=stamp(), body=raw)


def aggregates(first: int, last: int) -> list[Item]:
    return [item(aggregate(n), n) for n in range(first, last + 1)]


@dataclass
class SimulatedDevice:
    """Signs what it says."""

    device_id: str = "gw-01"
    epoch: str = "e1"
    key: SigningKey = field(default_factory=lambda: SigningKey(Ed25519PrivateKey.generate()))

    def enrol(self, join_token: str, *, site: str = "north", proof: bytes | None = None) -> bytes:
        public_key = self.key.public_bytes
        proof = join_proof(join_token, self.device_id, public_key) if proof is None else proof
        message = Enrol(public_key=public_key, join_proof=proof, agent_version="0.1.0", site=site, hardware="Pi 4")
        return seal(message, "enrol", self.device_id, self.key.sign)

    def claim(self, token: ClaimToken, *, site: str = "said", profiles: list[str] | None = None) -> bytes:
        """Enrols with a claim token."""
        proof = token.key.sign(claim_message(token.token_id, self.device_id, self.key.public_bytes))
        message = Enrol(
            public_key=self.key.public_bytes, claim_id=token.token_id, claim_proof=proof, agent_version="0.1.0", site=site,
            profiles=["pump"] if profiles is None else profiles,
        )  # fmt: skip
        return seal(message, "enrol", self.device_id, self.key.sign)

    def rotation(self, new: SigningKey, *, proof: bytes | None = None, signed_by: SigningKey | None = None) -> bytes:
        """Asks for another key."""
        old = signed_by or self.key
        proof = proof or new.sign(rotation_message(self.device_id, old.public_bytes, new.public_bytes))
        return seal(Rotate(new_key=new.public_bytes, proof=proof), "rotate", self.device_id, old.sign)

    def batch(self, items: list[Item], *, epoch: str | None = None) -> bytes:
        return seal(Batch(epoch=epoch or self.epoch, sent=stamp(), items=items), "ingest", self.device_id, self.key.sign)

    def checkin(self, *, starts: int = 1, at_ns: int = NOW_NS, **changed: object) -> bytes:
        said = {
            "at": stamp(at_ns),
            "epoch": self.epoch,
            "agent_version": "0.1.0",
            "starts": starts,
            "uptime_s": 60.0,
            "rss_bytes": 1,
            "peak_rss_bytes": 2,
            "backlog_items": 3,
            "backlog_bytes": 4,
            "root_version": 1,
            "assets": [AssetReport(asset="p1", profile="pump", spec_hash=SPEC, state="normal", p_value=0.5)],
            "slots": [SlotReport(profile="pump", slot="active", bundle_id="pump-1")],
        }
        return seal(CheckIn(**(said | changed)), "checkin", self.device_id, self.key.sign)
