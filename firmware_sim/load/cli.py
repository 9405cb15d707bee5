"""`tocsin sim fleet`: light devices, thousands of them, against a hub that runs."""

from __future__ import annotations

import math
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from models.errors import ConfigError

if TYPE_CHECKING:
    from firmware_sim.load.fleet import FleetRun
    from firmware_sim.load.plan import FleetPlan
    from firmware_sim.scenario import Scenario

MAX_TOKEN = 4096  # characters
_AHEAD_S = 3600.0  # without an end: so long the devices may run before their time passes the clock's


@click.command("fleet")
@click.option("--hub", "url", required=True, metavar="URL", help="Where the hub is, such as https://127.0.0.1:8700.")
@click.option("--token", required=True, metavar="CLAIM_TOKEN", help="As `tocsin hub token --count …` prints it; - reads it.")
@click.option("--scenario", help="A name from `tocsin sim list` or a TOML file with a [fleet]; the options below overrule it.")
@click.option("--devices", type=click.IntRange(min=1), help="How many light devices. Default: the scenario's, else 100.")
@click.option("--real", type=click.IntRange(0, 200), default=0, show_default=True, help="So many real agents beside them.")
@click.option("--processes", type=click.IntRange(1, 64), help="Default: one for each 5,000 devices.")
@click.option("--connections", type=click.IntRange(1, 20_000), default=400, show_default=True, help="At a time, of all.")
@click.option("--site", help="Where they say they stand; what the token says counts.")
@click.option("--profile", help="What each of them watches.")
@click.option("--assets", type=click.IntRange(1, 64), help="How many of these each watches.")
@click.option("--sync-s", type=click.FloatRange(0.1, 86_400), help="From one sync to the next. Default: 3600.")
@click.option("--checkin-s", type=click.FloatRange(0.1, 86_400), help="From one check-in to the next. Default: 60.")
@click.option("--backlog-s", type=click.FloatRange(min=0), help="So long they have been at work before. Default: 0.")
@click.option("--speed", type=click.FloatRange(min=0, min_open=True), help="Event seconds per second. Default: 1.")
@click.option("--seed", type=click.IntRange(min=0), help="The same seed, and token, the same devices. Default: 1.")
@click.option("--duration", type=click.FloatRange(min=0, min_open=True), help="Event seconds to play. Default: until Ctrl-C.")
@click.option("--prefix", default="sim", show_default=True, help="What their names begin with.")
@click.option("--settle", is_flag=True, help="In the end let every device sync what waits, once more.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for truth.jsonl: what befell whom.")
@click.option("--json", "as_json", is_flag=True, help="The summary as JSON.")
def fleet_command(
    url: str,
    token: str,
    scenario: str | None,
    real: int,
    processes: int | None,
    connections: int,
    speed: float | None,
    seed: int | None,
    duration: float | None,
    prefix: str,
    settle: bool,
    out: Path | None,
    as_json: bool,
    **of_plan: Any,
) -> None:
    """Let thousands of light devices enrol at a hub, and speak to it as real ones do, from a few processes.

    What they say has the right form and size; it is made by chance, not by physics: train nothing from it. Use a hub that is
    there for trying. Ctrl-C ends it, with the summary.
    """
    import msgspec

    from firmware_sim.load.fleet import FleetRun

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if token == "-":  # noqa: S105  # where to read it from
        token = sys.stdin.read(MAX_TOKEN).strip()
    plan, machines = _planned(scenario, prefix, of_plan)
    seed, speed = machines.seed if seed is None else seed, speed or machines.speed
    machines = msgspec.structs.replace(machines, seed=seed, speed=speed, duration_s=duration or machines.duration_s)
    run = FleetRun(
        plan=plan,
        seed=seed,
        speed=speed,
        t0_ns=_head_start(speed, machines.duration_s),
        url=url.rstrip("/"),
        token=token,
        prefix=prefix,
        processes=processes or max(1, -(-plan.devices // 5_000)),
        connections=connections,
        settle=settle,
    )
    _play(run, machines, real, out, as_json)


def _planned(name: str | None, prefix: str, options: dict[str, Any]) -> tuple[FleetPlan, Scenario]:
    """The fleet, and the machines that real agents would watch. Raises ConfigError."""
    import re

    import msgspec

    from firmware_sim.load.plan import FleetPlan, check_fleet
    from firmware_sim.scenario import AssetPlan, Scenario, builtin_names, load_scenario
    from models.contract.config import convert
    from models.contract.names import NAME_PATTERN

    if not re.match(NAME_PATTERN, prefix) or len(prefix) > 40:
        raise ConfigError("--prefix", f"1-40 letters, digits, '_', '.', '-', not {prefix!r}")
    machines = load_scenario(name) if name else Scenario(assets=(AssetPlan(name="pump"),))
    if name and machines.fleet is None:
        have = [other for other in builtin_names() if load_scenario(other).fleet is not None]
        raise ConfigError(f"--scenario {name}", f"one with a [fleet], such as {', '.join(have)}")
    given = {key: value for key, value in options.items() if value is not None}
    plan = convert(msgspec.to_builtins(machines.fleet or FleetPlan()) | given, FleetPlan, "fleet")
    check_fleet(plan, "fleet")
    return plan, machines


def _head_start(speed: float, duration_s: float | None) -> int:
    """Event time of second 0, so that devices that live faster than the clock do not end up in the future."""
    import time

    ahead_s = _AHEAD_S if duration_s is None else duration_s
    return time.time_ns() - round(max(0.0, (1 - 1 / speed) * ahead_s) * 1e9)


def _play(run: FleetRun, machines: Scenario, real: int, out: Path | None, as_json: bool) -> None:
    import json
    import time
    from contextlib import ExitStack

    from rich.console import Console

    from firmware_sim.load.fleet import LoadFleet
    from firmware_sim.load.real import RealAgents
    from firmware_sim.load.show import Progress, summary_lines, summary_table
    from firmware_sim.truth import fleet_truth, write_truth
    from firmware_sim.virtual import TRUTH_FILE

    with ExitStack() as stack:
        fleet = stack.enter_context(LoadFleet(run))
        progress = Progress(Console(stderr=True), run.plan.devices)
        stack.callback(progress.stop)
        agents = RealAgents(machines, real, run.url, run.token, run.prefix, run.t0_ns) if real else None
        if agents is not None:
            stack.enter_context(agents)
        began_s = time.monotonic()
        try:
            fleet.reach("ready", math.inf, lambda: progress.show("enrolling", fleet.enrolled, fleet.tally()))
            began_s = fleet.go()
            lasts_s = math.inf if machines.duration_s is None else machines.duration_s / run.speed
            over_s = lasts_s + began_s - time.monotonic()
            fleet.reach("done", over_s, lambda: progress.show("running", fleet.enrolled, fleet.tally()))
        except KeyboardInterrupt:
            pass
        ran_s = max(0.0, time.monotonic() - began_s)
        fleet.stop(lambda: progress.show("ending", fleet.enrolled, fleet.tally()))
        summary = fleet.summary() | {"ran_s": round(ran_s, 1)}
        if agents is not None:
            summary["real"] = agents.statuses()
        progress.stop()
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            write_truth(out / TRUTH_FILE, [], fleet=fleet_truth(run.plan, run.seed, run.t0_ns, run.prefix))
    if as_json:
        click.echo(json.dumps(summary))
    else:
        console = Console()
        console.print(summary_table(summary))
        for line in summary_lines(summary):
            console.print(line, highlight=False, markup=False)
