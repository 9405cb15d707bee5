"""What evidence a stage must bring, and what stops it. Pure: figures in, verdicts out.

Candidate and incumbent are compared on the *same* windows of the same devices: a hot day or a real fault meets both.

Invariants:
1. Each gate says pass, wait or halt, with its figures and one line of reason. Nothing passes by default: a gate without
   its minimum of evidence waits, for ever if need be.
2. Halting needs confidence rather than many windows: the lower bound of the candidate's share must exceed what the
   incumbent's allows. A flood shows within twenty windows and need not be waited out; one odd alert among twenty does
   not halt.
3. One failed self-test halts.

Alarms come in runs (hysteresis opens and closes them over several windows), so n windows are worth n / run length
independent ones; the bounds are Wilson's (1927) on that effective number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

Verdict = Literal["pass", "wait", "halt"]
Judgement = tuple[Verdict, str, dict[str, Any]]  # verdict, one line of reason, figures


class GateSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`min_windows`: clean windows that a stage needs in total; each of its devices must bring half of its even share.

    `halt_windows`: below so many, no share halts a stage.
    `alarm_ratio`, `alarm_margin`: the candidate may be in alarm in ratio x (incumbent's share) + margin of the windows;
    `low_p_ratio`, `low_p_margin`: the same for windows with a p-value <= 0.01. `confidence_z`: of one-sided bounds, 99 %,
    because a stage is judged again and again. `max_restarts`: of one device's agent in one stage.
    `max_rss_growth_bytes`: of one device's agent since the stage began. `max_faulty_share`: of windows with sensor faults;
    above it nothing passes, for what is left is no fair sample.
    """

    min_windows: int = 60
    halt_windows: int = 20
    alarm_ratio: float = 1.5
    alarm_margin: float = 0.05
    alarm_run_windows: float = 4.0
    low_p_ratio: float = 1.5
    low_p_margin: float = 0.08
    low_p_run_windows: float = 2.0
    confidence_z: float = 2.326
    max_score_us: float = 20_000.0
    min_timed_windows: int = 5
    max_restarts: int = 2
    max_rss_growth_bytes: int = 48 * 1024 * 1024
    max_faulty_share: float = 0.5


@dataclass(frozen=True, slots=True)
class Counts:
    """Windows of one device in one stage, scored by both. `n_low_p_*`: p-value <= 0.01. `n_faulty`: left out."""

    n_windows: int = 0
    n_alarm_candidate: int = 0
    n_alarm_incumbent: int = 0
    n_low_p_candidate: int = 0
    n_low_p_incumbent: int = 0
    n_faulty: int = 0


@dataclass(frozen=True, slots=True)
class DeviceFigures:
    """One device of the stage. `present`: it has checked in since the stage began and holds the candidate as it should.

    `score_us`: its median time to score a window, None = not told yet. `restarts`: of its agent since the stage began.
    `rss_growth_bytes`: of its agent since the stage began, None = not known. `failure`: why it refused the candidate, "" = it
    did not.
    """

    device_id: str
    present: bool = False
    counts: Counts = Counts()
    score_us: float | None = None
    n_timed: int = 0
    restarts: int = 0
    failure: str = ""
    rss_growth_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class StageFigures:
    """What a stage is judged on. `share`: of its devices that must take part before it can pass, in (0, 1]."""

    settings: GateSettings
    devices: Sequence[DeviceFigures]
    share: float = 1.0

    @property
    def needed(self) -> int:
        """How many devices must take part."""
        return max(1, math.ceil(len(self.devices) * self.share))

    @property
    def present(self) -> int:
        return sum(device.present for device in self.devices)

    def total(self, count: str) -> int:
        """The sum over all devices of one of the `Counts`."""
        return sum(getattr(device.counts, count) for device in self.devices)


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """What one gate says. `figures` are JSON-able."""

    gate: str
    verdict: Verdict
    reason: str
    figures: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        return {"gate": self.gate, "verdict": self.verdict, "reason": self.reason, "figures": self.figures}


