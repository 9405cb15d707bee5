"""Reading what a page's form sends: bounded, and never more than the fields that are asked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from urllib.parse import parse_qs

from starlette.requests import Request

from hub.api.bodies import read_body

MAX_FORM_BYTES: Final = 16 * 1024
_MAX_FIELDS: Final = 40


async def read_form(request: Request, names: Iterable[str]) -> dict[str, str]:
    """Of each name the first value, "" where there is none. Raises Problem where the body is too large or too slow."""
    body = await read_body(request, MAX_FORM_BYTES)
    try:
        fields = parse_qs(body.decode("utf-8"), keep_blank_values=True, max_num_fields=_MAX_FIELDS)
    except ValueError:  # not UTF-8, or too many fields
        fields = {}
    return {name: fields.get(name, [""])[0] for name in names}


def whole_number(text: str, least: int, most: int) -> int | None:
    """`text` as a number within these bounds; None where it is empty or none."""
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        return None
    number = int(text)
    return number if least <= number <= most else None
