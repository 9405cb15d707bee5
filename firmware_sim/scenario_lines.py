"""Where a key of a scenario stands in its file: what TOML's readers do not tell. Pure."""

from __future__ import annotations

import re

_HEADER = re.compile(r"\s*\[\[\s*([\w.]+)\s*\]\]|\s*\[\s*([\w.]+)\s*\]")
_NUMBERED = re.compile(r"(?P<tables>[\w.]+)\[(?P<number>\d+)\](?:\.(?P<keys>\w+(?:\.\w+)?))?$")
_PLAIN = re.compile(r"(?:(?P<table>[\w.]+)\.)?(?P<key>\w+)$")


def line_of(text: str, place: str) -> int | None:
    """The line, from 1, of `key`, `table.key`, `tables[2]`, `tables[2].key` or `tables[2].table.key`; of its table where the
    key is not there; None = not found.

    Tables that are written inline are not looked into, and a string over several lines that looks like a header may mislead.
    """
    numbered, plain = _NUMBERED.match(place), _PLAIN.match(place)
    if numbered:
        name, number, key = numbered["tables"], int(numbered["number"]), numbered["keys"] or ""
    elif plain:
        name, number, key = plain["table"] or "", None, plain["key"]
    else:
        return None
    outer, _, below = key.partition(".")
    inner = f"{name}.{outer}" if below else name
    table, seen, header_at = "", -1, None
    for at, line in enumerate(text.splitlines(), 1):
        header = _HEADER.match(line)
        if header:
            table = header[1] or header[2]
            seen += bool(header[1]) and table == name
        if number is not None and seen != number:
            continue
        if header and name and table in (name, inner):
            header_at = at
        elif not header and table == inner and _sets(line, below or outer):
            return at
        elif not header and below and table == name and _sets(line, outer):
            header_at = at
    return header_at


def _sets(line: str, key: str) -> bool:
    return bool(key) and re.match(rf"\s*{re.escape(key)}\s*=", line) is not None