def wilson(share: float, n: float, z: float) -> tuple[float, float]:
    """Lower and upper bound of a share seen in `n` independent trials; (0, 1) where there were none."""
    if n <= 0:
        return 0.0, 1.0
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def judge_presence(stage: StageFigures) -> Judgement:
    """Enough of the cohort holds the candidate where it should, by its own report."""
    absent = [device.device_id for device in stage.devices if not device.present]
    figures = {"present": stage.present, "needed": stage.needed, "devices": len(stage.devices), "absent": absent[:20]}
    verdict: Verdict = "pass" if stage.present >= stage.needed else "wait"
    return verdict, f"{stage.present} of {len(stage.devices)} devices hold it ({stage.needed} needed)", figures


def judge_self_test(stage: StageFigures) -> Judgement:
    """No device has refused it, and enough have taken it."""
    failed = {device.device_id: device.failure for device in stage.devices if device.failure}
    figures = {"failed": failed, "taken": stage.present}
    if failed:
        first = min(failed)
        others = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
        return "halt", f"refused by {first}{others}: {failed[first]}", figures
    return ("pass" if stage.present >= stage.needed else "wait"), f"{stage.present} devices took it, none refused", figures


def judge_restarts(stage: StageFigures) -> Judgement:
    """No agent keeps restarting since it holds the candidate."""
    restarts = {device.device_id: device.restarts for device in stage.devices if device.restarts}
    limit = stage.settings.max_restarts
    figures = {"restarts": restarts, "max_each": limit}
    if max(restarts.values(), default=0) > limit:
        worst = max(restarts, key=lambda device_id: restarts[device_id])
        return "halt", f"{worst} restarted {restarts[worst]} times, at most {limit}", figures
    reason = f"{sum(restarts.values())} restarts on {stage.present} devices"
    return ("pass" if stage.present >= stage.needed else "wait"), reason, figures


def judge_memory(stage: StageFigures) -> Judgement:
    """No agent has grown by more than a model may cost; a device that did not tell its memory before is not compared."""
    limit = stage.settings.max_rss_growth_bytes
    grown = [(d.rss_growth_bytes, d.device_id) for d in stage.devices if d.present and d.rss_growth_bytes is not None]
    worst, who = max(grown, default=(0, ""))
    figures = {"told": len(grown), "worst_bytes": worst, "max_bytes": limit, "device": who}
    reason = f"most by {worst / 2**20:.1f} MiB{f' on {who}' if who else ''}, at most {limit / 2**20:.0f}"
    if worst > limit:
        return "halt", reason, figures
    return ("pass" if stage.present >= stage.needed else "wait"), reason, figures


def judge_sensor_faults(stage: StageFigures) -> Judgement:
    """A control, for no model makes sensors fail: where too many windows are faulty, the rest says little, and it waits."""
    n, faulty, limit = stage.total("n_windows"), stage.total("n_faulty"), stage.settings.max_faulty_share
    share = faulty / (n + faulty) if n + faulty else 0.0
    figures = {"windows": n + faulty, "faulty": faulty, "share": round(share, 4), "max_share": limit}
    return ("pass" if share <= limit else "wait"), f"{share:.1%} of {n + faulty} windows have sensor faults", figures


def judge_latency(stage: StageFigures) -> Judgement:
    """Scoring a window stays within its budget on every device that reports a median over enough windows."""
    enough, limit_us = stage.settings.min_timed_windows, stage.settings.max_score_us
    timed = [(d.score_us, d.device_id) for d in stage.devices if d.score_us is not None and d.n_timed >= enough]
    worst_us, slowest = max(timed, default=(0.0, ""))
    figures = {"timed": len(timed), "needed": stage.needed, "worst_us": worst_us, "max_us": limit_us, "slowest": slowest}
    if worst_us > limit_us:
        return "halt", f"{worst_us:.0f} µs a window on {slowest}, at most {limit_us:.0f}", figures
    if len(timed) < stage.needed:
        return "wait", f"{len(timed)} of {stage.needed} devices have timed it", figures
    return "pass", f"slowest {worst_us:.0f} µs a window on {slowest}", figures


