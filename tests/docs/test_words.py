"""What stands in backticks is there: configuration keys with values that they take, tables, names in the code, files."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final, get_args, get_type_hints

import msgspec
import pytest

from agent.config import AgentConfig
from firmware_sim.scenario import Scenario
from hub.settings import HubConfig
from models.bundle.manifest import Manifest
from models.contract.profile import Profile
from tests.docs.pages import PAGES, ROOT, code_words, name_of, tables
from tests.docs.test_docs import structs_in

ROOTS: Final = (AgentConfig, Profile, HubConfig, Scenario)
_KEY: Final = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")
_FILES: Final = {"toml", "db", "key", "pem", "csv", "json", "jsonl", "md", "py", "service", "example"}
_SOURCE: Final = {".py", ".toml", ".html", ".js"}
_PACKAGES: Final = ("agent", "benchmarks", "firmware_sim", "hub", "models", "tests", "tocsin")
_OF_OTHERS: Final = {"FORWARDED_ALLOW_IPS", "tep_trained"}  # of uvicorn; put together from two words in benchmarks/detection
Struct = type[msgspec.Struct]


def config_structs() -> set[Struct]:
    return {struct for root in ROOTS for struct in structs_in(root)}


def takes(struct: Struct, key: str, value: Any) -> bool:
    """Whether a key of that struct may have that value."""
    if key not in struct.__struct_fields__:
        return False
    try:
        msgspec.convert(value, get_type_hints(struct, include_extras=True)[key])
    except msgspec.ValidationError:
        return False
    return True


def structs_of(kind: Any) -> Iterator[Struct]:
    """The structs that a field of that type holds: itself, or what a list, a union or an annotation of it has."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield kind
    for part in get_args(kind):
        yield from structs_of(part)


def is_key(path: list[str], structs: set[Struct]) -> bool:
    """Whether `path`, as in decision.close_windows, leads from one of `structs` to a key."""
    key, *rest = path
    owners = [struct for struct in structs if key in struct.__struct_fields__]
    below = {inner for struct in owners for inner in structs_of(get_type_hints(struct)[key])}
    return bool(owners) and (not rest or is_key(rest, below))


@cache
def words_in_the_code() -> set[str]:
    texts = (
        path.read_text(encoding="utf-8") for name in _PACKAGES for path in (ROOT / name).rglob("*") if path.suffix in _SOURCE
    )
    return {word for text in texts for word in re.findall(r"\w+", text)}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_settings_in_prose_are_keys_that_take_that_value(page: Path) -> None:
    wrong = []
    known: set[Struct] = config_structs() | {Manifest}
    for word in code_words(page):
        key, equals, _ = word.partition(" = ")
        if equals and _KEY.fullmatch(key) and "…" not in word:
            value = tomllib.loads(f"x = {word.partition(' = ')[2]}")["x"]
            if not any(takes(struct, key.rpartition(".")[2], value) for struct in known):
                wrong.append(word)
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_keys_by_their_table_exist(page: Path) -> None:
    tops = {key for root in ROOTS for key in root.__struct_fields__}
    dotted = [word.split(".") for word in code_words(page) if _KEY.fullmatch(word) and "." in word]
    assert [path for path in dotted if path[0] in tops and path[-1] not in _FILES and not is_key(path, set(ROOTS))] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_tables_in_prose_exist(page: Path) -> None:
    named = [m[1] for word in code_words(page) if (m := re.fullmatch(r"\[{1,2}([a-z_.]+)\]{1,2}", word))]
    everywhere, of_the_build = config_structs(), (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert [name for name in named if not is_key(name.split("."), everywhere) and f"[{name}]" not in of_the_build] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_names_with_an_underscore_are_names_in_the_code(page: Path) -> None:
    """Keys, columns, gates, classes: what was renamed there is noticed here."""
    named = {word for word in code_words(page) if re.fullmatch(r"[A-Za-z]\w*_\w*", word)}
    metrics = {word for word in named if word.startswith("tocsin_")}  # test_commands.py asks the hub
    assert sorted(named - metrics - words_in_the_code() - _OF_OTHERS) == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_of_the_project_exist(page: Path) -> None:
    named = [word for word in code_words(page) if re.fullmatch(rf"({'|'.join(_PACKAGES)}|docs)/[\w./-]+", word)]
    assert [name for name in named if not (ROOT / name).exists()] == []


# --- figures ------------------------------------------------------------------------------------------------------


def numbers(text: str, *, french: bool = False) -> set[float]:
    """Every number of `text`: 1,209,600 and .87 in English, 1 209 600 and 0,87 in French."""
    text = re.sub(r"(?<=\d)[ \u00a0\u202f](?=\d{3}\b)", "", text) if french else re.sub(r"(?<=\d),(?=\d{3}\b)", "", text)
    return {float(found.replace(",", ".")) for found in re.findall(r"\d+[.,]\d+|[.,]?\d+", text)}


def test_numbers_are_read_in_both_languages() -> None:
    assert numbers("1,209,600 windows, .442 and 13.9 ms") == {1_209_600, 0.442, 13.9}
    assert numbers("1\u202f209 600 fenêtres, 0,442 et 13,9 ms", french=True) == {1_209_600, 0.442, 13.9}


@pytest.mark.parametrize("table", tables("figures"), ids=lambda table: table.where)
def test_figures_are_those_of_the_pages_of_what_was_measured(table: Any) -> None:
    measured = "".join((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("benchmarks.md", "detection.md"))
    told = numbers(" ; ".join(cell for row in table.cells for cell in row), french=".fr." in table.where)
    assert told
    assert sorted(told - numbers(measured)) == []
