"""What many tests are built of: a small profile, a machine that runs, bundles, batches, a clock that a test turns itself.

Everything is made from seeds and virtual time, so that the same test sees the same data every time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray

from models.bundle.archive import Golden, digest, pack_bundle
from models.bundle.manifest import Manifest
from models.contract.checkin import DesiredBundle
from models.contract.clock import NS_PER_S, Stamp
from models.contract.envelope import Batch
from models.contract.items import (
    KIND_OF,
    LANE_OF,
    Aggregate,
    Alert,
    Body,
    Evidence,
    Health,
    Item,
    SensorFault,
    SlotScore,
    encode_body,
    pack_floats,
)
from models.contract.profile import Channel, Profile, Windowing
from models.contract.reading import Reading
from models.contract.signing import SigningKey
from models.detectors.autoencoder import TfliteAutoencoder
from models.raw_window import RawWindow

DATA = Path(__file__).parent / "data"
T0_S = 1_700_000_000  # a multiple of every window length used here
T0_NS = T0_S * NS_PER_S
RATE_HZ = 5.0
WINDOW_S = 10.0
SPEC_HASH = "0123456789abcdef"


# --- profile and machine ------------------------------------------------------------------------------------------


def rig(windows: int = 20, name: str = "rig", **windowing: Any) -> Profile:
    """Flow and pressure that move together, and a temperature; 18 features, as `tiny_int8.tflite` has inputs."""
    return msgspec.convert(
        {
            "name": name,
            "channels": [
                {"name": "flow", "min": 0.0, "max": 100.0, "resolution": 0.01, "stuck_after_s": 10.0},
                {"name": "pressure", "min": -1.0, "max": 16.0, "resolution": 0.001, "stuck_after_s": 10.0},
                {"name": "temperature", "min": -40.0, "max": 180.0},
            ],
            "windowing": {"rate_hz": RATE_HZ, "window_s": WINDOW_S, **windowing},
            "features": {"cross": ["correlation"]},
            "commissioning": {"windows": windows},
        },
        Profile,
    )


def plain(*channels: Channel | str, **windowing: Any) -> Profile:
    """A profile of the named channels; windows of 10 s at 1 Hz, no lateness, unless told otherwise."""
    made = tuple(channel if isinstance(channel, Channel) else Channel(name=channel) for channel in channels or ("x",))
    settings = {"rate_hz": 1.0, "window_s": 10.0, "lateness_s": 0.0, "max_gap_s": 2.0, **windowing}
    return Profile(name="plain", channels=made, windowing=Windowing(**settings))


def running(seconds: float, seed: int = 0, start_s: float = 0.0) -> NDArray[np.float64]:
    """(n, 3) values of a healthy rig at 5 Hz, as its sensors resolve them."""
    n = round(seconds * RATE_HZ)
    rng = np.random.default_rng((seed, round(start_s * RATE_HZ)))
    t = start_s + np.arange(1, n + 1) / RATE_HZ
    load = 1 + 0.05 * np.sin(2 * np.pi * t / 7.3) + 0.02 * rng.standard_normal(n)
    flow = np.round(40 * load + 0.2 * rng.standard_normal(n), 2)
    pressure = np.round(4 * load**2 + 0.02 * rng.standard_normal(n), 3)
    temperature = 55 + 0.3 * np.sin(2 * np.pi * t / 300) + 0.05 * rng.standard_normal(n)
    return np.column_stack([flow, pressure, temperature])


def rows(
    values: NDArray[np.float64], start_s: float = 0.0, asset: str = "rig-1", profile: Profile | None = None
) -> list[Reading]:
    """The rows of (n, c) values at 5 Hz as readings, the first 0.2 s after `start_s`; NaN cells are not sent."""
    names = (profile or rig()).channel_names
    readings = []
    for i, row in enumerate(values.tolist()):
        t_ns = T0_NS + round((start_s + (i + 1) / RATE_HZ) * NS_PER_S)
        readings += [Reading(asset, name, t_ns, v) for name, v in zip(names, row, strict=True) if not math.isnan(v)]
    return readings


def raw_window(
    *channels: Sequence[float], rate_hz: float = 1.0, start_s: float = 0.0, window_s: float | None = None
) -> RawWindow:
    """A window with the given values, one each 1/rate_hz; NaN = no reading at that time."""
    length_s = window_s or max(len(c) for c in channels) / rate_hz
    start_ns = T0_NS + round(start_s * NS_PER_S)
    times, values = [], []
    for channel in channels:
        v = np.asarray(channel, dtype=np.float64)
        t = start_ns + np.round(np.arange(1, len(v) + 1) / rate_hz * NS_PER_S).astype(np.int64)
        there = ~np.isnan(v)
        times.append(t[there])
        values.append(v[there])
    return RawWindow(start_ns, start_ns + round(length_s * NS_PER_S), times, values, 0)


# --- time and keys ------------------------------------------------------------------------------------------------


@dataclass
class TurnedClock:
    """A clock that stands still until it is turned."""

    now_s: float = 0.0

    def now(self) -> Stamp:
        ns = round(self.now_s * NS_PER_S)
        return Stamp(wall_ns=T0_NS + ns, mono_ns=ns, boot_id="boot", synced=True)


def stamp(at_s: float = 0.0) -> Stamp:
    return TurnedClock(at_s).now()


def signing_key(seed: int = 1) -> SigningKey:
    return SigningKey(Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32))


# --- items --------------------------------------------------------------------------------------------------------


def aggregate(n: int = 0, n_features: int = 4) -> Aggregate:
    end_ns = T0_NS + n * 10 * NS_PER_S
    return Aggregate(
        asset="rig-1", profile="rig", spec_hash=SPEC_HASH, start_ns=end_ns - 10 * NS_PER_S, end_ns=end_ns,
        features=pack_floats(np.full(n_features, n, dtype=np.float32)), n_readings=150,
        scores=[SlotScore(detector="baseline", score=float(n))],
    )  # fmt: skip


def alert(n: int = 0) -> Alert:
    return Alert(
        alert_id=f"rig-1-{n}", asset="rig-1", profile="rig", detector="baseline", severity="warning", opened_ns=T0_NS + n,
        p_value=1e-6, score=12.5, top=[("flow", 0.8), ("pressure", 0.2)],
    )  # fmt: skip


def evidence(n: int = 0, n_values: int = 30) -> Evidence:
    values = pack_floats(np.arange(n_values, dtype=np.float32))
    return Evidence(alert_id=f"rig-1-{n}", asset="rig-1", start_ns=T0_NS, rate_hz=5.0, channels=["flow"], values=values)


def sensor_fault(n: int = 0) -> SensorFault:
    return SensorFault(fault_id=f"stuck-{n}", source="", asset="rig-1", channel="flow", fault="stuck", opened_ns=T0_NS + n)


def health(n: int = 0) -> Health:
    return Health(uptime_s=float(n), rss_bytes=1, peak_rss_bytes=2, backlog_items=0, backlog_bytes=0, readings=n, windows=0,
                  raw_bytes=0, sent_bytes=0, frame_errors=0)  # fmt: skip


def items_of(bodies: Iterable[Body], first_seq: int = 1) -> list[Item]:
    """Bodies in their places, each lane counted from `first_seq`."""
    next_seq: dict[str, int] = {}
    items = []
    for body in bodies:
        kind = KIND_OF[type(body)]
        lane = LANE_OF[kind]
        seq = next_seq.get(lane, first_seq)
        next_seq[lane] = seq + 1
        items.append(Item(lane=lane, seq=seq, first_seq=seq, kind=kind, at=stamp(), body=msgspec.Raw(encode_body(body))))
    return items


def batch(*bodies: Body) -> Batch:
    return Batch(epoch="epoch-1", sent=stamp(), items=items_of(bodies or [aggregate(), alert()]))


# --- bundles ------------------------------------------------------------------------------------------------------


@cache
def tiny_model(kind: str = "int8") -> bytes:
    return (DATA / f"tiny_{kind}.tflite").read_bytes()


@cache
def _golden() -> Golden:
    inputs = np.random.default_rng(3).normal(size=(8, 18)).astype(np.float32)
    detector = TfliteAutoencoder(tiny_model(), 8.0)
    return Golden(inputs, np.array([detector.score(z).score for z in inputs]))


@dataclass
class BundleParts:
    """What a bundle is packed of; change a part, then `pack`."""

    bundle_id: str = "rig-v1"
    profile: Profile = field(default_factory=rig)
    model: bytes = field(default_factory=tiny_model)
    golden: Golden = field(default_factory=_golden)
    card: dict[str, Any] = field(default_factory=lambda: {"made for": "tests"})
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def manifest(self) -> Manifest:
        plain_manifest = Manifest(
            bundle_id=self.bundle_id, profile=self.profile.name, version=1, created_ns=T0_NS, spec_hash=self.profile.spec_hash,
            n_features=18, model_sha256="0" * 64, golden_sha256="0" * 64,
        )  # fmt: skip
        return msgspec.structs.replace(plain_manifest, **self.changes)

    def pack(self) -> bytes:
        return pack_bundle(self.manifest, self.model, self.golden, self.card)


def bundle(bundle_id: str = "rig-v1", **changes: Any) -> bytes:
    """A bundle that passes its self-test here, with the manifest's `changes`."""
    return BundleParts(bundle_id=bundle_id, changes=changes).pack()


def wrong_golden(bundle_id: str = "rig-bad") -> bytes:
    """A bundle whose golden vectors do not score here as it says."""
    golden = Golden(_golden().inputs, _golden().scores * 2)
    return BundleParts(bundle_id=bundle_id, golden=golden).pack()


def desired(archive: bytes, bundle_id: str) -> DesiredBundle:
    """How the hub asks for `archive`."""
    return DesiredBundle(bundle_id, digest(archive), len(archive))
