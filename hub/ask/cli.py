"""`tocsin hub ask`: a question in plain English or French, on the hub's own machine."""

from __future__ import annotations

import json
from pathlib import Path

import click

from hub.ask.question import Language
from hub.settings import load_hub
from hub.terminal import data_option, json_option, plain, show_table


@click.command()
@click.argument("question")
@click.option("--sql", "as_sql", is_flag=True, help="Show the query as well; or, where QUESTION is a SELECT, run that.")
@click.option("--language", type=click.Choice(["en", "fr"]), help="The question's language (default: found out).")
@data_option
@json_option
def ask(question: str, as_sql: bool, language: Language | None, data: Path, as_json: bool) -> None:
    """Answer QUESTION, in English or French: "which pumps alarmed last week?". Read-only; what was not understood is told."""
    from hub.ask.answer import EXAMPLES
    from hub.ask.opened import open_ask
    from hub.ask.phrasing import value_text
    from hub.ask.wire import plain_answer

    is_query = as_sql and question.lstrip().lower().startswith(("select", "with", "from"))
    with open_ask(load_hub(data)) as asked:
        answer = asked.run(question, language or "en") if is_query else asked.ask(question, language)
    if as_json:
        click.echo(json.dumps(plain_answer(answer)))
        return
    for written, taken in answer.guessed:
        click.echo(plain(f"{written}: {'compris comme' if answer.language == 'fr' else 'taken for'} {taken}"), err=True)
    if answer.unknown:
        said = "Pas compris, laissé de côté" if answer.language == "fr" else "Not understood, left out"
        click.echo(plain(f"{said}: {', '.join(answer.unknown)}"), err=True)
    for note in answer.notes:
        click.echo(plain(note), err=True)
    click.echo(plain(answer.sentence))
    if not answer.sql:
        said = "Par exemple" if answer.language == "fr" else "For instance"
        click.echo("\n".join([f"{said}:", *(f"  {example}" for example in EXAMPLES[answer.language])]))
        return
    if as_sql:
        click.echo(f"\n{answer.sql}\n")
    if answer.rows:
        show_table(answer.columns, [tuple(map(value_text, row)) for row in answer.rows], "")
