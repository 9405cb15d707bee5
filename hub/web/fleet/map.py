"""The whole fleet as a honeycomb: a cell an asset, by site and profile, each state by colour and by shape.

1. One statement, whatever the size; beyond MAX_CELLS the most urgent are shown, and how many are not is said.
2. A cell's markup is made here and not in a template: ten thousand of them through a template would take a second. Names are
   escaped all the same.
3. `fleet_digest` costs a fraction of the map: it reads how many are normal and which are not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import groupby
from typing import Final
from urllib.parse import quote

from markupsafe import Markup, escape
from sqlalchemy import Connection, case, func, select

from hub.devices.not_judged import NOT_JUDGED
from hub.state.schema import assets, devices
from hub.web.fleet.filter import FleetFilter, conditions, joined
from hub.web.live import digest
from hub.web.queries import STATES, state_now
from hub.web.words import STATE_WORDS

MAX_CELLS: Final = 12_000
MAX_SITES: Final = 400  # cards; beyond that the map is by profile alone
_PLAIN: Final = re.compile(r"[A-Za-z0-9_.\-]+\Z")  # names that need neither escaping nor quoting: nearly all
_LETTER: Final = {"alarm": "a", "silent": "s", "commissioning": "c", NOT_JUDGED: "u", "normal": "n"}
Cell = tuple[str, str, str]  # device, asset, state


@dataclass(frozen=True, slots=True)
class Comb:
    """The cells of one profile on one site."""

    profile: str
    cells: tuple[Cell, ...]

    @property
    def markup(self) -> Markup:
        return Markup("".join(map(_cell, self.cells)))  # noqa: S704 (each is escaped)


@dataclass(frozen=True, slots=True)
class Site:
    """One card. `name` "" = all sites together. `states`: how many of each, those that are not normal."""

    name: str
    combs: tuple[Comb, ...]

    @property
    def n(self) -> int:
        return sum(len(comb.cells) for comb in self.combs)

    @property
    def states(self) -> tuple[tuple[str, int], ...]:
        counted = dict.fromkeys(STATES, 0)
        for comb in self.combs:
            for _, _, state in comb.cells:
                counted[state] = counted.get(state, 0) + 1
        return tuple((state, n) for state, n in counted.items() if n and state != "normal")


@dataclass(frozen=True, slots=True)
class FleetMap:
    """`n_all`: what the filter lets through, shown or not. `size`: of the cells, by how many there are."""

    wanted: FleetFilter
    sites: tuple[Site, ...]
    n_all: int
    n_fleet: int
    by_site: bool = True

    @property
    def n_shown(self) -> int:
        return sum(site.n for site in self.sites)

    @property
    def size(self) -> str:
        sizes = ((150, "large"), (1200, "middle"), (5000, "small"))
        return next((size for most, size in sizes if self.n_shown <= most), "tiny")


def read_map(connection: Connection, heard_since_ns: int, wanted: FleetFilter, limit: int = MAX_CELLS) -> FleetMap:
    n_fleet = connection.execute(select(func.count()).select_from(assets)).scalar_one()
    if wanted.narrows or n_fleet > limit:
        rows, n_all = _chosen(connection, heard_since_ns, wanted, limit)
    else:
        rows = _everything(connection, heard_since_ns)
        n_all = len(rows)
    by_site = len({row[0] for row in rows}) <= MAX_SITES
    if not by_site:
        rows = [("", *row[1:]) for row in rows]
    rows.sort()
    return FleetMap(wanted, _sites(rows), n_all, n_fleet, by_site)


def _chosen(connection: Connection, heard_since_ns: int, wanted: FleetFilter, limit: int) -> tuple[list[tuple[str, ...]], int]:
    """The most urgent of those that the filter lets through, and how many these are."""
    state = state_now(heard_since_ns)
    chosen = select(devices.c.site, assets.c.profile, assets.c.device_id, assets.c.asset, state.label("state"))
    chosen = chosen.select_from(joined(with_models=bool(wanted.model))).where(*conditions(wanted, heard_since_ns))
    urgency = case({name: rank for rank, name in enumerate(STATES)}, value=state, else_=len(STATES))
    rows = connection.execute(chosen.order_by(urgency, assets.c.device_id).limit(limit + 1)).all()
    n_all = len(rows)
    if n_all > limit:
        n_all = connection.execute(select(func.count()).select_from(chosen.subquery())).scalar_one()
    return [tuple(row) for row in rows[:limit]], n_all


def _everything(connection: Connection, heard_since_ns: int) -> list[tuple[str, ...]]:
    """Site, profile, device, asset and state of all. Joined here: the index has all that is wanted of devices, and looking up
    each one's row of kilobytes takes the database several times as long."""
    known = connection.execute(select(devices.c.device_id, devices.c.site, devices.c.last_seen_ns)).all()
    place = {device: (site, last_seen_ns < heard_since_ns) for device, site, last_seen_ns in known}
    watched = select(assets.c.profile, assets.c.device_id, assets.c.asset, assets.c.state)
    rows: list[tuple[str, ...]] = []
    for profile, device, asset, state in connection.execute(watched).all():
        if device in place:
            site, silent = place[device]
            rows.append((site, profile, device, asset, "silent" if silent and state != "alarm" else state))
    return rows


def _sites(rows: list[tuple[str, ...]]) -> tuple[Site, ...]:
    """From rows of site, profile, device, asset, state, in that order."""
    return tuple(
        Site(name, tuple(Comb(profile, tuple(cells)) for profile, cells in _by_profile(list(of_site))))
        for name, of_site in groupby(rows, lambda row: row[0])
    )


def _by_profile(rows: list[tuple[str, ...]]) -> list[tuple[str, list[Cell]]]:
    groups = groupby(rows, lambda row: row[1])
    return [(profile, [(device, asset, state) for _, _, device, asset, state in of_profile]) for profile, of_profile in groups]


def _cell(cell: Cell) -> str:
    """One link. The list is the way by keyboard; `fleet.js` lets the arrow keys walk the cells."""
    device, asset, state = cell
    kind, word = _LETTER.get(state, "n"), STATE_WORDS.get(state, "normal")
    if _PLAIN.match(device) and _PLAIN.match(asset):
        path, shown = f"{device}/{asset}", f"{asset} · {device} · {word}"
    else:
        path, shown = f"{quote(device, safe='')}/{quote(asset, safe='')}", escape(f"{asset} · {device} · {word}")
    return f'<a class="{kind}" href="/assets/{path}" title="{shown}" tabindex="-1"></a>'


def fleet_digest(connection: Connection, heard_since_ns: int) -> str:
    """Changes when an asset comes or goes or changes its state, and when a device falls silent or is heard again."""
    silent = select(devices.c.device_id).where(devices.c.last_seen_ns < heard_since_ns)
    unusual = select(assets.c.device_id, assets.c.asset, assets.c.state).where(assets.c.state != "normal")
    found = (
        connection.execute(select(devices.c.site, func.count()).group_by(devices.c.site).order_by(devices.c.site)),
        connection.execute(select(assets.c.profile, func.count()).group_by(assets.c.profile).order_by(assets.c.profile)),
        connection.execute(silent.order_by(devices.c.device_id).limit(MAX_CELLS)),
        connection.execute(unusual.order_by(assets.c.device_id, assets.c.asset).limit(MAX_CELLS)),
    )
    return digest([rows.all() for rows in found])
