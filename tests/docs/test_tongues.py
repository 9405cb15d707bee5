"""The README in its languages: the same to type and to load, the same sections, the same pages to read on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, TONGUES, blocks, links, name_of, prose

ENGLISH, *OTHERS = TONGUES


def told(page: Path) -> list[tuple[str, str]]:
    """What the page's blocks say, without comments, which are translated."""
    return [(block.info, re.sub(r" *#.*", "", block.text)) for block in blocks() if block.page == page]


def targets(page: Path) -> list[str]:
    """Where the page's links lead, but for those to its other languages."""
    return [target for target in links(page) if not target.startswith("README")]


@pytest.mark.parametrize("page", OTHERS, ids=name_of)
def test_a_translation_tells_the_same_to_type_and_to_load(page: Path) -> None:
    assert told(page) == told(ENGLISH)


@pytest.mark.parametrize("page", OTHERS, ids=name_of)
def test_a_translation_is_whole(page: Path) -> None:
    assert targets(page) == targets(ENGLISH)
    assert re.findall(r"^#+ ", prose(page), re.MULTILINE) == re.findall(r"^#+ ", prose(ENGLISH), re.MULTILINE)
    assert prose(page).count("\n|") == prose(ENGLISH).count("\n|")
    assert prose(page).count("\n- ") == prose(ENGLISH).count("\n- ")


def test_each_language_leads_to_the_others() -> None:
    for page in TONGUES:
        assert {other.name for other in TONGUES if other != page} <= set(links(page))


def test_every_page_is_in_the_index() -> None:
    index = ROOT / "docs" / "README.md"
    there = {page.name for page in (ROOT / "docs").glob("*.md")} - {index.name}
    assert there - {target.partition("#")[0] for target in links(index)} == set()
