"""Reading JSON that came from elsewhere: cards of bundles and records of runs. What is absent or of another type is None or
empty; nothing is guessed, and nothing of it is markup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from hub.web.words import label

MAX_TEXT: Final = 400
_MOST: Final = 1e300


def part(whole: Any, *names: str) -> Mapping[str, Any]:
    """The mapping at that path; an empty one where there is none."""
    for name in names:
        whole = whole.get(name) if isinstance(whole, Mapping) else None
    return whole if isinstance(whole, Mapping) else {}


def number(value: Any) -> float | None:
    """A number that a float holds; True is none."""
    if isinstance(value, int | float) and not isinstance(value, bool) and -_MOST <= value <= _MOST:
        return float(value)
    return None


def whole(value: Any) -> int | None:
    """A whole number; True is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def numbers(value: Any, n: int | None = None, most: int = 200) -> list[float]:
    """A list of finite numbers, of length `n` where that is given; [] where it is anything else."""
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) > most or (n is not None and len(value) != n):
        return []
    found = [number(each) for each in value]
    return [each for each in found if each is not None] if None not in found else []


def text(value: Any) -> str:
    """As a person reads it, cut at MAX_TEXT characters; "" for nothing."""
    if value is None or value == "":
        return ""
    if isinstance(value, Mapping):
        told = ", ".join(f"{label(str(name))} {text(each) or '–'}" for name, each in value.items())
    elif isinstance(value, Sequence) and not isinstance(value, str):
        told = ", ".join(text(each) for each in value)
    elif isinstance(value, int) and not isinstance(value, bool):
        told = f"{value:,}"
    elif isinstance(value, float):
        told = f"{value:,.6g}"
    else:
        told = str(value)
    return told if len(told) <= MAX_TEXT else f"{told[: MAX_TEXT - 1]}…"