def judge_evidence(stage: StageFigures) -> Judgement:
    """Enough clean windows in total, and from enough of the devices: one busy device does not speak for its cohort."""
    total, minimum = stage.total("n_windows"), stage.settings.min_windows
    each = max(1, math.ceil(minimum / max(1, len(stage.devices)) / 2))
    enough = sum(device.counts.n_windows >= each for device in stage.devices)
    figures = {"windows": total, "min_windows": minimum, "min_each": each, "devices_enough": enough, "needed": stage.needed}
    figures["faulty"] = stage.total("n_faulty")
    verdict: Verdict = "pass" if total >= minimum and enough >= stage.needed else "wait"
    return verdict, f"{total} of {minimum} windows; {enough} of {stage.needed} devices with at least {each}", figures


def judge_low_p(stage: StageFigures) -> Judgement:
    """Are the candidate's scores shifted: does it find far more than 1 % of windows unlikely, where the incumbent does not?"""
    s = stage.settings
    counts = stage.total("n_low_p_candidate"), stage.total("n_low_p_incumbent")
    return _compare_shares(stage, counts, (s.low_p_ratio, s.low_p_margin, s.low_p_run_windows), "with p <= 0.01")


def judge_alarm_rate(stage: StageFigures) -> Judgement:
    """Does the candidate ring much more than the incumbent on the same windows?"""
    s = stage.settings
    counts = stage.total("n_alarm_candidate"), stage.total("n_alarm_incumbent")
    return _compare_shares(stage, counts, (s.alarm_ratio, s.alarm_margin, s.alarm_run_windows), "in alarm")


def _compare_shares(stage: StageFigures, counts: tuple[int, int], limits: tuple[float, float, float], what: str) -> Judgement:
    """`counts`: of the candidate and of the incumbent. `limits`: ratio, margin, run length in windows; see GateSettings."""
    ratio, margin, run_windows = limits
    n = stage.total("n_windows")
    candidate, incumbent = (count / n if n else 0.0 for count in counts)
    limit = min(1.0, ratio * incumbent + margin)
    low, high = wilson(candidate, n / run_windows, stage.settings.confidence_z)
    shares = {"candidate": candidate, "incumbent": incumbent, "limit": limit, "low": low, "high": high}
    figures = {"windows": n, **{name: round(share, 4) for name, share in shares.items()}}
    reason = f"{candidate:.1%} of {n} windows {what}, incumbent {incumbent:.1%}, limit {limit:.1%}"
    if n >= stage.settings.halt_windows and low > limit:
        return "halt", reason, figures
    return ("pass" if n >= max(1, stage.settings.min_windows) and candidate <= limit else "wait"), reason, figures


GATES: Final[dict[str, Callable[[StageFigures], Judgement]]] = {
    "presence": judge_presence,
    "self_test": judge_self_test,
    "restarts": judge_restarts,
    "memory": judge_memory,
    "latency": judge_latency,
    "evidence": judge_evidence,
    "sensor_faults": judge_sensor_faults,
    "low_p": judge_low_p,
    "alarm_rate": judge_alarm_rate,
}


def judge(stage: StageFigures) -> list[GateVerdict]:
    """Every gate's verdict on a stage."""
    return [GateVerdict(name, *gate(stage)) for name, gate in GATES.items()]


def overall(verdicts: Sequence[GateVerdict]) -> tuple[Verdict, str]:
    """Halt if any gate halts, else wait if any waits, else pass; with the reasons of those that decided."""
    said: tuple[Verdict, ...] = ("halt", "wait")
    for verdict in said:
        reasons = [f"{v.gate}: {v.reason}" for v in verdicts if v.verdict == verdict]
        if reasons:
            return verdict, "; ".join(reasons)
    if not verdicts:
        return "wait", "no gate has judged"
    return "pass", "; ".join(f"{v.gate}: {v.reason}" for v in verdicts if v.gate in ("evidence", "alarm_rate"))
