"""`tocsin demo`."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from firmware_sim.links.broker import BrokerKind


@click.command()
@click.option("--exit", "exit_after", is_flag=True, help="Stop after the summary. Default: stay up until Ctrl-C.")
@click.option("--summary", type=click.Path(path_type=Path, dir_okay=False), help="Write the summary there as JSON.")
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep everything there: configurations, logs, the hub. Default: a temporary folder.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="The hub's port. Default: a free one.")
@click.option("--scenario", default="demo", show_default=True, help="A built-in scenario, or a TOML file like it.")
@click.option(
    "--broker", type=click.Choice(["mosquitto", "amqtt"]), help="Default: mosquitto where it is installed, else amqtt."
)
def demo(
    exit_after: bool, summary: Path | None, directory: Path | None, port: int, scenario: str, broker: BrokerKind | None
) -> None:
    """Show the whole loop on this machine: sensors, devices, hub, a first model, and back.

    Starts a broker, a hub, simulated machines on real pseudo-terminals and MQTT, and seven real agents; then tells the
    story in six chapters and sums up what was shown. Takes about three minutes; exit code 1 where a claim did not hold.
    """  # fmt: skip
    from rich.console import Console

    from firmware_sim.demo.run import DemoRun
    from firmware_sim.demo.screen import Screen
    from firmware_sim.demo.story import CHAPTERS
    from firmware_sim.demo.summary import summarize, tables
    from firmware_sim.scenario import load_scenario

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    plan = load_scenario(scenario)
    screen = Screen(Console(width=min(130, shutil.get_terminal_size((110, 30)).columns)))
    folder = directory or Path(tempfile.mkdtemp(prefix="tocsin-demo-"))
    try:
        screen.head("[bold]Tocsin[/]: the whole loop on this machine. Starting broker, hub, machines and devices …")
        with DemoRun(folder, plan, screen, port, broker) as run:
            screen.head(
                f"  page     [link={run.page}]{run.page}[/]",
                f"  broker   {run.broker.kind} on {run.broker.host}:{run.broker.port}",
            )
            screen.head(f"  files    {folder}, what each process says in logs/")
            for chapter in CHAPTERS:
                screen.chapter(chapter.title, chapter.text)
                chapter.play(run)
            result = summarize(run)
            screen.console.print()
            for table in tables(result):
                screen.console.print(table)
                screen.console.print()
            if summary is not None:
                summary.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
            if not exit_after:
                screen.head(f"Everything goes on. The page: {run.page}", "Ctrl-C stops it all.")
                _until_interrupted()
    finally:
        if directory is None:
            shutil.rmtree(folder, ignore_errors=True)
    if not result["ok"]:
        raise SystemExit(1)


def _until_interrupted() -> None:
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        click.echo("\nstopping …")
