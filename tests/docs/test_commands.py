"""What the documentation tells to type exists; a few of it is typed here, and says what the pages say that it does."""

from __future__ import annotations

import csv
import importlib.util
import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from starlette.routing import Route

from hub.app import build_app
from hub.lake.lake import DeltaLake, open_lake
from hub.lake.query import query
from hub.operators.rights import ROUTES
from hub.settings import init_hub
from models.errors import ConfigError
from tests.docs.lake import fill
from tests.docs.pages import PAGES, ROOT, Block, blocks, code_words, commands, mentioned, name_of, tables, typed
from tests.docs.test_docs import ids, write_profiles
from tests.hub.conftest import FAST, running
from tocsin.cli import cli

COMMANDS = [(f"{name_of(page)}: {line}", arguments) for page in PAGES for line, arguments in commands(page)]
MENTIONED = [(f"{name_of(page)}: {text}", arguments) for page in PAGES for text, arguments in mentioned(page)]
OF_ALL = ["--version"]
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


def resolve(arguments: list[str]) -> click.Command:
    """The command that `arguments` lead to, its options parsed and nothing run. Raises ClickException where that fails."""
    command: click.Command = cli
    context = click.Context(cli, info_name="tocsin")
    while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        name, *arguments = arguments
        found = command.get_command(context, name)
        if found is None:
            raise click.UsageError(f"no command {name}", context)
        command, context = found, click.Context(found, parent=context, info_name=name)
    given, left, _ = command.make_parser(context).parse_args(list(arguments))
    if left:
        raise click.UsageError(f"left over: {left}", context)
    missing = [p.name for p in command.params if p.required and not isinstance(given.get(p.name or ""), (str, tuple, list))]
    if missing:
        raise click.UsageError(f"missing: {missing}", context)
    return command


@pytest.mark.parametrize(("where", "arguments"), COMMANDS, ids=[where for where, _ in COMMANDS])
def test_commands_in_the_pages_exist_with_their_options(where: str, arguments: list[str]) -> None:
    assert arguments == OF_ALL or not isinstance(resolve(arguments), click.Group), where


@pytest.mark.parametrize(("where", "words"), MENTIONED, ids=[where for where, _ in MENTIONED])
def test_commands_that_are_mentioned_exist(where: str, words: list[str]) -> None:
    """Of those in prose, arguments may be left out; every word that is there must be a command's name or its option."""
    command: click.Command = cli
    context = click.Context(cli, info_name="tocsin")
    for word in words:
        if isinstance(command, click.Group) and not word.startswith("-"):
            found = command.get_command(context, word)
            assert found is not None, f"{where}: no command {word}"
            command, context = found, click.Context(found, parent=context, info_name=word)
        elif word.startswith("--"):
            assert word in {option for parameter in command.get_params(context) for option in parameter.opts}, where


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_targets_of_make_exist(page: Path) -> None:
    told = [*(words for _, words in typed(page)), *(word.split() for word in code_words(page))]
    asked = {words[i + 1] for words in told for i, word in enumerate(words[:-1]) if word == "make" and i < 2}
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {target for target in asked if re.fullmatch(r"[a-z-]+", target)} - targets == set()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_modules_that_are_to_be_run_exist(page: Path) -> None:
    told = [*(words for _, words in typed(page)), *(word.split() for word in code_words(page))]
    asked = {words[2] for words in told if len(words) > 2 and words[:2] in (["python", "-m"], ["python3", "-m"])}
    assert [module for module in asked if importlib.util.find_spec(module) is None] == []


def test_a_command_that_does_not_exist_would_be_noticed() -> None:
    for wrong in (["agent", "runn"], ["agent", "run", "--confg", "x"], ["hub", "query"]):
        with pytest.raises(click.ClickException):
            resolve(wrong)


def shown_after(command: str, page: str) -> str:
    """What that page prints under `$ command`, up to the next command or the block's end."""
    for block in (block for block in blocks("console") if block.page.name == page):
        shown = f"{block.text}$ ".partition(f"$ {command}\n")[2].partition("$ ")[0]
        if shown:
            return shown
    raise AssertionError(f"{page} does not show what {command} prints")


