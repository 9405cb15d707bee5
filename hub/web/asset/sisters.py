"""An asset among its sisters: others of the same profile that have learned their normal under the same feature spec.

1. At most MAX_SISTERS are looked at, those of the same site first; how many there are is told.
2. Nothing is judged by fewer than MIN_TO_JUDGE sisters: their positions are shown, and that they are few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from sqlalchemy import Connection, case, func, select

from hub.state.schema import assets, commissionings, devices
from hub.web.asset.changes import figure
from hub.web.asset.kinds import MAX_SHOWN, Kind, normal_of
from hub.web.asset.lake_windows import Floats
from hub.web.queries import Tile
from hub.web.words import how_sure

MAX_SISTERS: Final = 300
MIN_TO_JUDGE: Final = 8
_OUTLYING: Final = 3.5  # robust sigmas (Iglewicz and Hoaglin, 1993)
_MAD_TO_SIGMA: Final = 1.4826
_MAX_DECADES: Final = 6.0


@dataclass(frozen=True, slots=True)
class Strip:
    """One figure of all sisters on a line from `low` to `high`; positions are shares of it, 0..1. `own`: None = not known.
    `spread`: where the asset's own normal reaches, from and to. `verdict`: in words, "" = nothing to say."""

    name: str
    unit: str
    low: str
    high: str
    others: tuple[float, ...]
    own: float | None
    spread: tuple[float, float] | None
    own_text: str
    verdict: str
    outlying: bool = False

    @property
    def marks(self) -> list[float]:
        """Where others are drawn: those that would fall on one another, once."""
        return sorted({round(x, 2) if len(self.others) > 100 else round(x, 4) for x in self.others})


@dataclass(frozen=True, slots=True)
class Sisters:
    """`n_all` sisters of which `n_shown` are drawn; `same_site`: those of them at its own site. `measure`: what is compared."""

    n_all: int
    n_shown: int
    same_site: int
    measure: str
    strips: tuple[Strip, ...]

    @property
    def few(self) -> bool:
        return self.n_shown < MIN_TO_JUDGE


def read_sisters(connection: Connection, tile: Tile, kind: Kind) -> Sisters:
    """Two statements, whatever the number of sisters."""
    table = commissionings.c
    known = (table.profile == tile.profile) & (table.spec_hash == kind.spec_hash)
    other = known & ~((table.device_id == tile.device_id) & (table.asset == tile.asset))
    n_all = connection.execute(select(func.count()).select_from(commissionings).where(other)).scalar_one()
    near = case((devices.c.site == tile.site, 0), else_=1)
    joined = commissionings.join(devices, devices.c.device_id == table.device_id).outerjoin(
        assets, (assets.c.device_id == table.device_id) & (assets.c.asset == table.asset)
    )
    chosen = select(commissionings, devices.c.site, assets.c.p_value).select_from(joined).where(other)
    rows = connection.execute(chosen.order_by(near, table.device_id, table.asset).limit(MAX_SISTERS)).all()
    normals = [(row, normal) for row in rows if (normal := normal_of(row, kind))]
    feature = kind.feature_or_default("")
    strips = [_p_strip(tile, rows)]
    strips += [_strip(kind, channel.name, feature, normals) for channel in kind.channels_with(feature)][:MAX_SHOWN]
    same_site = sum(row.site == tile.site for row in rows)
    return Sisters(n_all, len(rows), same_site, kind.measure(feature), tuple(strip for strip in strips if strip.others))


def _strip(kind: Kind, channel: str, feature: str, normals: Sequence[tuple[Any, Any]]) -> Strip:
    at = kind.position(channel, feature)
    values = np.array([normal.location[at] for _, normal in normals], np.float64)
    values = values[np.isfinite(values)]
    own = kind.normal_of(channel, feature)
    unit = kind.unit(channel, feature)
    reach = [] if own is None else [own[0] - own[1], own[0] + own[1]]
    return _placed(channel, unit, values, None if own is None else own[0], reach)


def _p_strip(tile: Tile, rows: Sequence[Any]) -> Strip:
    """How unusual each one's latest window was."""
    values = np.array([_decades(row.p_value) for row in rows if row.p_value is not None])
    own = None if tile.p_value is None else _decades(tile.p_value)
    scale = _MAX_DECADES
    above = (
        "" if own is None or len(values) < MIN_TO_JUDGE else f"more unusual than {int((values < own).sum())} of {len(values)}"
    )
    return Strip(
        "latest window", "", "as usual", "1 in 1,000,000", tuple((values / scale).tolist()),
        None if own is None else own / scale, None, how_sure(tile.p_value).word if own is not None else "", above,
    )  # fmt: skip


def _decades(p: float) -> float:
    return float(min(_MAX_DECADES, max(0.0, -np.log10(max(p, 1e-12)))))


def _placed(name: str, unit: str, values: Floats, own: float | None, reach: list[float]) -> Strip:
    everything = np.concatenate([values, [] if own is None else [own], reach])
    low, high = (float(everything.min()), float(everything.max())) if len(everything) else (0.0, 1.0)
    width = high - low or 1.0
    verdict, outlying = _judged(values, own, unit)
    return Strip(
        name, unit, figure(low), figure(high), tuple(((values - low) / width).tolist()),
        None if own is None else (own - low) / width, ((reach[0] - low) / width, (reach[1] - low) / width) if reach else None,
        "" if own is None else f"{figure(own)} {unit}".strip(), verdict, outlying,
    )  # fmt: skip


def _judged(values: Floats, own: float | None, unit: str) -> tuple[str, bool]:
    """Whether a normal lies among the others', by their median and its absolute deviation."""
    if own is None or len(values) < MIN_TO_JUDGE:
        return "", False
    middle = float(np.median(values))
    sigma = float(np.median(np.abs(values - middle))) * _MAD_TO_SIGMA
    if sigma > 0 and abs(own - middle) / sigma > _OUTLYING:
        return f"apart from the others, whose median is {figure(middle)} {unit}".rstrip(), True
    return "among the others", False
