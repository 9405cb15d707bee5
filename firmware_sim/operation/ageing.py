"""Wear: machines' faults in the small, which grow for months and which maintenance takes back.

A fault of a machine is a mechanism (a bearing that loses its surface, a filter that clogs, a gap that widens). Wear is the same
mechanism before anybody would call it a fault: its level rises evenly, by the asset's `wear_per_year`, from the last renewal.
So physics need no second way to grow old, and what a worn machine shows is a little of what the broken one does.

What the rates go by. A water works' pump fell from 90.5 to 85.5 % efficiency in ten years (Hydraulic Institute, case study of
2025), half a percent a year; `seal_leak` at 0.02 a year takes 0.7 % of the flow. Filters are changed every one to six months
where air is filtered for people (US Department of Energy), so half a clogged one a year is a clean site. The others are
assumed: bearings that last for decades when greased, coolers that are cleaned every few years. No fleet was measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Final

from firmware_sim.faults.fault import Fault
from firmware_sim.operation.schedule import DAY_S

_YEAR_S: Final = 365.0 * DAY_S


def worn(per_year: Mapping[str, float], age_days: float, renewed_s: Iterable[float]) -> list[Fault]:
    """Wear as faults that nobody injected. `per_year`: level of each kind after a year. `age_days`: since the last renewal, at
    scenario second 0. `renewed_s`: scenario times at which everything is as new again, ascending.
    """
    edges = [-age_days * DAY_S, *renewed_s, float("inf")]
    return [
        Fault(kind, start_s, end_s, severity=1.0, ramp_s=_YEAR_S / rate)
        for kind, rate in per_year.items()
        for start_s, end_s in pairwise(edges)
    ]
