"""`tocsin sim judge`: what alerts were worth, against the truth of a simulated fleet."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import click

from models.errors import ConfigError
from models.files import write_durably

if TYPE_CHECKING:
    from firmware_sim.judging.judge import Judgement
    from firmware_sim.judging.told import Told
    from firmware_sim.truth import Observed, TruthEvent

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("judge")
@click.argument("truth", type=_FILE)
@click.argument("told", type=_FILE, nargs=-1, required=True)
@click.option(
    "--grace", "grace_s", type=click.FloatRange(min=0), default=120.0, show_default=True, metavar="S",
    help="An alert that opens so soon after a fault has ended is still about it.",
)  # fmt: skip
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for judgement.json and timeline.svg.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def judge_command(truth: Path, told: tuple[Path, ...], grace_s: float, out: Path | None, as_json: bool) -> None:
    """Judge the alerts and sensor faults in the files TOLD against TRUTH, the truth.jsonl of `tocsin sim run --out`.

    TOLD is JSON as the hub lists it: `tocsin hub alerts --json`, `GET /v1/alerts`, `GET /v1/sensor-faults`.

    Tells recall and delay of machine faults, whether the right channel was named, false alarms per asset and month, and what
    sensor faults were taken for.
    """
    from firmware_sim.judging.judge import judge
    from firmware_sim.judging.told import read_told
    from firmware_sim.truth import read_observed, read_truth

    try:
        events, observed, said = read_truth(truth), read_observed(truth), read_told(told)
    except OSError as error:
        raise ConfigError(str(error.filename), f"a file that can be read: {error.strerror}") from None
    judgement = judge(events, said, observed, grace_s)
    figures = figures_of(judgement)
    if out is not None:
        _write(out, figures, events, said, observed)
    if as_json:
        click.echo(json.dumps(figures))
        return
    _show(judgement, figures)
    if out is not None:
        click.echo(f"written: {out / 'judgement.json'}, {out / 'timeline.svg'}")


def figures_of(judgement: Judgement) -> dict[str, Any]:
    """The judgement as JSON-able values."""
    delays_s, rate = judgement.delays_s, judgement.false_alarms_per_month
    return {
        "machine_faults": [
            {
                "asset": fault.event.asset,
                "fault": fault.event.fault,
                "delay_s": fault.delay_s,
                "top_channel": fault.top_channel,
                "attributed": fault.attributed,
            }
            for fault in judgement.machine
        ],
        "recall": judgement.recall,
        "delay_s": {"median": median(delays_s), "worst": delays_s[-1]} if delays_s else None,
        "attribution": judgement.attribution,
        "false_alarms": [
            {"asset": false.alert.asset, "opened_ns": false.alert.opened_ns, "detector": false.alert.detector,
             "during": list(false.during)}
            for false in judgement.false_alarms
        ],
        "excused_by_maintenance": len(judgement.excused),
        "asset_months": judgement.asset_months,
        "false_alarms_per_month": {"rate": rate[0], "below_95": rate[1]} if rate else None,
        "sensor_faults": [
            {
                "asset": failure.event.asset,
                "channel": failure.event.channel,
                "fault": failure.event.fault,
                "named": list(failure.named),
                "alarmed": failure.alarmed,
            }
            for failure in judgement.sensors
        ],
        "confusion": {kind: dict(counts) for kind, counts in judgement.confusion().items()},
        "sensor_faults_for_nothing": len(judgement.for_nothing),
    }  # fmt: skip


def _show(judgement: Judgement, figures: dict[str, Any]) -> None:
    from rich.console import Console

    from firmware_sim.judging.tables import confusion_table, machine_table, sensor_summary

    console = Console()
    if not console.is_terminal:
        console.width = 160
    if judgement.machine:
        console.print(machine_table(judgement))
    if judgement.sensors:
        console.print(confusion_table(judgement))
    for line in _lines(judgement, figures):
        click.echo(line)
    if judgement.sensors or judgement.for_nothing:
        click.echo(sensor_summary(judgement))


def _lines(judgement: Judgement, figures: dict[str, Any]) -> list[str]:
    n, found = len(judgement.machine), len(judgement.delays_s)
    lines = [f"machine faults found: {found} of {n}" if n else "no machine fault was there to be found"]
    if figures["delay_s"]:
        lines[0] += f", after {figures['delay_s']['median']:.0f} s (median; worst {figures['delay_s']['worst']:.0f} s)"
    if judgement.attribution is not None:
        lines.append(f"right channel named first: {judgement.attribution:.0%} of those found")
    alarms = f"false alarms: {len(judgement.false_alarms)}"
    during = sum(bool(false.during) for false in judgement.false_alarms)
    alarms += f" ({during} while a sensor or line failed)" if during else ""
    alarms += f", {len(judgement.excused)} more in maintenance" if judgement.excused else ""
    rate = judgement.false_alarms_per_month
    if rate is None:
        lines.append(f"{alarms}; for how long the assets were watched, the truth does not say")
    else:
        months = judgement.asset_months
        lines.append(f"{alarms} in {months:.3g} asset-months: {rate[0]:.3g} a month, below {rate[1]:.3g} with 95 % confidence")
    return lines


def _write(out: Path, figures: dict[str, Any], events: list[TruthEvent], told: Told, observed: list[Observed]) -> None:
    from firmware_sim.judging.picture import timeline

    times = [event.start_ns for event in events] + [event.end_ns for event in events if event.end_ns is not None]
    times += [alert.opened_ns for alert in told.alerts] + [fault.opened_ns for fault in told.faults]
    times += [edge for span in observed for edge in (span.start_ns, span.end_ns)]
    assets = [span.asset for span in observed] + [event.asset for event in events] + [alert.asset for alert in told.alerts]
    out.mkdir(parents=True, exist_ok=True)
    write_durably(out / "judgement.json", json.dumps(figures, indent=2).encode() + b"\n")
    picture = timeline(events, told, assets, min(times, default=0), max(times, default=1))
    write_durably(out / "timeline.svg", picture.encode())
