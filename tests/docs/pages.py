"""The documentation as data: its code blocks, its checked tables, its headings and links.

A code block's info string says what it is (`toml device`, `console`, …); a comment above a table says what it must match:

    <!-- struct: module:Class -->     the first column names exactly the fields of that struct
    <!-- columns: NAME -->            … the columns of that table of the lake, or of the backtest's file
    <!-- routes -->                   … the hub's HTTP routes, the second their rights
    <!-- metrics -->                  … what the hub tells Prometheus
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
PAGES: Final = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
_FENCE: Final = re.compile(r"^```([^\n`]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_TABLE: Final = re.compile(r"^<!-- (struct|columns|routes|metrics)(?:: (\S+))? -->\n((?:\|.*\n)+)", re.MULTILINE)
_LINK: Final = re.compile(r"(?<!`)\[(?:[^\[\]]|`[^`]*`)*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block. `info`: what stands behind the fence, such as `toml device`."""

    page: Path
    info: str
    text: str
    line: int

    @property
    def where(self) -> str:
        return f"{self.page.name}:{self.line}"


@dataclass(frozen=True)
class CheckedTable:
    """A table under a comment. `cells`: rows below the header, as they are written."""

    where: str
    kind: str
    target: str
    header: list[str]
    cells: list[list[str]]

    def names(self) -> list[str]:
        """Everything in backticks in the first column, in order."""
        return [name for row in self.cells for name in re.findall(r"`([^`]+)`", row[0])]

    def defaults(self) -> dict[str, str]:
        """What the column `default` says of each name; empty where there is no such column."""
        if "default" not in self.header:
            return {}
        at = self.header.index("default")
        return {name: row[at] for row in self.cells for name in re.findall(r"`([^`]+)`", row[0])}


def blocks(*infos: str) -> list[Block]:
    """The blocks of all pages whose info string is one of `infos`; without any, all blocks."""
    found: list[Block] = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        here = [Block(page, m[1].strip(), m[2], text.count("\n", 0, m.start()) + 1) for m in _FENCE.finditer(text)]
        found += [block for block in here if not infos or block.info in infos]
    return found


def tables(kind: str) -> list[CheckedTable]:
    """The checked tables of that kind, of all pages."""
    found = []
    for page in PAGES:
        for match in _TABLE.finditer(page.read_text(encoding="utf-8")):
            if match[1] == kind:
                header, _, *rows = (_cells(line) for line in match[3].splitlines())
                found.append(CheckedTable(f"{page.name}: {match[2] or kind}", kind, match[2] or "", header, rows))
    return found


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


def commands() -> Iterator[tuple[str, list[str]]]:
    """(where, arguments) of every `tocsin …` in a console block, as a shell would pass them."""
    for block in blocks("console"):
        for line in block.text.replace("\\\n", " ").splitlines():
            if line.startswith("$ "):
                words = shlex.split(line[2:], comments=True)
                words = words[: min((words.index(sign) for sign in "<>" if sign in words), default=len(words))]
                if Path(words[0]).name == "tocsin":
                    yield f"{block.where}: {line}", words[1:]


def links(page: Path) -> list[str]:
    """Targets of the page's links that are no URLs."""
    prose = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return [target for target in _LINK.findall(prose) if not re.match(r"[a-z]+:", target)]


def anchors(page: Path) -> set[str]:
    """The page's headings as GitHub turns them into anchors."""
    prose = _FENCE.sub("", page.read_text(encoding="utf-8"))
    headings = [heading.replace("`", "").strip().lower() for heading in re.findall(r"^#+ (.+)$", prose, re.MULTILINE)]
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in headings}
