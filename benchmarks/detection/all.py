"""Every benchmark of detection whose data are there, into one folder: tables.md, figures.json, a CSV a table, an SVG a plot.

    python -m benchmarks.detection.all [--data DIR] [--only NAME,...] --out DIR

DIR holds a folder for each set (`skab`, `tep`, `fan-accel`, `shuttle`, `wsn-singlehop`, `ims-bearing`); by default it is
`../shared/data` beside the checkout. A set that is not there is skipped, and the tables say so.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks.detection import bearings, fan, shuttle, skab_spread, tep, wsn
from benchmarks.detection.report import Report, write

DEFAULT_DATA: Final = Path(__file__).resolve().parents[3] / "shared" / "data"
BENCHMARKS: Final[dict[str, tuple[str, Callable[[Path], Report]]]] = {
    "skab": ("skab", skab_spread.measure),
    "tep": ("tep", tep.measure),
    "fan": ("fan-accel", fan.measure),
    "shuttle": ("shuttle", shuttle.measure),
    "wsn": ("wsn-singlehop", wsn.measure),
    "bearings": ("ims-bearing", bearings.measure),
}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.detection.all", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, help="the folder that holds a folder for each set")
    parser.add_argument("--only", default=",".join(BENCHMARKS), metavar="NAME,...", help="some of them")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    reports: dict[str, Report] = {}
    skipped: dict[str, str] = {}
    for name in args.only.split(","):
        if name not in BENCHMARKS:
            parser.error(f"{name!r}: one of {', '.join(BENCHMARKS)}")
        folder, measure = BENCHMARKS[name]
        if not (args.data / folder).is_dir():
            skipped[name] = f"there is no {args.data / folder}"
            print(f"{name}: skipped: {skipped[name]}", file=sys.stderr)
            continue
        reports[name] = measure(args.data / folder)
        print("\n".join(table.markdown() for table in reports[name].tables), flush=True)
        write(reports, args.out, skipped)
    write(reports, args.out, skipped)
    return 0 if reports else 1


if __name__ == "__main__":
    sys.exit(main())
