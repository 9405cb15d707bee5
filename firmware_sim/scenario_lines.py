"""Where a key of a scenario stands in its file: what TOML's readers do not tell. Pure."""

from __future__ import annotations

import re

_HEADER = re.compile(r"\s*\[\[\s*([\w.]+)\s*\]\]|\s*\[\s*([\w.]+)\s*\]")
_PLACE = re.compile(r"(?P<tables>[\w.]+)\[(?P<number>\d+)\](?:\.(?P<item>\w+))?$|(?:(?P<table>[\w.]+)\.)?(?P<key>\w+)$")


def line_of(text: str, place: str) -> int | None:
    """The line, from 1, of `key`, `table.key`, `tables[2]` or `tables[2].key`; of its table where the key is not there; None =
    not found.

    Tables that are written inline are not looked into, and a string over several lines that looks like a header may mislead.
    """
    found = _PLACE.match(place)
    if found is None:
        return None
    number, key = found["number"], found["key"] or found["item"]
    name = found["tables"] or found["table"] or ""
    table, seen, header_at = "", -1, None
    for at, line in enumerate(text.splitlines(), 1):
        header = _HEADER.match(line)
        if header:
            table = header[1] or header[2]
            seen += bool(header[1]) and table == name
            if name and table == name and (number is None or seen == int(number)):
                header_at = at
        elif key and re.match(rf"\s*{re.escape(key)}\s*=", line) and table == name and (number is None or seen == int(number)):
            return at
    return header_at
