"""What a benchmark of detection hands over: tables, plots, and every figure as data, in a folder.

tables.md       all tables, as Markdown          NAME.csv    each table
figures.json    all figures                      NAME.svg    each plot (needs matplotlib, the extra `bench`)
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Table:
    """`name`: of its file. `notes`: below it, for what a reader must know."""

    name: str
    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: str = ""

    def markdown(self) -> str:
        lines = [f"## {self.title}", "", "| " + " | ".join(self.header) + " |", "|" + "---|" * len(self.header)]
        lines += ["| " + " | ".join(row) + " |" for row in self.rows]
        return "\n".join([*lines, "", *([self.notes, ""] if self.notes else [])])


@dataclass(frozen=True, slots=True)
class Bars:
    """Of each group, one bar a series. `values`: series -> one value a group."""

    name: str
    title: str
    unit: str
    groups: Sequence[str]
    values: Mapping[str, Sequence[float]]

    def draw(self, axes: Any) -> None:
        width = 0.8 / len(self.values)
        for i, (label, heights) in enumerate(self.values.items()):
            axes.bar(np.arange(len(self.groups)) + (i + 0.5) * width - 0.4, heights, width, label=label)
        axes.set_xticks(range(len(self.groups)), self.groups)
        axes.set_ylabel(self.unit)
        axes.legend(fontsize="small")


@dataclass(frozen=True, slots=True, eq=False)
class Roc:
    """`scores`: method -> (normal, anomalous)."""

    name: str
    title: str
    scores: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]

    def draw(self, axes: Any) -> None:
        for label, (normal, anomalous) in self.scores.items():
            at = np.unique(np.concatenate([normal, anomalous]))[::-1]
            far = 1 - np.searchsorted(np.sort(normal), at, side="left") / len(normal)
            found = 1 - np.searchsorted(np.sort(anomalous), at, side="left") / len(anomalous)
            axes.plot(np.concatenate([[0.0], far]), np.concatenate([[0.0], found]), label=label)
        axes.set_xlabel("false alarm rate")
        axes.set_ylabel("detection rate")
        axes.legend(fontsize="small")


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """A score over time, with where an alert was open and where something was wrong. `alert`, `truth`: (n,) flags."""

    name: str
    title: str
    time: NDArray[np.float64]
    time_unit: str
    score: NDArray[np.float64]
    alert: NDArray[np.bool_]
    truth: NDArray[np.bool_] | None = None

    def draw(self, axes: Any) -> None:
        axes.semilogy(self.time, np.maximum(self.score, 1e-3), linewidth=0.8, color="black", label="score")
        bands = [("alert", self.alert, (0.0, 0.06), "tab:red")]
        if self.truth is not None:
            bands.append(("labelled", self.truth, (0.06, 1.0), "tab:orange"))
        for label, flags, (low, high), color in bands:
            axes.fill_between(
                self.time, low, high, where=flags, color=color, alpha=0.4, label=label, transform=axes.get_xaxis_transform()
            )
        axes.set_xlabel(self.time_unit)
        axes.legend(fontsize="small")


Plot = Bars | Roc | Course


@dataclass(frozen=True, slots=True)
class Report:
    """Of one benchmark. `figures`: JSON-able."""

    tables: Sequence[Table]
    plots: Sequence[Plot] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)


def write(reports: Mapping[str, Report], out: Path, skipped: Mapping[str, str] | None = None) -> None:
    """Everything of every report into `out`; `skipped`: what was not run, and why."""
    out.mkdir(parents=True, exist_ok=True)
    texts = [table.markdown() for report in reports.values() for table in report.tables]
    texts += [f"Not run: {name}: {reason}\n" for name, reason in (skipped or {}).items()]
    (out / "tables.md").write_text("\n".join(texts), encoding="utf-8")
    figures = {name: report.figures for name, report in reports.items()}
    (out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    for report in reports.values():
        for table in report.tables:
            with (out / f"{table.name}.csv").open("w", newline="", encoding="utf-8") as stream:
                csv.writer(stream).writerows([table.header, *table.rows])
        _draw(report.plots, out)


def _draw(plots: Sequence[Plot], out: Path) -> None:
    if not plots:
        return
    try:
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError:
        print("no plots: matplotlib is not installed; pip install 'tocsin[bench]'", file=sys.stderr)
        return
    for plot in plots:
        figure = Figure(figsize=(9, 4), layout="constrained")
        axes = figure.add_subplot()
        plot.draw(axes)
        axes.set_title(plot.title)
        FigureCanvasSVG(figure).print_svg(str(out / f"{plot.name}.svg"))


def run_one(name: str, text: str | None, needs: str, measure: Callable[[Path], Report]) -> int:
    """The command line of a single benchmark. `text`: its module's. `needs`: a file that the folder of data must hold."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.detection.{name}", description=(text or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help=f"the folder that holds {needs}")
    parser.add_argument("--out", type=Path, help="write tables, plots and figures into this folder, too")
    args = parser.parse_args()
    if not (args.data / needs).exists():
        parser.error(f"there is no {args.data / needs}")
    report = measure(args.data)
    print("\n".join(table.markdown() for table in report.tables))
    if args.out:
        write({name: report}, args.out)
    return 0
