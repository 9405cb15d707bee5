"""The bias report: a model's false alarms by site, hardware and asset age, and whether one group pays for the others.

A group fails where, with 99 % confidence, its share of windows with p <= 0.01 is above what is allowed: the larger of
`FLOOD_SHARE` and `FLOOD_RATIO` times the share of everybody else. A model that serves nine sites and floods the tenth is fine
on average; the average is what it hides behind.

Invariants:
1. A group with fewer than `MIN_WINDOWS` held-out windows is neither passed nor failed: it is named as too small.
2. A group that is alone on its axis has nobody to be compared with, and is named as that.
3. Windows of a flood come in runs, so n windows count as n / `RUN_WINDOWS`; bounds are Wilson's (1927) on that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from hub.rollout.gates import wilson

Asset = tuple[str, str]  # device_id, asset
Groups = Mapping[str, Mapping[Asset, str]]  # by axis: each asset's group
MIN_WINDOWS: Final = 50
FLOOD_SHARE: Final = 0.08
FLOOD_RATIO: Final = 3.0
RUN_WINDOWS: Final = 2.0
_Z: Final = 2.326


def bias_report(low: Mapping[Asset, list[int]], groups: Groups) -> dict[str, Any]:
    """`low`: by asset, 1 for each held-out normal window with p <= 0.01, else 0. JSON-able: by axis, each group's figures,
    the spread between those that are large enough, and what failed or is too small."""
    report: dict[str, Any] = {
        "criteria": {"min_windows": MIN_WINDOWS, "flood_share": FLOOD_SHARE, "flood_ratio": FLOOD_RATIO, "confidence": 0.99}
    }
    axes = {axis: _axis(low, of_asset) for axis, of_asset in groups.items()}
    for verdict, name in (("fails", "failed"), ("too small", "too_small")):
        report[name] = [
            f"{axis} {group}"
            for axis, found in axes.items()
            for group, figures in found["slices"].items()
            if figures["verdict"] == verdict
        ]
    return report | {"axes": axes}


def flood_reasons(report: Mapping[str, Any]) -> list[str]:
    """One line for each group that fails."""
    return [
        f"{axis} {group}: {figures['share']:.1%} of {figures['windows']} healthy windows have p <= 0.01, "
        f"others {figures['others_share']:.1%}; at most {figures['limit']:.1%} is allowed"
        for axis, found in report["axes"].items()
        for group, figures in found["slices"].items()
        if figures["verdict"] == "fails"
    ]


def _axis(low: Mapping[Asset, list[int]], of_asset: Mapping[Asset, str]) -> dict[str, Any]:
    flags: dict[str, list[int]] = {}
    for asset, own in low.items():
        flags.setdefault(of_asset.get(asset, "unknown") or "unknown", []).extend(own)
    everything = sum(map(len, flags.values())), sum(map(sum, flags.values()))
    slices = {group: _judged(own, everything) for group, own in sorted(flags.items())}
    shares = [figures["share"] for figures in slices.values() if figures["verdict"] != "too small"]
    spread = {"min": min(shares), "max": max(shares), "std": round(float(np.std(shares)), 5)} if shares else {}
    return {"slices": slices, "spread": spread}


def _judged(flags: list[int], everything: tuple[int, int]) -> dict[str, Any]:
    n, n_low = len(flags), sum(flags)
    n_others, low_others = everything[0] - n, everything[1] - n_low
    share, others = n_low / n if n else 0.0, low_others / n_others if n_others else 0.0
    limit = max(FLOOD_SHARE, FLOOD_RATIO * others)
    bound = wilson(share, n / RUN_WINDOWS, _Z)[0]
    verdict = "too small" if n < MIN_WINDOWS else "alone" if not n_others else "fails" if bound > limit else "passes"
    figures = {"share": share, "lower_bound": bound, "others_share": others, "limit": limit}
    return {"windows": n, **{name: round(value, 5) for name, value in figures.items()}, "verdict": verdict}
