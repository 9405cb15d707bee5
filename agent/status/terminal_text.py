"""Text for a terminal: nothing that steers it, and no more cells than there are. Pure.

Text from elsewhere (a broker's refusal, a hub's reason, a name on a bus) is shown, never obeyed. Apart from `words.py`, so that
what this needs stays out of the agent's own memory.
"""

from __future__ import annotations

import unicodedata
from typing import Final

_STRAY: Final = "·"
_STEERING: Final = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")  # controls, turns of direction, breaks, what is no character


def printable(text: object) -> str:
    """`text` with a dot for each control character, escape, line break or turn of direction."""
    return "".join(_STRAY if unicodedata.category(char) in _STEERING else char for char in str(text))


def width(text: str) -> int:
    """In cells of a terminal: 2 for wide East Asian characters, 0 for those that combine with the one before."""
    return len(text) if text.isascii() else sum(_cells(char) for char in text)


def clip(text: str, cells: int) -> str:
    """`text` in at most `cells` cells, with an ellipsis where some is left out."""
    if width(text) <= cells:
        return text
    kept, used = [], 1  # the ellipsis
    for char in text:
        used += _cells(char)
        if used > cells:
            break
        kept.append(char)
    return "".join(kept) + "…" if cells > 0 else ""


def _cells(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
