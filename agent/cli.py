"""`tocsin agent …`: run the device's agent, ask it how it is, check its configuration."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Literal

import click

from models.errors import ConfigError

Edge = Literal["opened", "closed"]

CONFIG = click.option(
    "--config", "config_path", type=click.Path(path_type=Path), default=Path("/etc/tocsin/tocsin.toml"), show_default=True,
    envvar="TOCSIN_CONFIG", help="The device's configuration.",
)  # fmt: skip


class _Commands(click.Group):
    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """With whole sentences: cut off in the middle, as by default, most of them say nothing."""
        found = [(name, self.commands[name].get_short_help_str(200)) for name in sorted(self.commands)]
        with formatter.section("Commands"):
            formatter.write_dl(found)


@click.group(cls=_Commands)
def agent() -> None:
    """Run and inspect the device's agent."""


@agent.command()
@CONFIG
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True)
def run(config_path: Path, log_level: str) -> None:
    """Watch the configured assets until stopped (Ctrl-C or SIGTERM).

    Exit codes: 78 the configuration is wrong; 1 the state directory cannot be used.
    """
    from agent.run import become_agent

    become_agent(config_path, log_level)


@agent.command()
@CONFIG
@click.argument("url")
@click.argument("token")
@click.option("--again", is_flag=True, help="Though the device is enrolled: it goes by what the hub answers now.")
def enrol(config_path: Path, url: str, token: str, again: bool) -> None:
    """Enrol this device at the hub at URL, with the TOKEN that `tocsin hub token` made there.

    TOKEN may be the name of a file that holds it, or - to read it from standard input: arguments can be seen by every user of
    this machine. Where it pins the hub, nobody else is believed, now and later. Done again, it changes nothing.

    As root, this is done as the owner of the state directory. Exit codes: 78 the token or the configuration will not do; 1 the
    hub was not reached, or it refuses.
    """
    from agent.enrol_cli import enrol_now

    click.echo(enrol_now(config_path, url, token, again))


@agent.command("rotate-key")
@CONFIG
def rotate_key(config_path: Path) -> None:
    """Give this device a new key; the hub pins it in place of the old one, which nobody can use any more.

    A running agent does it at once, or when it next reaches its hub; `status` tells. Exit code 1: the hub was not reached; the
    change is gone on with at the next contact.
    """
    from agent.enrol_cli import rotate_now

    click.echo(rotate_now(config_path))


@agent.command()
@CONFIG
@click.option("--dry-run", is_flag=True, help="Print the unit and change nothing; needs no root.")
@click.option("--no-start", is_flag=True, help="Enable the service for the next boot, but leave it as it is now.")
def install(config_path: Path, dry_run: bool, no_start: bool) -> None:
    """Run the agent as a hardened systemd service, from now on and after each boot."""
    from agent.service.install import install as install_service
    from agent.service.install import planned
    from agent.service.unit import check_visible, unit_text

    if not dry_run:
        install_service(config_path, not no_start, click.echo)
        return
    loaded, place = planned(config_path)
    click.echo(unit_text(loaded, place), nl=False)
    try:
        check_visible(loaded, place)
    except ConfigError as error:
        click.echo(f"as it is, this could not be installed: {error}", err=True)


@agent.command("check-config")
@CONFIG
def check_config(config_path: Path) -> None:
    """Check the configuration and say what it amounts to. Exit code 78 and one line where it is wrong."""
    from agent.actions.rule_text import rule_lines
    from agent.config import KINDS, load_config
    from agent.page.config import page_lines

    loaded = load_config(config_path)
    config = loaded.config
    n_sources = sum(len(getattr(config, kind)) for kind in KINDS)
    hub = config.hub.url if config.hub else "none: works alone"
    click.echo(f"{config_path} is fine: device {config.device.id}, {len(config.assets)} assets, {n_sources} sources, hub {hub}")
    for asset, profile in loaded.profiles.items():
        single = f"; reading by reading: {', '.join(profile.streaming.channels)}" if profile.streaming.channels else ""
        what = f"{profile.title or profile.name}; {', '.join(profile.channel_names)}{single}"
        click.echo(f"  {asset}: {what}; spec {profile.spec_hash}")
    for line in (*rule_lines(config.actions), *page_lines(config.page)):
        click.echo(f"  {line}")


