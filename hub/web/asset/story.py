"""What an asset's page says first: what is, since when, what changed, and how far learning has come."""

from __future__ import annotations

from dataclasses import dataclass

from hub.web.asset.alerts import AssetAlert
from hub.web.asset.changes import Change, what_changed
from hub.web.asset.kinds import Kind, Normal
from hub.web.asset.lake_windows import AssetWindows, Wanted, read_windows
from hub.web.asset.pause import Pause, read_pause
from hub.web.asset.spectrum import Octaves, octaves
from hub.web.queries import Tile
from hub.web.seams import Windows
from hub.web.time_range import time_range
from hub.web.words import NS_PER_S


@dataclass(frozen=True, slots=True)
class Progress:
    """Of a commissioning under way: `n` of `needed` windows that the hub has; `left_s`: for the rest, at the least."""

    n: int
    needed: int
    left_s: float

    @property
    def share(self) -> float:
        return min(1.0, self.n / self.needed)


@dataclass(frozen=True, slots=True)
class Story:
    """`alert`: the newest that is open. `changes`: by channel, the contributing one first; () where normal is not known.
    `normal`: what was learned; None = nothing yet. `follows_s`: how slowly normal follows drift; None = it does not.
    `known`: whether the hub has the profile. `pause`: its newest windows do not count; None = they do, or nothing is known."""

    tile: Tile
    alert: AssetAlert | None
    changes: tuple[Change, ...]
    progress: Progress | None
    octaves: tuple[Octaves, ...]
    normal: Normal | None
    follows_s: float | None
    known: bool
    pause: Pause | None = None

    @property
    def change(self) -> Change | None:
        """What is worth saying in the first sentence."""
        return self.changes[0] if self.changes and (self.alert or self.changes[0].is_far) else None


def read_story(lake: Windows, tile: Tile, alert: AssetAlert | None, kind: Kind | None, now_ns: int) -> Story:
    """Reads an hour of the asset's windows, a day while it learns."""
    if kind is None:
        return Story(tile, alert, (), None, (), None, None, known=False)
    learning = tile.said == "commissioning"
    wanted = Wanted(kind.spec_hash, kind.n_features, range(kind.n_features))
    windows = read_windows(lake, tile, time_range({}, now_ns, "24h" if learning else "1h"), wanted)
    since_s = alert.said_opened_ns / NS_PER_S if alert else None
    return Story(
        tile=tile,
        alert=alert,
        changes=what_changed(kind, windows, alert.top_channel if alert else "", since_s),
        progress=_progress(kind, windows) if learning else None,
        octaves=octaves(kind, windows),
        normal=kind.normal,
        follows_s=kind.profile.features.follow_s,
        known=True,
        pause=read_pause(kind, windows),
    )


def _progress(kind: Kind, windows: AssetWindows) -> Progress:
    """The windows of the commissioning that the newest window belongs to."""
    n = 0
    for learning, partial in zip(windows.learning[::-1].tolist(), windows.partial[::-1].tolist(), strict=True):
        if not learning:
            break
        n += not partial
    needed = kind.profile.commissioning.windows
    return Progress(n, needed, max(0, needed - n) * kind.profile.windowing.hop)