@pytest.mark.parametrize("page", ["README.md", "README.fr.md", "connect-a-sensor.md"])
def test_check_config_prints_what_the_page_shows(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_profiles(tmp_path)
    example = next(block for block in blocks("toml device") if block.page.name == page)
    Path("tocsin.toml").write_text(example.text)
    done = CliRunner().invoke(cli, ["agent", "check-config", "--config", "tocsin.toml"])
    assert done.output == shown_after("tocsin agent check-config --config tocsin.toml", page)


def test_a_misspelt_key_is_refused_as_the_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_profiles(tmp_path)
    example = next(block for block in blocks("toml device") if block.page.name == "connect-a-sensor.md")
    Path("tocsin.toml").write_text(example.text.replace("port =", "buad = 9600\nport ="))
    refused = CliRunner().invoke(cli, ["agent", "check-config", "--config", "tocsin.toml"])
    assert f"tocsin: {refused.exception}\n" in [block.text for block in blocks("text")]


def test_check_config_refuses_a_topic_template_that_could_never_work(tmp_path: Path) -> None:
    example = next(block.text for block in blocks("toml device") if "[[mqtt]]" in block.text)
    (tmp_path / "join.token").write_text("0123456789abcdef")
    (tmp_path / "tocsin.toml").write_text(example.replace("plant/{asset}/{channel}", "plant/#"))
    done = CliRunner().invoke(cli, ["agent", "check-config", "--config", str(tmp_path / "tocsin.toml")])
    assert isinstance(done.exception, ConfigError)
    assert done.exception.where == f"{tmp_path / 'tocsin.toml'}: mqtt[0]: topics[0]"


def test_hub_init_prints_what_the_page_shows(tmp_path: Path) -> None:
    data = tmp_path / "hub"
    done = CliRunner().invoke(cli, ["hub", "init", "--data", str(data)])
    assert done.output.replace(str(data), "/srv/tocsin") == shown_after("tocsin hub init --data /srv/tocsin", "operate.md")


def test_backtest_writes_the_columns_that_are_told(tmp_path: Path) -> None:
    rows = "\n".join(f"2026-01-01 00:00:{i:02},{i % 7},{(i * 3) % 5}" for i in range(60))
    (tmp_path / "pump.csv").write_text(f"time,a,b\n{rows}\n")
    arguments = ["backtest", str(tmp_path / "pump.csv"), "--commissioning", "45", "--out", str(tmp_path / "scores.csv")]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    with (tmp_path / "scores.csv").open(newline="") as file:
        header, *written = csv.reader(file)
    [table] = [table for table in tables("columns") if table.target == "backtest"]
    assert header == table.names()
    assert len(written) == 60


# --- SQL ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> DeltaLake:
    lake = open_lake(str(tmp_path_factory.mktemp("lake")))
    fill(lake)
    return lake


@pytest.mark.parametrize("block", blocks("sql"), ids=ids)
def test_sql_in_the_pages_finds_something(block: Block, lake: DeltaLake) -> None:
    assert query(block.text, lake).num_rows > 0


@pytest.mark.parametrize("sql", [arguments[-1] for _, arguments in COMMANDS if arguments[:2] == ["hub", "query"]])
def test_sql_on_the_command_line_finds_something(sql: str, lake: DeltaLake) -> None:
    assert query(sql, lake).num_rows > 0


# --- routes -------------------------------------------------------------------------------------------------------


def test_the_pages_tell_every_route_of_the_api_and_no_other(tmp_path: Path) -> None:
    app = build_app(init_hub(tmp_path / "hub"))
    there = {f"{method.upper()} {path}" for path, methods in app.openapi()["paths"].items() for method in methods}
    there |= {
        f"{m} {r.path}" for r in app.routes if isinstance(r, Route) and r.path.startswith("/v1/") for m in r.methods or ()
    }
    told = [name for table in tables("routes") for name in table.names() if name.split()[0] in METHODS]
    assert len(told) == len(set(told))
    assert set(told) == {route for route in there if not route.startswith("HEAD ")} - {f"GET {app.openapi_url}"}


def test_the_pages_tell_the_right_that_each_route_takes() -> None:
    for table in tables("routes"):
        if "right" not in table.header:
            continue
        for row in table.cells:
            told = re.findall(r"`([^`]+)`", row[0])
            assert {ROUTES[name].name for name in told} == {row[table.header.index("right")]}, told


def test_the_pages_tell_every_metric_and_no_other(tmp_path: Path) -> None:
    with running(init_hub(tmp_path / "hub", FAST)) as client:
        text = client.http.get("/metrics", headers=client.auth).text
    there = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE tocsin_")}
    told = [name for table in tables("metrics") for name in table.names() if name.startswith("tocsin_")]
    assert sorted(told) == sorted(name for name in there if not name.endswith("_created"))
