"""The fleet's own names: sites, devices, assets, profiles, channels, models; matched as written, and where they are misspelt.

Profiles and channels have synonyms in both languages, since people say pompe where the profile is called pump.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, select

from hub.ask.text import fold, tokens
from hub.state.schema import assets, bundles, devices, sensor_faults
from models.contract.config import load_profile
from models.errors import ConfigError

MAX_NAMES: Final = 20_000  # of a kind
KINDS: Final = ("site", "device", "asset", "profile", "channel", "model")
SYNONYMS: Final[Mapping[str, Mapping[str, str]]] = {
    "profile": {
        "pump": "pump|pompe",
        "fan": "fan|ventilateur|blower|soufflante",
        "motor": "motor|engine|moteur",
        "compressor": "compressor|compresseur",
        "bearing": "bearing|roulement|palier",
        "host": "host|computer|ordinateur|hote",
    },
    "channel": {
        "flow": "flow|flow rate|debit",
        "pressure": "pressure|pression",
        "current": "current|amperage|courant|intensite",
        "temperature": "temperature|heat|overheating|chaleur|surchauffe|echauffement",
        "vibration": "vibration|vibrating|vibrate",
        "speed": "speed|rotation|vitesse|regime",
        "airflow": "airflow|air flow|debit d air",
        "acceleration": "acceleration|accelerometer|accelerometre",
        "cpu_load": "cpu load|cpu|processor|processeur|charge du processeur",
        "memory_used": "memory used|memory|memoire|ram",
        "disk_write": "disk writes|disk write|ecriture disque",
        "disk_read": "disk reads|disk read|lecture disque",
        "net_sent": "network sent|sent bytes|reseau emis",
        "net_received": "network received|received bytes|reseau recu",
    },
}


@dataclass(frozen=True, slots=True)
class Name:
    """`kind`: of KINDS. `value`: as the hub writes it."""

    kind: str
    value: str


class Names:
    """All names, by the stems of their words."""

    def __init__(self, names: Iterable[tuple[Name, str]]) -> None:
        """Each name with a way to say it."""
        self._by_stems: dict[tuple[str, ...], list[Name]] = {}
        for name, said in names:
            stems = tuple(token.stem for token in tokens(said))
            known = self._by_stems.setdefault(stems, [])
            if stems and name not in known:
                known.append(name)
            parts = tuple(part for token in stems for part in token.split("-"))
            if len(parts) > len(stems) and name.kind == "site":  # Saint Étienne
                self._by_stems.setdefault(parts, []).append(name)
        self.longest = max(map(len, self._by_stems), default=1)
        self._single: dict[str, list[Name]] = {key[0]: names for key, names in self._by_stems.items() if len(key) == 1}

    def at(self, stems: Sequence[str], texts: Sequence[str]) -> list[Name]:
        """Those called exactly so; where several differ by capitals only, the one that is written like this."""
        found = self._by_stems.get(tuple(stems), [])
        exact = [name for name in found if name.value == "-".join(texts)]
        return exact or found

    @property
    def singles(self) -> Mapping[str, list[Name]]:
        """Names of one word, by its stem: what a misspelt word is compared with."""
        return self._single

    def values(self, kind: str) -> list[str]:
        return sorted({name.value for names in self._by_stems.values() for name in names if name.kind == kind})


def read_names(connection: Connection, profiles_dir: Path | None = None) -> Names:
    """The names as they are in the state now, at most MAX_NAMES of a kind."""
    columns = (("site", devices.c.site), ("device", devices.c.device_id), ("asset", assets.c.asset))
    found: list[tuple[Name, str]] = []
    for kind, column in (
        *columns,
        ("profile", assets.c.profile),
        ("profile", bundles.c.profile),
        ("model", bundles.c.bundle_id),
    ):
        rows = connection.execute(select(column).distinct().order_by(column).limit(MAX_NAMES)).scalars()
        found += [(Name(kind, value), value) for value in rows if value]
    profiles = {name.value for name, _ in found if name.kind == "profile"} | set(SYNONYMS["profile"])
    channels = {channel for profile in sorted(profiles) for channel in _channels(profile, profiles_dir)}
    faulty = select(sensor_faults.c.channel).distinct().limit(MAX_NAMES)
    channels |= {channel for channel in connection.execute(faulty).scalars() if channel} | set(SYNONYMS["channel"])
    found += [(name, way) for name, _ in list(found) if name.kind == "asset" for way in _in_words(name.value)]
    found += [
        said
        for kind, values in (("profile", profiles), ("channel", channels))
        for value in values
        for said in _said(kind, value)
    ]
    return Names(found)


def _in_words(asset: str) -> list[str]:
    """How people say an asset that is called by its profile and a number: pompe 2, moteur-1."""
    profile, dash, figure = asset.rpartition("-")
    return (
        [f"{way} {figure}" for way in SYNONYMS["profile"].get(profile, "").split("|") if way]
        if dash and figure.isdigit()
        else []
    )


def _said(kind: str, value: str) -> list[tuple[Name, str]]:
    """The ways to say a profile or channel: its name, its name in words, and the synonyms."""
    ways = {value, value.replace("_", " "), *SYNONYMS[kind].get(value, value).split("|")}
    return [(Name(kind, value), way) for way in sorted(ways) if fold(way)]


def _channels(profile: str, profiles_dir: Path | None) -> list[str]:
    try:
        return [channel.name for channel in load_profile(profile, profiles_dir).channels]
    except ConfigError:
        return []  # only its devices have it
