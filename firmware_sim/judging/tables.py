"""A judgement as tables for the terminal."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from firmware_sim.judging.judge import Judgement


def machine_table(judgement: Judgement) -> Table:
    """A line a machine fault."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("asset", "machine fault", "found after", "first channel", "right one"):
        table.add_column(column, justify="right" if column == "found after" else "left")
    for fault in judgement.machine:
        delay = "never" if fault.delay_s is None else f"{fault.delay_s:.0f} s"
        right = {True: "yes", False: "no", None: ""}[fault.attributed]
        table.add_row(*map(Text, (fault.event.asset, fault.event.fault, delay, fault.top_channel, right)))
    return table


def confusion_table(judgement: Judgement) -> Table:
    """What sensor and line faults were named, kind by kind; and how many of them raised a machine alarm."""
    confusion = judgement.confusion()
    kinds = sorted({kind for counts in confusion.values() for kind in counts} - {"none"})
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("sensor or line fault", *(f"named {kind}" for kind in kinds), "not named", "alarmed"):
        table.add_column(Text(column), justify="left" if column == "sensor or line fault" else "right")
    for fault, counts in confusion.items():
        alarmed = sum(failure.alarmed for failure in judgement.sensors if failure.event.fault == fault)
        cells = [counts[kind] for kind in kinds] + [counts["none"], alarmed]
        table.add_row(Text(fault), *(str(n) if n else "·" for n in cells))
    return table


def sensor_summary(judgement: Judgement) -> str:
    """One line."""
    n, named = len(judgement.sensors), sum(bool(failure.named) for failure in judgement.sensors)
    return f"sensor and line faults named: {named} of {n}; told for nothing: {len(judgement.for_nothing)}"
