"""The catalogue: every profile with its channels and features, their units and ranges, and who answers for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, func, select

from hub.settings import CatalogueEntry
from hub.state.schema import assets
from models.contract.config import load_profile
from models.contract.profile import BUILTIN_DIR, Profile
from models.errors import ConfigError

MAX_PROFILES: Final = 200
FEATURES: Final = {  # what models/features/spec.py computes, for people
    "mean": "mean of the window",
    "last": "last value of the window",
    "std": "standard deviation",
    "range": "greatest less least value",
    "slope": "trend over the window, a second",
    "roughness": "how much neighbours differ",
    "skew": "third standard moment: lopsidedness",
    "kurtosis": "fourth standard moment: heavy tails",
    "crest": "greatest distance from the mean, in standard deviations",
    **{
        f"octave{k}": f"log power in the {('highest', 'second', 'third', 'fourth', 'fifth', 'sixth')[k - 1]} octave"
        for k in range(1, 7)
    },
    "envelope": "strongest line in the envelope's spectrum",
    "envelope_hz": "frequency of that line, Hz",
}


@dataclass(frozen=True, slots=True)
class ChannelView:
    """A signal. `rate_hz`: at which it comes, None = the profile's grid."""

    name: str
    unit: str
    least: float | None
    most: float | None
    resolution: float
    stuck_after_s: float | None
    rate_hz: float | None
    optional: bool
    dynamics: str
    description: str


@dataclass(frozen=True, slots=True)
class ProfileView:
    """`problem`: why its file cannot be used; then the rest is empty. `n_assets`: that devices watch, with `n_other` of another
    feature spec than the hub's."""

    name: str
    title: str
    source: str
    owner: str
    description: str
    spec_hash: str
    rate_hz: float
    window_s: float
    hop_s: float
    n_features: int
    features: tuple[tuple[str, str], ...]
    correlated: bool
    channels: tuple[ChannelView, ...]
    false_alarms_per_month: float
    n_assets: int
    n_other: int
    problem: str


def read_catalogue(
    connection: Connection, profiles_dir: Path | None, told: Mapping[str, CatalogueEntry]
) -> tuple[ProfileView, ...]:
    """The hub's profiles, and those that only devices know, by name."""
    counted: dict[str, dict[str, int]] = {}
    query = select(assets.c.profile, assets.c.spec_hash, func.count()).group_by(assets.c.profile, assets.c.spec_hash)
    for profile, spec_hash, n in connection.execute(query):
        counted.setdefault(profile, {})[spec_hash] = n
    own = {path.stem for path in profiles_dir.glob("*.toml")} if profiles_dir else set()
    builtin = {path.stem for path in BUILTIN_DIR.glob("*.toml")}
    names = sorted({*own, *builtin, *counted, *told})[:MAX_PROFILES]
    return tuple(
        _profile(name, name in own, profiles_dir, told.get(name, CatalogueEntry()), counted.get(name, {})) for name in names
    )


def _profile(name: str, is_own: bool, folder: Path | None, told: CatalogueEntry, counted: Mapping[str, int]) -> ProfileView:
    try:
        profile: Profile | None = load_profile(name, folder)
        problem = ""
    except ConfigError as error:
        profile, problem = None, str(error)
    facts: dict[str, Any] = {"name": name, "owner": told.owner, "description": told.description, "problem": problem}
    facts["n_assets"] = sum(counted.values())
    if profile is None:
        empty: dict[str, Any] = {"title": "", "source": "only its devices know it", "spec_hash": "", "rate_hz": 0.0}
        empty |= {"window_s": 0.0, "hop_s": 0.0, "n_features": 0, "features": (), "correlated": False, "channels": ()}
        return ProfileView(**facts, **empty, false_alarms_per_month=0.0, n_other=0)
    n, per_channel = len(profile.channels), profile.features.per_channel
    correlated = "correlation" in profile.features.cross
    return ProfileView(
        **facts,
        title=profile.title,
        source="profiles_dir" if is_own else "built in",
        spec_hash=profile.spec_hash,
        rate_hz=profile.windowing.rate_hz,
        window_s=profile.windowing.window_s,
        hop_s=profile.windowing.hop,
        n_features=n * len(per_channel) + (n * (n - 1) // 2 if correlated else 0),
        features=tuple((feature, FEATURES.get(feature, "")) for feature in per_channel),
        correlated=correlated,
        channels=tuple(_channel(channel, told) for channel in profile.channels),
        false_alarms_per_month=profile.decision.false_alarms_per_month,
        n_other=sum(count for spec_hash, count in counted.items() if spec_hash != profile.spec_hash),
    )


def _channel(channel: Any, told: CatalogueEntry) -> ChannelView:
    return ChannelView(
        name=channel.name,
        unit=channel.unit,
        least=channel.min,
        most=channel.max,
        resolution=channel.resolution,
        stuck_after_s=channel.stuck_after_s,
        rate_hz=channel.rate_hz,
        optional=channel.optional,
        dynamics=channel.dynamics,
        description=told.channels.get(channel.name, ""),
    )
