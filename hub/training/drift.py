"""How far each channel has moved from what its assets learned as normal, over their latest windows.

An asset's shift in a feature is (mean over its windows - location) / scale, both learned at its commissioning: in units of its
own spread. Of a channel's features the one that moved farthest counts; windows in alarm, with a sensor fault or cut short are
left out. This tells where drift comes from; what starts a training is told by p-values (`watch.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np
import pyarrow.dataset as ds
from numpy.typing import NDArray
from sqlalchemy import Connection, select

from hub.state.schema import commissionings
from models.contract.clock import NS_PER_S
from models.contract.items import unpack_floats
from models.contract.profile import Profile
from models.features.spec import FeatureSpec

SPAN_NS: Final = 6 * 3600 * NS_PER_S
MAX_ASSETS: Final = 300
MAX_WINDOWS: Final = 30_000
MIN_WINDOWS: Final = 20  # of an asset
MOVED: Final = 3.0  # spreads


@dataclass(frozen=True, slots=True)
class ChannelDrift:
    """`shift`: the median asset's, in its own spreads, >= 0. `n_moved`: assets beyond MOVED. `feature`: that moved most."""

    channel: str
    n_assets: int
    shift: float
    n_moved: int
    feature: str


Normals = Mapping[tuple[str, str], tuple[NDArray[np.float32], NDArray[np.float32]]]  # (device, asset): location and scale


def normals_of(connection: Connection, profile: Profile) -> Normals:
    """Of the MAX_ASSETS that were commissioned last, for the profile's present feature spec."""
    own = commissionings.c
    query = select(own.device_id, own.asset, own.location, own.scale).where(
        own.profile == profile.name, own.spec_hash == profile.spec_hash
    )
    rows = connection.execute(query.order_by(own.end_ns.desc()).limit(MAX_ASSETS)).all()
    return {(row.device_id, row.asset): (unpack_floats(row.location), unpack_floats(row.scale)) for row in rows}


def channel_drift(profile: Profile, normals: Normals, windows: ds.Dataset, now_ns: int) -> list[ChannelDrift]:
    """`windows`: the lake's table `aggregates`. In the order of the profile's channels; empty where there is too little."""
    if not normals:
        return []
    spec = FeatureSpec(profile)
    shifts = _shifts(spec, normals, _recent(profile, sorted({device for device, _ in normals}), windows, now_ns))
    if not len(shifts):
        return []
    return [_of_channel(channel, spec, shifts) for channel in spec.channels]


def _recent(profile: Profile, devices: list[str], windows: ds.Dataset, now_ns: int) -> list[tuple[str, str, list[float]]]:
    field = ds.field
    day = datetime.fromtimestamp((now_ns - SPAN_NS) // NS_PER_S, UTC).date()
    mine = (field("profile") == profile.name) & (field("day") >= day) & (field("spec_hash") == profile.spec_hash)
    usable = (field("end_ns") > now_ns - SPAN_NS) & ~field("commissioning") & ~field("alarm") & field("device_id").isin(devices)
    columns = ["device_id", "asset", "features", "faulty", "partial"]
    table = windows.scanner(columns=columns, filter=mine & usable).head(MAX_WINDOWS)
    rows = zip(*(table[name].to_pylist() for name in columns), strict=True)
    return [(device, asset, features) for device, asset, features, faulty, partial in rows if not faulty and not partial]


def _shifts(spec: FeatureSpec, normals: Normals, rows: list[tuple[str, str, list[float]]]) -> NDArray[np.float64]:
    """(assets, features), |mean - location| / scale; NaN where a feature was missing."""
    by_asset: dict[tuple[str, str], list[list[float]]] = {}
    for device, asset, features in rows:
        if (device, asset) in normals and len(features) == spec.n_features:
            by_asset.setdefault((device, asset), []).append(features)
    found = []
    for key, vectors in by_asset.items():
        location, scale = normals[key]
        if len(vectors) < MIN_WINDOWS or len(location) != spec.n_features or len(scale) != spec.n_features:
            continue
        matrix = np.asarray(vectors, np.float64)
        n_seen = np.maximum(1, (~np.isnan(matrix)).sum(axis=0))
        mean = np.where(np.isnan(matrix).all(axis=0), np.nan, np.nansum(matrix, axis=0) / n_seen)
        found.append(np.abs(mean - location) / np.where(scale > 0, scale, np.nan))
    return np.array(found)


def _of_channel(channel: str, spec: FeatureSpec, shifts: NDArray[np.float64]) -> ChannelDrift:
    own = [k for k, name in enumerate(spec.names) if name.startswith(f"{channel}.")]
    mine = np.nan_to_num(shifts[:, own], nan=0.0)
    most = mine.max(axis=1)
    farthest = int(np.bincount(mine.argmax(axis=1), minlength=len(own)).argmax())
    feature = spec.names[own[farthest]].partition(".")[2]
    return ChannelDrift(channel, len(most), float(np.median(most)), int((most > MOVED).sum()), feature)
