"""`tocsin sim replay`: recorded data, played through a pseudo-terminal or to a broker."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from models.errors import ConfigError

if TYPE_CHECKING:
    from firmware_sim.firmware.catalog import LinkKind
    from firmware_sim.firmware.encoder import Samples
    from firmware_sim.links.link import Link


def address(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[str, int] | None:
    """HOST:PORT of an option, as a pair."""
    if value is None:
        return None
    host, _, port = value.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise click.BadParameter(f"expected HOST:PORT, such as 127.0.0.1:1883, not {value!r}")
    return host, int(port)


def _speed(_ctx: click.Context, _param: click.Parameter, value: str) -> float | None:
    """A factor above 0, or `max`, which is None."""
    if value == "max":
        return None
    try:
        factor = float(value)
    except ValueError:
        factor = 0.0
    if not 0 < factor < float("inf"):
        raise click.BadParameter(f"expected a number above 0, or 'max', not {value!r}")
    return factor


@click.command("replay")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--asset", default="replay", show_default=True, help="The name of the machine whose data this is.")
@click.option(
    "--speed",
    callback=_speed,
    metavar="FACTOR|max",
    default="1",
    show_default=True,
    help="Recorded seconds per second, or max.",
)
@click.option("--link", "link_path", type=click.Path(path_type=Path), help="Stable name for the serial port: a symbolic link.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Begin only when somebody has opened the port.")
@click.option("--mqtt", callback=address, metavar="HOST:PORT", help="Publish to this broker instead of a serial port.")
@click.option("--topic", help="Topic template: plant/{asset}/{channel}, or plant/{asset} for whole samples.")
@click.option("--format", "form", help="jsonl, csv, cobs; over MQTT json, number, object, senml.")
@click.option("--channels", default="", metavar="A,B", help="Only these columns.")
@click.option("--ignore", default="", metavar="A,B", help="All but these columns.")
@click.option("--time-column", help="Default: found by its name or its look.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="The file has no times: rows a second.")
@click.option("--retime", type=click.Choice(["now"]), help="Move all times so that the first row is now.")
def replay_command(
    file: Path,
    asset: str,
    speed: float | None,
    link_path: Path | None,
    wait: bool,
    mqtt: tuple[str, int] | None,
    topic: str | None,
    form: str | None,
    channels: str,
    ignore: str,
    time_column: str | None,
    rate: float | None,
    retime: str | None,
) -> None:
    """Play the CSV FILE, a time column and columns of values, as if its machine were running.

    Separator, decimal mark and the way of writing times are found out. It goes through a new pseudo-terminal, whose path
    is printed for the agent's configuration, or to an MQTT broker.
    """
    import time

    from firmware_sim.faults.catalog import unknown
    from firmware_sim.firmware.catalog import FORMATS, make_encoder
    from firmware_sim.replay import replay, samples_of
    from models.contract.config import convert
    from models.contract.names import Name
    from models.contract.table import read_table

    convert(asset, Name, "--asset")
    link_kind: LinkKind = "mqtt" if mqtt else "serial"
    if form is None:
        form = "jsonl" if mqtt is None else ("json" if topic is None or "{channel}" in topic else "object")
    if form not in FORMATS[link_kind]:
        raise unknown("--format", form, FORMATS[link_kind])
    _check_topic(topic, form, mqtt is not None)
    table = read_table(file, time_column, _names(ignore), only=_names(channels), rate_hz=rate)
    samples = samples_of(table, asset, time.time_ns() if retime else None)
    link: Link | None = None
    try:
        link = _open_link(samples, form, link_path, wait, mqtt)
        if retime:
            samples = samples_of(table, asset, time.time_ns())  # once more: a reader may have been long in coming
        result = replay(samples, make_encoder(form, len(samples.channels), topic=topic), link, speed)
    except KeyboardInterrupt:
        click.echo("stopped")
        return
    finally:
        if link is not None:
            link.close()
    click.echo(
        f"played {result.n_rows} rows in {result.n_messages} messages in {result.took_s:.1f} s, {result.n_dropped} not taken"
    )


def _open_link(samples: Samples, form: str, link_path: Path | None, wait: bool, mqtt: tuple[str, int] | None) -> Link:
    """The link to play over, with somebody at its other end where that is asked for. Says where it is."""
    from firmware_sim.links.mqtt import MqttLink
    from firmware_sim.links.pty import PtyLink

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    names = (["t"] if form == "csv" else []) + list(samples.channels)
    if mqtt is not None:
        publisher = MqttLink(*mqtt)
        try:
            publisher.connect(timeout_s=10)
        except BaseException:
            publisher.close()
            raise
        click.echo(f"publishing {form} to {publisher.address}: {', '.join(names)}")
        return publisher
    port = PtyLink(link_path)
    try:
        click.echo(f"{form} on {port.address}: {', '.join(names)}")
        if wait:
            click.echo("waiting for a reader")
            port.wait_for_reader()
    except BaseException:
        port.close()
        raise
    return port


def _check_topic(topic: str | None, form: str, mqtt: bool) -> None:
    if topic is None:
        return
    if not mqtt:
        raise ConfigError("--topic", "--mqtt HOST:PORT, because a serial port has no topics")
    if form in ("json", "number") and "{channel}" not in topic:
        raise ConfigError("--topic", f"a template with {{channel}}, because each {form} message carries one channel")
    if "#" in topic or "+" in topic:
        raise ConfigError("--topic", "a topic to publish to, without wildcards")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
