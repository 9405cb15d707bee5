"""`tocsin backtest FILE.csv`: what the device would have said of a recording."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

if TYPE_CHECKING:
    from agent.backtest.run import Verdict
    from agent.judges import Serving
    from models.contract.profile import Profile
    from models.contract.table import Table

_POSITIVE = click.FloatRange(min=0, min_open=True)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--commissioning",
    "commissioning_rows",
    type=click.IntRange(min=1),
    required=True,
    metavar="ROWS",
    help="Learn the machine's normal from the first ROWS rows; they are taken to be good running.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Write a CSV with a line for each row. Default: standard output.")
@click.option(
    "--profile",
    "profile_name",
    help="Use this profile's channels and windows: a built-in one, or NAME.toml in this folder. Default: made from the file.",
)
@click.option("--bundle", type=click.Path(path_type=Path), help="Let this model decide. Default: the baseline detector.")
@click.option("--window", "window_s", type=_POSITIVE, metavar="S", help="Window length. Default: 20 rows.")
@click.option("--hop", "hop_s", type=_POSITIVE, metavar="S", help="From window to window. Default: one row.")
@click.option(
    "--false-alarms", type=_POSITIVE, default=1.0, show_default=True, help="The dial: false alarms tolerated per month."
)
@click.option("--streaming", is_flag=True, help="Watch each column reading by reading, too. A profile says that itself.")
@click.option("--time-column", help="Default: found by its name and content.")
@click.option("--ignore", default="", metavar="A,B", help="Columns that are no channels, such as labels.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def backtest(
    file: Path,
    commissioning_rows: int,
    out: Path | None,
    profile_name: str | None,
    bundle: Path | None,
    window_s: float | None,
    hop_s: float | None,
    false_alarms: float,
    streaming: bool,
    time_column: str | None,
    ignore: str,
    as_json: bool,
) -> None:
    """Run the agent's pipeline over FILE, a CSV with a time column and a column for each channel.

    Event time only: each row is judged by what came up to it, never by what comes after. For each row, writes its time,
    score, p-value, alert (0/1), sensor fault and top channel. Separator and decimal mark are found out.
    """  # fmt: skip
    from agent.backtest.run import at_its_own_pace, profile_of, run
    from models.contract.config import load_profile
    from models.contract.table import read_table

    table = read_table(file, time_column, [name for name in ignore.split(",") if name])
    if profile_name:
        profile = at_its_own_pace(load_profile(profile_name, Path.cwd()))
    else:
        profile = profile_of(table, commissioning_rows, window_s, hop_s, false_alarms, streaming)
    verdicts = run(table, profile, commissioning_rows, _serving(bundle, profile))
    if out is None:
        summary = _write(sys.stdout, table, verdicts)
    else:
        with out.open("w", newline="", encoding="utf-8") as stream:
            summary = _write(stream, table, verdicts)
    _tell(summary, as_json)


def _serving(bundle: Path | None, profile: Profile) -> Serving | None:
    if bundle is None:
        return None
    from agent.judges import serving_of
    from models.bundle.archive import read_bundle
    from models.bundle.selftest import load_detector, self_test
    from models.errors import ConfigError

    try:
        content = read_bundle(bundle.read_bytes())
    except OSError as error:
        raise ConfigError(str(bundle), f"cannot be read: {error.strerror}") from None
    detector = load_detector(content, profile.spec_hash)
    self_test(content, detector)
    return serving_of(content, detector)


def _write(stream: IO[str], table: Table, verdicts: Iterable[Verdict]) -> dict[str, int]:
    """A line for each row as soon as it is judged; counts for the summary."""
    writer = csv.writer(stream)
    writer.writerow(["time", "score", "p_value", "alert", "sensor_fault", "top_channel"])
    summary = {"rows": 0, "judged": 0, "alert_rows": 0, "alerts": 0, "sensor_fault_rows": 0}
    for label, verdict in zip(table.time_labels, verdicts, strict=True):
        writer.writerow([label, _number(verdict.score), _number(verdict.p_value), int(verdict.alert), verdict.sensor_fault,
                         verdict.top_channel])  # fmt: skip
        summary["rows"] += 1
        summary["judged"] += verdict.p_value is not None
        summary["alert_rows"] += verdict.alert
        summary["alerts"] += verdict.n_opened
        summary["sensor_fault_rows"] += bool(verdict.sensor_fault)
    return summary


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _tell(summary: dict[str, int], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(summary), err=True)
        return
    click.echo(
        f"{summary['rows']} rows, {summary['judged']} judged: {summary['alerts']} alerts over {summary['alert_rows']} rows, "
        f"sensor faults in {summary['sensor_fault_rows']}",
        err=True,
    )