@agent.command()
@CONFIG
@click.argument("rule")
@click.option("--asset", help="Of which asset the event should be; default: the rule's first.")
@click.option("--when", "edge", type=click.Choice(["opened", "closed"]), default="opened", show_default=True)
@click.option("--really", is_flag=True, help="Do it. Without this it is only said what would be done.")
def act(config_path: Path, rule: str, asset: str | None, edge: Edge, really: bool) -> None:
    """Fire RULE by hand, with a made-up event that is marked as a test.

    Interlock and rate limit do not apply, and nothing is recorded. Exit codes: 1 the action failed; 78 there is no such rule.
    """
    from agent.actions.trial import fire
    from agent.config import load_config

    ok, said = fire(load_config(config_path), rule, asset, edge, really)
    click.echo(said)
    sys.exit(0 if ok else 1)


@agent.command()
@CONFIG
@click.option("--json", "as_json", is_flag=True, help="Everything, as JSON.")
def status(config_path: Path, as_json: bool) -> None:
    """How the device and its assets are. Exit code 3 where no agent is running."""
    from agent.state_path import state_dir_of
    from agent.status.control import ask
    from agent.status.status_text import status_lines
    from agent.status.terminal_text import printable

    state_dir = state_dir_of(config_path)
    answer = ask(state_dir)
    if answer is None:
        click.echo(f"no agent is running on {state_dir}", err=True)
        sys.exit(3)
    click.echo(json.dumps(answer, indent=2) if as_json else "\n".join(map(printable, status_lines(answer))))


@agent.command()
@CONFIG
@click.option("--once", is_flag=True, help="Print one picture and end; so too where standard output is no terminal.")
@click.option("--interval-s", type=click.FloatRange(0.2, 3600.0), default=2.0, show_default=True, help="Between two looks.")
def top(config_path: Path, once: bool, interval_s: float) -> None:
    """A live view of the device: its assets, sensors, models, and what waits for the hub. q or Ctrl-C ends it.

    With NO_COLOR in the environment it has no colours. Exit code 3 where no agent is running; one that ends meanwhile is
    waited for.
    """
    import shutil

    from agent.state_path import state_dir_of
    from agent.status.control import ask
    from agent.top.live import colourful, live, one_frame, paints
    from models.errors import StorageError

    def look() -> dict[str, Any] | None:
        try:
            return ask(state_dir)
        except StorageError:  # it may be able to tell at the next look
            return None

    state_dir = state_dir_of(config_path)
    nobody = f"no agent is running on {state_dir}"
    status = ask(state_dir)
    if status is None:
        click.echo(nobody, err=True)
        sys.exit(3)
    if once or not paints():
        click.echo(one_frame(status, shutil.get_terminal_size().columns, colourful()))
    else:
        live(look, interval_s, nobody)


@agent.command()
@CONFIG
@click.argument("asset")
def recommission(config_path: Path, asset: str) -> None:
    """Let the running agent learn ASSET's normal anew, as after maintenance. An open alert of it is closed.

    Exit codes: 1 there is no such asset; 3 no agent is running.
    """
    from agent.state_path import state_dir_of
    from agent.status.control import ask

    state_dir = state_dir_of(config_path)
    answer = ask(state_dir, "recommission", asset)
    if answer is None:
        click.echo(f"no agent is running on {state_dir}", err=True)
        sys.exit(3)
    if "error" in answer:
        click.echo(answer["error"], err=True)
        sys.exit(1)
    click.echo(f"{asset} is commissioning: its next {answer['windows']} good {answer.get('of', 'windows')} are its normal")
