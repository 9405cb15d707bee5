"""`python -m benchmarks [NAME …] [--json FILE]`: run cases, print a table, optionally write the figures as JSON."""

from __future__ import annotations

import argparse
import datetime
import importlib
import platform
import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec

from benchmarks.figure import Figure

CASES = (
    "pipeline",
    "detector",
    "mqtt",
    "flash",
    "status",
    "start",
    "idle",
    "latency",
    "memory",
    "soak",
    "ingest",
    "checkins",
    "pages",
    "sim_fleet",
    "rollout_decision",
    "training",
    "tls",
    "simulator",
    "distribution",
    "ask",
)


def machine() -> dict[str, str | int]:
    """What the figures were taken on."""
    import os

    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.system(),
        "cpus": os.cpu_count() or 0,
    }


def show(figures: Iterable[Figure]) -> None:
    for figure in figures:
        goal = "" if figure.goal is None else f"goal {'>=' if figure.better == 'higher' else '<='} {figure.goal:,g}"
        verdict = {None: "", True: "met", False: "MISSED"}[figure.met]
        print(f"  {figure.name:<58} {figure.value:>14,.4g} {figure.unit:<12} {goal:<20} {verdict}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CASES)}; none: all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    args = parser.parse_args()
    unknown = [name for name in args.names if name not in CASES]
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(CASES)}")
    results: dict[str, list[Figure]] = {}
    for name in args.names or CASES:
        print(f"{name}", flush=True)
        results[name] = list(importlib.import_module(f"benchmarks.{name}").run())
        show(results[name])
    if args.json:
        figures = {
            name: [{**msgspec.to_builtins(figure), "met": figure.met} for figure in figures]
            for name, figures in results.items()
        }
        args.json.write_bytes(msgspec.json.format(msgspec.json.encode({"machine": machine(), "figures": figures}), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
