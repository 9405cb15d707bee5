"""Where a key of a scenario stands in its file: what TOML's readers do not tell. Pure."""

from __future__ import annotations

import re

_HEADER = re.compile(r"\s*\[\[\s*(\w+)\s*\]\]|\s*\[\s*([\w.]+)\s*\]")
_PLACE = re.compile(r"(\w+)(?:\[(\d+)\])?(?:\.(\w+))?(?:\.(\w+))?$")


def line_of(text: str, place: str) -> int | None:
    """The line, from 1, of `key`, `tables[2]`, `tables[2].key` or `tables[2].table.key`; of its table where the key is not
    there; None = not found.

    Tables that are written inline are not looked into, and a string over several lines that looks like a header may mislead.
    """
    found = _PLACE.match(place)
    if found is None:
        return None
    name, number, key, below = found.groups()
    if number is None:
        name, key = "", name
    inner = f"{name}.{key}" if below else None
    table, seen, header_at = "", -1, None
    for at, line in enumerate(text.splitlines(), 1):
        header = _HEADER.match(line)
        if header:
            table = header[1] or header[2]
            seen += bool(header[1]) and table == name
            if number is not None and table in (name, inner) and seen == int(number):
                header_at = at
        elif number is None or seen == int(number):
            if inner and table == inner and _sets(line, below):
                return at
            if key and table == name and _sets(line, key):
                if not below:
                    return at
                header_at = at
    return header_at


def _sets(line: str, key: str) -> bool:
    return re.match(rf"\s*{re.escape(key)}\s*=", line) is not None
