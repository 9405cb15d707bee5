"""The questions of the test set, and whether an answer is right: by what the files say, never by the code that answers."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from hub.ask.engine import AskEngine
from hub.ask.names import Names
from hub.ask.question import Language
from hub.ask.sql import to_sql
from hub.ask.understand import understand
from tests.ask.seeding import NOW_NS, ZONE

HERE: Final = Path(__file__).parent


@dataclass(frozen=True)
class Asked:
    """One question, and what the file says of its answer."""

    language: Language
    ask: str
    part: str
    expected: Mapping[str, Any]


def questions(language: Language) -> list[Asked]:
    told = tomllib.loads((HERE / f"questions_{language}.toml").read_text(encoding="utf-8"))["question"]
    return [Asked(language, each["ask"], each["part"], each) for each in told]


def fault(asked: Asked, engine: AskEngine, names: Names) -> str:
    """What is wrong with the answer; "" where it is right. The language is found out, as for anybody who asks."""
    understood = understand(asked.ask, names, NOW_NS, ZONE)
    expected = asked.expected
    if understood.language != asked.language:
        return f"taken for {understood.language}"
    if expected.get("nothing"):
        return "" if understood.question is None else "something was understood"
    if list(understood.unknown) != expected.get("unknown", []):
        return f"not understood: {understood.unknown}"
    if understood.question is None:
        return "nothing was understood"
    if "unknown" in expected:
        return ""
    sql = to_sql(understood.question)
    result = engine.run(sql, ZONE)
    wrong = "; ".join(_wrong(expected, result.columns, result.rows))
    return f"{wrong}\n{sql}" if wrong else ""


def _wrong(expected: Mapping[str, Any], columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Iterator[str]:
    if "n_rows" in expected:
        if len(rows) != expected["n_rows"]:
            yield f"{len(rows)} rows"
            return
        last = dict(zip(columns, map(_plain, rows[-1]), strict=True))
        if any(last.get(name) != value for name, value in expected["last"].items()):
            yield f"the last row is {last}"
        return
    missing = [name for name in expected["columns"] if name not in columns]
    if missing:
        yield f"no column {missing} among {columns}"
        return
    at = [columns.index(name) for name in expected["columns"]]
    found = [[_plain(row[n]) for n in at] for row in rows]
    wanted = expected["rows"]
    if not expected.get("ordered"):
        found, wanted = sorted(found, key=str), sorted(wanted, key=str)
    if found != wanted:
        yield f"found {found}, not {wanted}"


def _plain(value: Any) -> Any:
    """Times to the minute in the asker's zone; the rest as it is."""
    if isinstance(value, datetime):
        return f"{value.astimezone(ZoneInfo(ZONE)):%Y-%m-%d %H:%M}"
    return f"{value:%Y-%m-%d}" if isinstance(value, date) else value
