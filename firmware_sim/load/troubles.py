"""What befalls one light device, as questions about a time. Times are event seconds of the scenario."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from firmware_sim.load.plan import EVENT_KINDS, FleetEvent

_OF_LIFE: Final = ("reboot", "crash", "wipe", "power_cut", "clone", "full_disk", "bad_bundle")  # those that change its state


@dataclass(frozen=True, slots=True)
class Edge:
    """A moment at which the device's state changes. `begins`: or ends."""

    t_s: float
    kind: str
    begins: bool


class Troubles:
    """Shared by all devices that the same events befall."""

    __slots__ = ("_events", "edges")

    def __init__(self, events: Sequence[FleetEvent]) -> None:
        self._events = tuple(events)
        edges = [Edge(event.start_s, event.kind, True) for event in events if event.kind in _OF_LIFE]
        edges += [
            Edge(event.end_s, event.kind, False)
            for event in events
            if event.kind in _OF_LIFE and EVENT_KINDS[event.kind].lasts and event.end_s is not None
        ]
        self.edges = tuple(sorted(edges, key=lambda edge: edge.t_s))

    def severity(self, kind: str, t_s: float, bundle_id: str = "") -> float:
        """Of what is on at that time; 0 where nothing is."""
        return max(
            (
                event.severity
                for event in self._events
                if event.kind == kind
                and event.start_s <= t_s < (math.inf if event.end_s is None else event.end_s)
                and fnmatchcase(bundle_id, event.bundle)
            ),
            default=0.0,
        )
