"""Which devices go first. Pure, and the same for the same rollout.

Invariants:
1. Devices are chosen by stratum (site, hardware and the age of its oldest asset), never as "the first N": a canary made of
   one site's oldest devices says nothing about the others.
2. The choice depends on the rollout's id and on the set of devices only, not on the order in which they are given.
3. Waves are a partition: each device is in exactly one cohort.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

CANARY_SHARE: Final = 0.1
_DAY_NS: Final = 86_400 * 1_000_000_000
_AGES: Final = ((7, "under 7 days"), (30, "7 to 30 days"), (180, "30 to 180 days"))


@dataclass(frozen=True, slots=True)
class Member:
    """A device as far as cohorts care. `age`: of its oldest asset, see `age_group`. `recent`: seen lately; a canary that is
    offline could only keep everyone waiting."""

    device_id: str
    site: str
    hardware: str
    recent: bool = True
    age: str = ""

    @property
    def stratum(self) -> tuple[str, str, str]:
        return self.site, self.hardware, self.age


def age_group(commissioned_ns: int | None, now_ns: int) -> str:
    """How long ago an asset was commissioned, roughly."""
    if commissioned_ns is None:
        return "unknown"
    days = (now_ns - commissioned_ns) / _DAY_NS
    return next((name for limit, name in _AGES if days < limit), "over 180 days")


def default_canary_count(members: Sequence[Member]) -> int:
    """A tenth of the fleet, but one of each stratum where that is no more than half of the fleet; at least one."""
    strata = len({member.stratum for member in members})
    return max(1, math.ceil(len(members) * CANARY_SHARE), min(strata, len(members) // 2))


def choose_canaries(members: Sequence[Member], count: int, seed: str) -> list[str]:
    """`count` device ids, ascending, spread over the strata; all of them where there are no more than `count`.

    Devices seen lately are preferred within each stratum, and strata that have such devices over those that have none.
    """
    return sorted(_by_turns(members, seed)[: max(1, count)])


def split_waves(members: Sequence[Member], n_waves: int, seed: str) -> list[list[str]]:
    """At most `n_waves` (>= 1) cohorts of about the same size, each with its share of every stratum; none is empty."""
    order = _by_turns(members, seed + "/waves")
    n_waves = min(n_waves, len(order))
    return [sorted(order[start::n_waves]) for start in range(n_waves)]


def _by_turns(members: Sequence[Member], seed: str) -> list[str]:
    """All device ids in the order in which they are drawn: each stratum in turn, the largest first.

    The k-th of a stratum of n is due at (k + 1/2) / n, so every prefix holds each stratum about in proportion, after
    one of each has been drawn.
    """
    strata: dict[tuple[str, str, str], list[Member]] = defaultdict(list)
    for member in members:
        strata[member.stratum].append(member)
    lots = {member.device_id: _lot(seed, member.device_id) for member in members}
    due: list[tuple[bool, float, str, str]] = []
    for group in strata.values():
        group.sort(key=lambda member: (not member.recent, lots[member.device_id]))
        for k, member in enumerate(group):
            when = (k + 0.5) / len(group) if k else float(-len(group))
            due.append((not member.recent, when, lots[member.device_id], member.device_id))
    return [device_id for *_, device_id in sorted(due)]


def _lot(seed: str, device_id: str) -> str:
    """A number drawn for a device: uniform, and the same on every machine and run."""
    return hashlib.sha256(f"{seed}\0{device_id}".encode()).hexdigest()
