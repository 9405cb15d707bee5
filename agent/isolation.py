"""How the agent starts Python once more, for itself or for a child."""

from __future__ import annotations

import os
import sys


def isolation() -> list[str]:
    """Options for another interpreter, as this one was started; where that was by a script, the working directory stays out
    of its path."""
    if sys.flags.isolated:
        return ["-I"]
    by_module = bool(sys.path) and sys.path[0] in ("", os.getcwd())  # noqa: PTH109  # as the interpreter spells it
    return [] if by_module and not sys.flags.safe_path else ["-P"]
