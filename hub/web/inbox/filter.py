"""Which alerts somebody wants to see, as an address says it. Pure.

/alerts?tab=acknowledged&severity=critical&site=lyon&profile=pump&q=gw-0&before=…
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, get_args
from urllib.parse import urlencode

Tab = Literal["open", "acknowledged", "closed"]
TABS: Final[tuple[Tab, ...]] = get_args(Tab)
SEVERITIES: Final = ("critical", "warning")
MAX_WORD: Final = 100


@dataclass(frozen=True, slots=True)
class InboxFilter:
    """Empty words filter nothing. `before`: the key of the last alert on the page before, as `view.py` makes it."""

    tab: Tab = "open"
    severity: str = ""
    site: str = ""
    profile: str = ""
    q: str = ""
    before: str = ""

    @property
    def narrows(self) -> bool:
        return any((self.severity, self.site, self.profile, self.q))

    def query(self, **changes: Any) -> str:
        """The address's query with these changes, `?` included; another filter or tab begins at the first page."""
        changed = replace(self, **{"before": "", **changes})
        said = {name: getattr(changed, name) for name in ("tab", "severity", "site", "profile", "q", "before")}
        said = {name: value for name, value in said.items() if value and (name, value) != ("tab", "open")}
        return f"?{urlencode(said)}" if said else ""


def inbox_filter(query: Mapping[str, str]) -> InboxFilter:
    """What an address asks for; what it does not mean counts as not said."""

    def word(name: str, most: int = MAX_WORD) -> str:
        return query.get(name, "").strip()[:most]

    tab = query.get("tab", "open")
    return InboxFilter(
        tab=tab if tab in TABS else "open",
        severity=query.get("severity", "") if query.get("severity") in SEVERITIES else "",
        site=word("site"),
        profile=word("profile"),
        q=word("q"),
        before=word("before", 500),
    )
