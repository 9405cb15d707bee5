"""What the hub's commands share: their common options, and tables for people.

Much of what is shown was said by devices: it is shown as text, never as markup nor as control codes of the terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from hub.settings import DEFAULT_DIR

Command = Callable[..., Any]

data_option = click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_DIR,
    show_default=True,
    help="The hub's directory.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")


def plain(value: object) -> str:
    """`value` on one line, with everything that a terminal would obey replaced; "" for None."""
    text = "" if value is None else str(value)
    return (
        text
        if text.isprintable()
        else "".join(c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in text)
    )


def show_table(columns: Sequence[str], rows: Sequence[Sequence[object]], when_empty: str, copied: str = "") -> None:
    """Fitted to the terminal; in a pipe, each row is one whole line. `copied`: a column that the next command wants, never
    broken into lines."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not rows:
        click.echo(when_empty)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(plain(column), no_wrap=column == copied)
    for row in rows:
        table.add_row(*(Text(plain(value)) for value in row))
    console = Console()
    if not console.is_terminal:
        console.width = 100_000  # as wide as it likes
    console.print(table)
