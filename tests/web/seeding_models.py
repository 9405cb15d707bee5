"""Bundles with whole cards, and the runs that made them: what the pages of models are tested on."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from sqlalchemy import Connection, insert, update

from hub.state.schema import bundle_approvals, bundles, training_runs
from hub.training.curves import curves
from tests.web.seeding import S, add, add_bundle

VERSIONS = {"python": "3.12.3", "tocsin": "0.1.0", "numpy": "2.3.1", "keras": "3.11.0"}
DATA = {
    "usable": 7_312,
    "windows_found": 8_120,
    "assets": 6,
    "devices": ["gw-lyon-01", "gw-lyon-02", "gw-brest-02", "gw-brest-03"],
    "held_out_devices": ["gw-brest-03"],
    "splits": {"train": 5_200, "validation": 900, "time": 812, "device": 400},
    "left_out": {"faulty": 120, "alarm": 88},
    "lake_version": 412,
    "sha256": "7d" * 32,
    "seed": 1,
    "rules": {"trim_share": 0.02},
}


@cache
def kept_curves() -> dict[str, Any]:
    """As an evaluation makes them, of scores that look like a detector's."""
    rng = np.random.default_rng(7)
    normal = rng.gamma(2.0, 1.0, 1184)
    faulty = {"shift": normal + rng.gamma(9.0, 1.0, 1184), "variance": normal + rng.gamma(6.0, 1.0, 1184)}
    faulty["correlation"] = normal + rng.gamma(2.0, 1.5, 1184)

    def graded(blur: float, strength: float) -> tuple[Any, dict[str, Any]]:
        noise = rng.normal(0, blur, 1184)
        return normal + noise, {kind: normal + strength * (scores - normal) + noise for kind, scores in faulty.items()}

    detectors = {
        "int8": graded(0.02, 1.0),
        "float": graded(0.0, 1.0),
        "baseline": graded(0.5, 0.5),
        "champion": graded(0.2, 0.8),
    }
    return curves(detectors, {"int8": rng.random(1184).tolist(), "champion": (rng.random(1184) ** 1.3).tolist()})


def evaluation() -> dict[str, Any]:
    def by_kind(shift: float, variance: float, correlation: float) -> dict[str, float]:
        kinds = {"shift": shift, "variance": variance, "correlation": correlation}
        return kinds | {"all": round(sum(kinds.values()) / 3, 4)}

    def group(share: float, windows: int, verdict: str = "passes") -> dict[str, Any]:
        return {"windows": windows, "share": share, "lower_bound": 0.0, "others_share": 0.01, "limit": 0.08, "verdict": verdict}

    sites = {"lyon": group(0.009, 780), "brest": group(0.016, 404)}
    hardware = {"Raspberry Pi 4 Model B": group(0.0118, 1150), "x86_64": group(0.03, 34, "too small")}
    return {
        "held_out_windows": 1184,
        "auc": {
            "int8": by_kind(0.981, 0.962, 0.842),
            "float": by_kind(0.981, 0.963, 0.845),
            "baseline": by_kind(0.95, 0.91, 0.52),
        },
        "auc_loss": 0.00133,
        "score_correlation": 0.99984,
        "false_alarms": {"share": 0.0118, "windows": 1184, "assets_not_calibrated": 0},
        "bias": {
            "axes": {
                "site": {"slices": sites, "spread": {"min": 0.009, "max": 0.016, "std": 0.0035}},
                "hardware": {"slices": hardware, "spread": {"min": 0.0118, "max": 0.0118, "std": 0.0}},
            },
            "failed": [],
            "too_small": ["hardware x86_64"],
        },
        "labelled": {
            "confirm": {"windows": 41, "share_low_p": 0.95, "enough": True},
            "false-alarm": {"windows": 4, "share_low_p": 0.25, "enough": False},
        },
        "latency_us_median": 41.3,
        "champion": {
            "bundle_id": "pump-1-5f3a",
            "auc": by_kind(0.97, 0.94, 0.79),
            "false_alarm_share": 0.019,
            "latency_us_median": 40.1,
            "labelled": {"confirm": {"windows": 41, "share_low_p": 0.83, "enough": True}},
        },
    }


TRAINER = {"architecture": "dense-autoencoder", "epochs": 80, "batch": 64, "widths": [35, 16, 6, 16, 35], "noise": 0.3}
CARD = {
    "title": "Dense autoencoder for Centrifugal pump with its motor",
    "intended_use": "Anomaly scores for windows of 10 s of assets of profile pump.",
    "limits": "Knows the machines of its profile and feature spec only. Slow drift that was there is its normal.",
    "model": {"architecture": "dense-autoencoder", "features": 35, "int8_bytes": 11_432},
    "data": DATA,
    "training": TRAINER,
    "evaluation": evaluation(),
    "lineage": {"run_id": "pump-r3", "seed": 1, "versions": VERSIONS, "lake_version": 412, "sha256": "7d" * 32},
}


def add_run(connection: Connection, run_id: str, profile: str, started_ns: int, **values: Any) -> None:
    row = {"run_id": run_id, "profile": profile, "state": "running", "started_ns": started_ns, "record": {"seed": 1, "pid": 7}}
    add(connection, training_runs, **{**row, **values})


def seed_models(connection: Connection, now_ns: int) -> None:
    """The seeded fleet's pump-3 with a whole card and its run; a run that failed and one under way; an approval."""
    record = {"seed": 1, "host": "hub-1", "dataset": DATA, "trainer": TRAINER, "versions": VERSIONS, "model_sha256": "ab" * 32}
    record["evaluation"] = evaluation() | {"curves": kept_curves()}
    done = {"state": "done", "ended_ns": now_ns - 3500 * S, "bundle_id": "pump-3-5f3a", "record": record}
    add_run(connection, "pump-r3", "pump", now_ns - 3600 * S, **done)
    refused = record | {"evaluation": evaluation() | {"auc_loss": 0.021}}
    error = "int8 loses 0.021 of AUC against float; at most 0.01"
    add_run(
        connection,
        "pump-r2",
        "pump",
        now_ns - 7200 * S,
        state="failed",
        ended_ns=now_ns - 7100 * S,
        record=refused,
        error=error,
    )
    add_run(connection, "pump-r4", "pump", now_ns - 20 * S)
    connection.execute(update(bundles).where(bundles.c.bundle_id == "pump-3-5f3a").values(card=CARD, run_id="pump-r3"))
    approval = {"bundle_id": "pump-1-5f3a", "at_ns": now_ns, "actor": "user:ann", "approver": "Ann", "note": "looked at it"}
    connection.execute(insert(bundle_approvals).values(approval))


def add_many_versions(connection: Connection, n: int, now_ns: int) -> None:
    for version in range(1, n + 1):
        add_bundle(connection, "pump", version, now_ns - (n - version) * 3600 * S)
