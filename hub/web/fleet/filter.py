"""Which assets of the fleet somebody wants to see, as an address says it. Pure.

    /fleet?view=list&state=alarm&site=lyon&profile=pump&model=baseline&silent=1&backlog=1&q=gw-0&sort=backlog&dir=desc

What an address says is checked here and nowhere else: an unknown state, column or view counts as not said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal
from urllib.parse import urlencode

from sqlalchemy import and_, func, or_
from sqlalchemy.sql.elements import ColumnElement

from hub.state.schema import assets, bundles, device_slots, devices
from hub.web.queries import STATES, state_now

BASELINE: Final = "baseline"
MAX_WORD: Final = 100  # characters of a name or of what is searched for
View = Literal["map", "list"]


@dataclass(frozen=True, slots=True)
class FleetFilter:
    """Empty words filter nothing. `silent`: only what hangs on a device that is not heard. `backlog`: only where items wait.
    `sort`, `descending`, `after`: of the list alone; they are checked where the list is read."""

    view: View = "map"
    state: str = ""
    site: str = ""
    profile: str = ""
    model: str = ""  # a bundle's id, or BASELINE
    silent: bool = False
    backlog: bool = False
    q: str = ""
    sort: str = ""
    descending: bool = False
    after: str = ""

    @property
    def narrows(self) -> bool:
        return any((self.state, self.site, self.profile, self.model, self.silent, self.backlog, self.q))

    def query(self, **changes: Any) -> str:
        """The address's query with these changes, `?` included; "" where there is nothing to say. Another filter, sort or view
        begins at the first page."""
        changed = replace(self, **{"after": "", **changes})
        said = {
            "view": "list" if changed.view == "list" else "",
            **{name: getattr(changed, name) for name in ("state", "site", "profile", "model")},
            "silent": "1" if changed.silent else "",
            "backlog": "1" if changed.backlog else "",
            "q": changed.q,
            "sort": changed.sort,
            "dir": ("desc" if changed.descending else "asc") if changed.sort else "",
            "after": changed.after,
        }
        said = {name: value for name, value in said.items() if value}
        return f"?{urlencode(said)}" if said else ""


def fleet_filter(query: Mapping[str, str]) -> FleetFilter:
    """What an address asks for."""

    def word(name: str, most: int = MAX_WORD) -> str:
        return query.get(name, "").strip()[:most]

    return FleetFilter(
        view="list" if query.get("view") == "list" else "map",
        state=query.get("state", "") if query.get("state") in STATES else "",
        site=word("site"),
        profile=word("profile"),
        model=word("model"),
        silent=bool(query.get("silent")),
        backlog=bool(query.get("backlog")),
        q=word("q"),
        sort=word("sort"),
        descending=query.get("dir") == "desc",
        after=word("after", 500),
    )


def conditions(wanted: FleetFilter, heard_since_ns: int) -> list[ColumnElement[bool]]:
    """As SQL, over `joined()`."""
    found: list[ColumnElement[bool]] = []
    if wanted.state:
        found.append(state_now(heard_since_ns) == wanted.state)
    if wanted.site:
        found.append(devices.c.site == wanted.site)
    if wanted.profile:
        found.append(assets.c.profile == wanted.profile)
    if wanted.model == BASELINE:
        found.append(device_slots.c.bundle_id.is_(None))
    elif wanted.model:
        found.append(device_slots.c.bundle_id == wanted.model)
    if wanted.silent:
        found.append(devices.c.last_seen_ns < heard_since_ns)
    if wanted.backlog:
        found.append(devices.c.backlog_items > 0)
    if wanted.q:
        part = wanted.q.lower()
        columns = (assets.c.asset, assets.c.device_id, devices.c.site)
        found.append(or_(*(func.lower(column).contains(part, autoescape=True) for column in columns)))
    return found


def joined(*, with_models: bool) -> Any:
    """Assets with their devices; with the active slots of their profiles and what is in these, if asked for."""
    known = assets.join(devices, assets.c.device_id == devices.c.device_id)
    if not with_models:
        return known
    same_profile = and_(device_slots.c.device_id == assets.c.device_id, device_slots.c.profile == assets.c.profile)
    active = and_(same_profile, device_slots.c.slot == "active")
    return known.outerjoin(device_slots, active).outerjoin(bundles, bundles.c.bundle_id == device_slots.c.bundle_id)
