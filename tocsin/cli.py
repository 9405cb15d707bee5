"""`tocsin …`: one command, its subcommands loaded only when they are called.

`tocsin agent status` on a device must not pay for the hub, and must work where the hub's packages are not installed.
"""

from __future__ import annotations

import importlib
import sys

import click

from models.errors import ConfigError, TocsinError
from models.version import VERSION

# name: (module, attribute, extra that brings its packages, one line of help)
COMMANDS: dict[str, tuple[str, str, str, str]] = {
    "agent": ("agent.cli", "agent", "", "Run and inspect the device's agent."),
    "hub": ("hub.cli", "hub", "hub", "Run the hub; train models and roll them out."),
    "models": ("models.importing.cli", "models", "", "Make bundles of models that come from elsewhere."),
    "sim": ("firmware_sim.cli", "sim", "sim", "Simulated sensors, recorded data, fleets."),
    "demo": ("firmware_sim.demo.cli", "demo", "hub,sim", "The whole loop on this machine, in a few minutes."),
    "backtest": ("agent.backtest.cli", "backtest", "", "Run the agent's pipeline over a CSV file, in event time."),
}


class LazyGroup(click.Group):
    """A group that imports a subcommand's module when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute, extra, _ = COMMANDS[cmd_name]
        try:
            command: click.Command = getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            if not extra or (error.name or "").split(".")[0] in ("agent", "hub", "models", "firmware_sim"):
                raise
            raise click.ClickException(f"`tocsin {cmd_name}` needs {error.name}: pip install 'tocsin[{extra}]'") from None
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_line) for name, (*_, help_line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(VERSION, prog_name="tocsin")
def cli() -> None:
    """Tocsin watches machines where they stand, and rings when something is wrong."""


def main() -> None:
    """Entry point: errors raised on purpose become one line and an exit code, Ctrl-C a quiet exit."""
    try:
        outcome = cli.main(standalone_mode=False)
        sys.exit(outcome if isinstance(outcome, int) else 0)  # click returns the code of an explicit ctx.exit
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except ConfigError as error:
        click.echo(f"tocsin: {error}", err=True)
        sys.exit(error.exit_code)
    except TocsinError as error:
        click.echo(f"tocsin: {error}", err=True)
        sys.exit(1)
