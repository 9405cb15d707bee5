"""`tocsin sim …`: simulated machines on real serial ports and MQTT, and recorded data played into them."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from firmware_sim.judging.cli import judge_command
from firmware_sim.load.cli import fleet_command
from firmware_sim.replay_cli import address, replay_command
from models.errors import ConfigError

if TYPE_CHECKING:
    from firmware_sim.fleet import LocalFleet
    from firmware_sim.scenario import Scenario


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def sim() -> None:
    """Simulated machines with known faults, and recorded data, over real serial ports and MQTT."""


@sim.command("run")
@click.argument("scenario")
@click.option("--virtual", is_flag=True, help="Play it as fast as it can be computed, into files; needs --out.")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for truth.jsonl, and in virtual time the frames."
)
@click.option(
    "--speed", type=click.FloatRange(min=0, min_open=True), help="Event seconds per second, instead of the scenario's."
)
@click.option(
    "--duration", type=click.FloatRange(min=0, min_open=True), help="Event seconds to play, instead of the scenario's."
)
@click.option("--ports", type=click.Path(file_okay=False, path_type=Path), help="Folder for stable names of the serial ports.")
@click.option(
    "--broker",
    callback=address,
    metavar="HOST:PORT",
    help="A broker that runs already. Default: one of its own, where one is needed.",
)
def run(
    scenario: str,
    virtual: bool,
    out: Path | None,
    speed: float | None,
    duration: float | None,
    ports: Path | None,
    broker: tuple[str, int] | None,
) -> None:
    """Play SCENARIO, a name from `tocsin sim list` or a TOML file.

    In real time it prints each machine's serial port, or the broker's address and topics, to point an agent at; Ctrl-C
    ends it.
    """
    import msgspec

    from firmware_sim.scenario import load_scenario

    plan = load_scenario(scenario)
    plan = msgspec.structs.replace(plan, speed=speed or plan.speed, duration_s=duration or plan.duration_s)
    if not virtual:
        _run_live(plan, out, ports, broker)
        return
    if out is None:
        raise ConfigError("--virtual", "--out DIR, where to write")
    from firmware_sim.virtual import TRUTH_FILE, play_virtual

    for name, played in play_virtual(plan, out).items():
        click.echo(f"{name}: {played.n_messages} messages, {played.n_bytes} bytes in {played.path}")
    click.echo(f"truth: {out / TRUTH_FILE}")


def _run_live(plan: Scenario, out: Path | None, ports: Path | None, broker: tuple[str, int] | None) -> None:
    from contextlib import ExitStack

    from firmware_sim.fleet import LocalFleet
    from firmware_sim.links.broker import start_broker
    from firmware_sim.truth import write_truth
    from firmware_sim.virtual import TRUTH_FILE

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ExitStack() as stack:
        if broker is None and any(asset.link == "mqtt" for asset in plan.assets):
            own = stack.enter_context(start_broker())
            broker = own.host, own.port
            click.echo(f"broker: {own.kind} on {own.host}:{own.port}")
        fleet = stack.enter_context(LocalFleet(plan, broker, ports))
        _describe(plan, fleet)
        try:
            fleet.wait()
        except KeyboardInterrupt:
            click.echo("stopped")
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            write_truth(out / TRUTH_FILE, fleet.truth(), fleet.observed())


def _describe(plan: Scenario, fleet: LocalFleet) -> None:
    """Where to connect to, one line a machine; then what will go wrong."""
    addresses = fleet.addresses()
    for asset in plan.assets:
        click.echo(f"{asset.name}: {asset.profile}, {asset.form} at {asset.sampled_hz:g} Hz on {addresses[asset.name]}")
        if asset.form in ("csv", "cobs"):
            columns = fleet.channels(asset.name)
            click.echo(f"    columns: {', '.join((['t'] if asset.form == 'csv' else []) + list(columns))}")
        if asset.form == "sparkplug":
            click.echo(f"    id: plant/edge-{asset.name}/{asset.name}")
        elif asset.link == "mqtt":
            click.echo(f"    topics: {_topic(asset.form)}")
        elif asset.link == "modbus":
            places = [f"{name} {2 * i}" for i, name in enumerate(fleet.channels(asset.name))]
            click.echo(f"    unit 1, input registers (function 4), float32: {', '.join(places)}")
    for fault in plan.faults:
        where = f".{fault.channel}" if fault.channel else ""
        end = f"{fault.end_s:g} s" if fault.end_s is not None else "the end"
        click.echo(f"fault: {fault.asset}{where} {fault.kind} from {fault.start_s:g} s to {end}, severity {fault.severity:g}")
    if plan.fleet is not None:
        click.echo(f"light devices: {plan.fleet.devices}, which `tocsin sim fleet --scenario` plays, and --virtual; not this")
    length = f"{plan.duration_s:g} s of event time" if plan.duration_s else "until Ctrl-C"
    click.echo(f"running at {plan.speed:g}x, {length}")


def _topic(form: str) -> str:
    from firmware_sim.firmware.mqtt import ONE_CHANNEL_TOPIC, WHOLE_ASSET_TOPIC

    return ONE_CHANNEL_TOPIC if form in ("json", "number") else WHOLE_ASSET_TOPIC


@sim.command("broker")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="0 = any free one.")
@click.option("--kind", type=click.Choice(["mosquitto", "amqtt"]), help="Default: mosquitto where it is installed.")
def broker_command(port: int, kind: Any) -> None:
    """Run an MQTT broker on this machine's loopback address until Ctrl-C."""
    from threading import Event

    from firmware_sim.links.broker import start_broker

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with start_broker(kind, port) as broker:
        click.echo(f"{broker.kind} on {broker.host}:{broker.port}")
        try:
            Event().wait()
        except KeyboardInterrupt:
            click.echo("stopped")


@sim.command("list")
def list_command() -> None:
    """The scenarios that come with Tocsin, the machines, and what can go wrong with them."""
    from firmware_sim.assets.catalog import MACHINE_FAULTS
    from firmware_sim.faults.catalog import FIRMWARE_FAULTS, LINK_FAULTS, SENSOR_FAULTS
    from firmware_sim.load.plan import EVENT_KINDS
    from firmware_sim.scenario import builtin_names, load_scenario

    click.echo("scenarios")
    for name in builtin_names():
        plan = load_scenario(name)
        light = f", {plan.fleet.devices} light devices" if plan.fleet else ""
        click.echo(f"  {name:16} {plan.title} ({len(plan.assets)} assets, {len(plan.faults)} faults{light})")
    for profile, faults in MACHINE_FAULTS.items():
        click.echo(f"faults of a {profile}")
        for kind, channels in faults.items():
            click.echo(f"  {kind:16} shows in {', '.join(channels)}")
    click.echo(f"faults of any sensor: {', '.join(SENSOR_FAULTS)}")
    click.echo(f"faults of any firmware: {', '.join(FIRMWARE_FAULTS)}")
    click.echo(f"faults of any line: {', '.join(LINK_FAULTS)}")
    click.echo("what befalls light devices")
    for kind, event in EVENT_KINDS.items():
        click.echo(f"  {kind:16} {event.text}")


sim.add_command(replay_command)
sim.add_command(fleet_command)
sim.add_command(judge_command)
