"""What a person sees of a fleet of light devices: a line that moves while it runs, and one table in the end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from firmware_sim.load.tally import Tally

_EVERY_S = 0.5


class Progress:
    """On a terminal a line that moves; elsewhere nothing until the end. `phase`: what is going on."""

    def __init__(self, console: Console, devices: int) -> None:
        self._devices = devices
        self._started_s = time.monotonic()
        self._shown_s = 0.0
        self._live = Live(console=console, transient=True, auto_refresh=False) if console.is_terminal else None
        if self._live is not None:
            self._live.start()

    def show(self, phase: str, enrolled: int, tally: Tally) -> None:
        now_s = time.monotonic()
        if self._live is None or now_s - self._shown_s < _EVERY_S:
            return
        self._shown_s = now_s
        minutes, seconds = divmod(round(now_s - self._started_s), 60)
        ingest, checkin = tally.of("ingest"), tally.of("checkin")
        text = (
            f"{minutes}:{seconds:02d} {phase}: {enrolled:,}/{self._devices:,} in, {tally.items_confirmed:,} items in"
            f" {ingest.accepted:,} envelopes, {checkin.accepted:,} check-ins, {_troubles(tally):,} failed"
        )
        self._live.update(Text(text, no_wrap=True, overflow="ellipsis"), refresh=True)

    def stop(self) -> None:
        if self._live is not None:
            self._live.stop()


def _troubles(tally: Tally) -> int:
    return sum(sum(exchanges.refused.values()) + sum(exchanges.failed.values()) for exchanges in tally.exchanges.values())


def summary_table(summary: Mapping[str, Any]) -> Table:
    """Of what `LoadFleet.summary` says, and of real agents where there are any."""
    title = f"{summary['enrolled']:,} light devices in {summary['processes']} processes, {summary['ran_s']:.0f} s; times in ms"
    table = Table(title=title)
    for column in ("", "asked", "accepted", "refused", "failed", "p50", "p95", "p99"):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    for kind, figures in summary["exchanges"].items():
        counts = (figures["asked"], figures["accepted"], sum(figures["refused"].values()), sum(figures["failed"].values()))
        table.add_row(_NAMES.get(kind, kind), *(f"{n:,}" for n in counts), *_times(figures["answered_s"]))
    table.add_row("turns late by", "", "", "", "", *_times(summary["turns_late_s"]))
    return table


def summary_lines(summary: Mapping[str, Any]) -> Iterator[str]:
    """What the table has no room for: reasons, items, memory, real agents."""
    for kind, figures in summary["exchanges"].items():
        for what, words in (("refused", "refused"), ("failed", "failed"), ("troubled", "sent in trouble on purpose")):
            for reason, n in sorted(figures[what].items(), key=lambda entry: -entry[1]):
                yield f"{_NAMES.get(kind, kind)} {words}: {n:,} × {reason}"
    items = summary["items"]
    yield f"items: {items['confirmed']:,} confirmed, {items['waiting']:,} wait, {items['quarantined']:,} quarantined"
    if items["lost_by_wipe"]:
        yield f"items lost with outboxes that were wiped on purpose: {items['lost_by_wipe']:,}"
    yield f"the simulator's memory: {summary['memory_pss_bytes'] / 1e6:,.0f} MB (PSS)"
    for agent in summary.get("real", ()):
        said = agent.get("error") or f"{agent['sent_items']:,} items sent, {agent['waiting']:,} wait"
        yield f"{agent['device']}: {said}"


_NAMES = {"checkin": "check-ins", "enrol": "enrolments", "fetch": "bundles", "ingest": "envelopes"}


def _times(quantiles_s: Mapping[str, float | None]) -> list[str]:
    """Cells, ms."""
    told = [quantiles_s[q] for q in ("p50", "p95", "p99")]
    return ["" if value_s is None else f"{value_s * 1e3:,.{0 if value_s > 0.1 else 1}f}" for value_s in told]
