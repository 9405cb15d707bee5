"""The documentation as data: its code blocks, its checked tables, its headings and links.

A code block's info string says what it is (`toml device`, `console`, …); a comment above a table says what it must match:

    <!-- struct: module:Class -->     the first column names exactly the fields of that struct
    <!-- columns: NAME -->            … the columns of that table of the lake, or of the backtest's file
    <!-- routes -->                   … the hub's HTTP routes, the second their rights
    <!-- metrics -->                  … what the hub tells Prometheus
    <!-- figures -->                  each number of the table stands in the pages of what was measured
"""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
TONGUES: Final = (ROOT / "README.md", ROOT / "README.fr.md")
PAGES: Final = (*TONGUES, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
_FENCE: Final = re.compile(r"^( *)```([^\n`]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_TABLE: Final = re.compile(r"^<!-- (struct|columns|routes|metrics|figures)(?:: (\S+))? -->\n((?:\|.*\n)+)", re.MULTILINE)
_CODE: Final = re.compile(r"(?<![\\`])`([^`\n]+)`(?!`)")
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
        return f"{name_of(self.page)}:{self.line}"


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


def name_of(page: Path) -> str:
    """The page's path in the project."""
    return page.relative_to(ROOT).as_posix()


def blocks(*infos: str) -> list[Block]:
    """The blocks of all pages whose info string is one of `infos`; without any, all blocks."""
    found: list[Block] = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        here = [
            Block(page, m[2].strip(), textwrap.dedent(m[3]), text.count("\n", 0, m.start()) + 1) for m in _FENCE.finditer(text)
        ]
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


def prose(page: Path) -> str:
    """The page without its blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def code_words(page: Path) -> list[str]:
    """What stands in backticks in the page's prose and tables, in order."""
    return _CODE.findall(prose(page))


def commands(page: Path) -> Iterator[tuple[str, list[str]]]:
    """(line, arguments) of every `tocsin …` that the page's blocks tell to type, as a shell would pass them."""
    for line, words in typed(page):
        at = next((i for i, word in enumerate(words[:2]) if Path(word).name == "tocsin"), None)  # perhaps behind a sudo
        if at is not None:
            yield line, words[at + 1 :]


def typed(page: Path) -> Iterator[tuple[str, list[str]]]:
    """(line, words) of everything that the page's `console` and `sh` blocks tell to type."""
    for block in blocks("console", "sh"):
        if block.page != page:
            continue
        for line in block.text.replace("\\\n", " ").splitlines():
            if block.info == "console" and not line.startswith("$ "):
                continue
            words = shlex.split(line.removeprefix("$ "), comments=True)
            words = words[: min((words.index(sign) for sign in "<>" if sign in words), default=len(words))]
            if words:
                yield line, words


def mentioned(page: Path) -> Iterator[tuple[str, list[str]]]:
    """(text, arguments) of every `tocsin …` in the page's prose; an ellipsis and what stands behind it is left out."""
    for text in code_words(page):
        if text.startswith("tocsin "):
            yield text, shlex.split(text.partition("…")[0])[1:]


def links(page: Path) -> list[str]:
    """Targets of the page's links and pictures that are no URLs."""
    text = prose(page)
    return [
        target
        for target in [*_LINK.findall(text), *re.findall(r'<img src="([^"]+)"', text)]
        if not re.match(r"[a-z]+:", target)
    ]


def anchors(page: Path) -> set[str]:
    """The page's headings as GitHub turns them into anchors, and the ids of its own."""
    text = prose(page)
    headings = [heading.replace("`", "").strip().lower() for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)]
    own = set(re.findall(r'<a id="([^"]+)"></a>', text))
    return own | {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in headings}
