"""What the page of one model shows: its card with pictures, where it came from and where it went."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, select

from hub.registry.approval import approval_of
from hub.state.schema import bundles, fleet_bundles, training_runs
from hub.web.models.cards import number, part, text, whole
from hub.web.models.pictures import NAMES, Picture, alarm_rates, quantization, roc
from hub.web.models.versions import Holders, Rollout, fate_of, read_holders, read_rollouts_of
from hub.web.words import label

FAULTS: Final[Mapping[str, str]] = {
    "shift": "a channel's level moves by 3 to 6 σ",
    "variance": "its spread grows by 3 to 6 σ",
    "correlation": "it no longer belongs to the others",
    "all": "all of these",
}
MAX_SLICES: Final = 20  # groups of an axis


@dataclass(frozen=True, slots=True)
class Run:
    """Where a bundle came from; `state` "" = its run is not known here."""

    run_id: str
    state: str
    started_ns: int | None
    ended_ns: int | None


@dataclass(frozen=True, slots=True)
class ModelState:
    """What changes of a published model, and its lineage. `dataset_sha256`, `lake_version`: of what it was trained on."""

    bundle_id: str
    profile: str
    version: int
    title: str
    created_ns: int
    signed: bool
    size: int
    sha256: str
    fate: str
    holders: Holders
    run: Run | None
    rollouts: tuple[Rollout, ...]
    lake_version: int | None
    dataset_sha256: str
    n_windows: int | None
    n_devices: int | None
    seed: int | None
    approved: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Detection:
    """Of one kind of fault: by detector AUC in 0..1 and, where the run kept curves, the share detected at 1 % false alarms."""

    fault: str
    words: str
    auc: tuple[tuple[str, str, float], ...]  # kind of detector, its name, AUC
    at_1_percent: float | None


@dataclass(frozen=True, slots=True)
class Slice:
    """A group's false alarms: share in 0..1 of `n_windows`; `verdict`: passes, fails, alone, too small."""

    name: str
    share: float
    n_windows: int
    limit: float | None
    verdict: str


@dataclass(frozen=True, slots=True)
class Axis:
    """`low`, `high`: between which the shares of groups that are large enough lie; None = of none."""

    name: str
    slices: tuple[Slice, ...]
    n_more: int
    low: float | None
    high: float | None

    @property
    def scale(self) -> float:
        return max([0.02, *(each.share for each in self.slices), *(each.limit or 0.0 for each in self.slices)]) * 1.05


@dataclass(frozen=True, slots=True)
class Labelled:
    """Windows of alerts that operators said to be `label`: the share with p ≤ 0.01, by this model and by the champion."""

    label: str
    n_windows: int
    share: float
    champion: float | None
    enough: bool


@dataclass(frozen=True, slots=True)
class Judged:
    """An evaluation, as far as a card or a run's record has it; pictures only where the run kept curves."""

    detections: tuple[Detection, ...]
    roc: Picture | None
    alarm_rates: Picture | None
    quantization: Picture | None
    axes: tuple[Axis, ...]
    failed: tuple[str, ...]
    labelled: tuple[Labelled, ...]
    champion_id: str
    auc_loss: float | None
    correlation: float | None
    false_alarm_share: float | None
    champion_share: float | None
    n_held_out: int | None
    latency_us: float | None


@dataclass(frozen=True, slots=True)
class ModelCard:
    """The parts of a card that are words and figures. `rows`: (heading, ((name, text), …))."""

    intended_use: str
    limits: str
    judged: Judged
    rows: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]


def read_model_state(connection: Connection, bundle_id: str) -> ModelState | None:
    """None where there is no such bundle."""
    row = connection.execute(select(bundles).where(bundles.c.bundle_id == bundle_id)).one_or_none()
    if row is None:
        return None
    current = connection.execute(select(fleet_bundles.c.bundle_id).where(fleet_bundles.c.profile == row.profile)).scalar()
    tried = read_rollouts_of(connection, [bundle_id]).get(bundle_id, [])
    data, lineage = part(row.card, "data"), part(row.card, "lineage")
    devices = data.get("devices")
    return ModelState(
        bundle_id=bundle_id,
        profile=row.profile,
        version=row.version,
        title=text(part(row.card).get("title")),
        created_ns=row.created_ns,
        signed=row.signed_ns is not None,
        size=row.size,
        sha256=row.sha256,
        fate=fate_of(bundle_id, current, next(iter(tried), None)),
        holders=read_holders(connection, bundle_id).get(bundle_id, Holders()),
        run=_run(connection, row.run_id),
        rollouts=tuple(tried[:6]),
        lake_version=whole(lineage.get("lake_version", data.get("lake_version"))),
        dataset_sha256=text(lineage.get("sha256", data.get("sha256"))),
        n_windows=whole(data.get("usable")),
        n_devices=len(devices) if isinstance(devices, list | Mapping) else None,
        seed=whole(lineage.get("seed")),
        approved=approval_of(connection, bundle_id),
    )


