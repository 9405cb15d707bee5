"""Which alerts are one incident: a power cut rings on every machine of a site, and is one thing to look at. Pure.

Two alerts are *related* where one of these holds, by when they opened:

1. within NEAR_S of each other, on the same device;
2. within NEAR_S of each other, on the same site and of the same profile;
3. within SITE_S of each other, on the same site. Machines of different kinds that ring within a minute have more in common
   than chance brings about; within five minutes, on a large site, chance does.

An incident is what is related, directly or through others, but no longer than MAX_S from its first opening to its last: what
goes on ringing begins another. A device whose site is not known is on no site. The order in which alerts are given does not
matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

NS_PER_S: Final = 1_000_000_000
NEAR_S: Final = 300
SITE_S: Final = 60
MAX_S: Final = 3600
_Key = tuple[str, ...]


class Opened(Protocol):
    """What of an alert decides where it belongs."""

    @property
    def device_id(self) -> str: ...
    @property
    def alert_id(self) -> str: ...
    @property
    def site(self) -> str: ...
    @property
    def profile(self) -> str: ...
    @property
    def opened_ns(self) -> int: ...


A = TypeVar("A", bound=Opened)


@dataclass(frozen=True, slots=True)
class Incident(Generic[A]):
    """Alerts that belong together, the first that opened first; never empty."""

    alerts: tuple[A, ...]

    @property
    def first(self) -> A:
        return self.alerts[0]

    @property
    def place(self) -> str:
        """What its alerts have in common: the device, else the site."""
        one_device = len({alert.device_id for alert in self.alerts}) == 1
        return self.first.device_id if one_device else self.first.site


def grouped(alerts: Iterable[A]) -> list[Incident[A]]:
    """All of them as incidents, by when these began; an alert is in exactly one. Time: n log n."""
    ordered = sorted(alerts, key=lambda alert: (alert.opened_ns, alert.device_id, alert.alert_id))
    of: list[int] = []  # of each alert, the number of its incident's first alert
    latest: dict[_Key, int] = {}  # by what relates: the alert that opened last
    members: dict[int, list[int]] = {}
    for n, alert in enumerate(ordered):
        near = {
            of[latest[key]]
            for key, within_s in _relations(alert)
            if key in latest and alert.opened_ns - ordered[latest[key]].opened_ns <= within_s * NS_PER_S
        }
        begun = [first for first in sorted(near) if alert.opened_ns - ordered[first].opened_ns <= MAX_S * NS_PER_S]
        home = begun[0] if begun else n
        members.setdefault(home, []).append(n)
        of.append(home)
        for other in begun[1:]:  # it is what these have in common
            for member in members.pop(other):
                of[member] = home
                members[home].append(member)
        latest.update((key, n) for key, _ in _relations(alert))
    return [Incident(tuple(ordered[n] for n in sorted(members[first]))) for first in sorted(members)]


def _relations(alert: Opened) -> Sequence[tuple[_Key, int]]:
    relations: list[tuple[_Key, int]] = [(("device", alert.device_id), NEAR_S)]
    if alert.site:
        relations += [(("profile", alert.site, alert.profile), NEAR_S), (("site", alert.site), SITE_S)]
    return relations