def read_model_card(connection: Connection, bundle_id: str) -> ModelCard:
    """Of a bundle that exists; the run's record where it is here, for it has the curves, else the card alone."""
    row = connection.execute(select(bundles.c.card, bundles.c.run_id).where(bundles.c.bundle_id == bundle_id)).one()
    record = None
    if row.run_id:
        record = connection.execute(select(training_runs.c.record).where(training_runs.c.run_id == row.run_id)).scalar()
    card = part(row.card)
    evaluation = part(card, "evaluation")
    return ModelCard(
        intended_use=text(card.get("intended_use")),
        limits=text_of(card.get("limits")),
        judged=judged({**evaluation, "curves": part(record, "evaluation", "curves")}),
        rows=told_rows(card.get("data"), card.get("training"), part(card, "lineage").get("versions"), card.get("model")),
    )


def judged(evaluation: Mapping[str, Any]) -> Judged:
    curves, champion, bias = part(evaluation, "curves"), part(evaluation, "champion"), part(evaluation, "bias")
    failed = bias.get("failed")
    return Judged(
        detections=tuple(found for fault in FAULTS if (found := _detection(fault, evaluation, curves))),
        roc=roc(curves),
        alarm_rates=alarm_rates(curves),
        quantization=quantization(curves),
        axes=tuple(axis for name in part(bias, "axes") if (axis := _axis(name, part(bias, "axes", name))).slices),
        failed=tuple(text(each) for each in failed) if isinstance(failed, list) else (),
        labelled=tuple(one for name in part(evaluation, "labelled") if (one := _labelled(name, evaluation))),
        champion_id=text(champion.get("bundle_id")),
        auc_loss=number(evaluation.get("auc_loss")),
        correlation=number(evaluation.get("score_correlation")),
        false_alarm_share=number(part(evaluation, "false_alarms").get("share")),
        champion_share=number(champion.get("false_alarm_share")),
        n_held_out=whole(evaluation.get("held_out_windows")),
        latency_us=number(evaluation.get("latency_us_median")),
    )


def told_rows(data: Any, training: Any, versions: Any, model: Any) -> tuple[tuple[str, tuple[tuple[str, str], ...]], ...]:
    """What it was trained on and how, as names and texts."""
    data = part(data)
    devices = data.get("devices")
    of_data: list[tuple[str, str]] = [
        (label(name), text(data[name])) for name in ("usable", "windows_found", "assets", "splits", "left_out") if name in data
    ]
    of_data += [("devices", f"{len(devices):,}")] if isinstance(devices, list | Mapping) else []
    of_data += [("held-out devices", text(data["held_out_devices"]) or "none")] if "held_out_devices" in data else []
    of_data += [(label(name), text(data[name])) for name in ("rules", "in_lake", "sha256") if name in data]
    groups = [
        ("Data", of_data),
        ("How it was trained", _rows(training)),
        ("Network", _rows(model)),
        ("Versions", _rows(versions)),
    ]
    return tuple((heading, tuple(rows)) for heading, rows in groups if rows)


def text_of(value: Any) -> str:
    """A card's paragraph: not cut where lists are."""
    return value[:4000] if isinstance(value, str) else ""


def _rows(found: Any) -> list[tuple[str, str]]:
    return [(label(str(name)), text(value)) for name, value in part(found).items()]


def _run(connection: Connection, run_id: str | None) -> Run | None:
    if not run_id:
        return None
    columns = (training_runs.c[name] for name in ("run_id", "state", "started_ns", "ended_ns"))
    row = connection.execute(select(*columns).where(training_runs.c.run_id == run_id)).one_or_none()
    return Run(*row) if row else Run(run_id, "", None, None)


def _detection(fault: str, evaluation: Mapping[str, Any], curves: Mapping[str, Any]) -> Detection | None:
    aucs = {**part(evaluation, "auc"), "champion": part(evaluation, "champion", "auc")}
    found = [(name, NAMES[name], auc) for name in NAMES if (auc := number(part(aucs, name).get(fault))) is not None]
    if not found:
        return None
    shares, seen = curves.get("false_alarm_share"), part(curves, "detected", "int8").get(fault)
    at_1 = None
    if isinstance(shares, list) and isinstance(seen, list) and 0.01 in shares and len(seen) == len(shares):
        at_1 = number(seen[shares.index(0.01)])
    return Detection(fault, FAULTS[fault], tuple(found), at_1)


def _axis(name: str, found: Mapping[str, Any]) -> Axis:
    slices = [one for group in part(found, "slices") if (one := _slice(group, part(found, "slices", group)))]
    slices.sort(key=lambda one: (one.verdict != "fails", -one.share))
    spread = part(found, "spread")
    low, high = number(spread.get("min")), number(spread.get("max"))
    return Axis(label(name), tuple(slices[:MAX_SLICES]), max(0, len(slices) - MAX_SLICES), low, high)


def _slice(name: str, found: Mapping[str, Any]) -> Slice | None:
    share, n_windows = number(found.get("share")), whole(found.get("windows"))
    if share is None or n_windows is None:
        return None
    return Slice(name, min(1.0, max(0.0, share)), n_windows, number(found.get("limit")), text(found.get("verdict")))


def _labelled(name: str, evaluation: Mapping[str, Any]) -> Labelled | None:
    found, champion = part(evaluation, "labelled", name), part(evaluation, "champion", "labelled", name)
    share, n_windows = number(found.get("share_low_p")), whole(found.get("windows"))
    if share is None or n_windows is None:
        return None
    return Labelled(name, n_windows, share, number(champion.get("share_low_p")), bool(found.get("enough")))
