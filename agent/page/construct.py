"""The page, where one is configured; only then is anything of it imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from agent.page.config import PageConfig

if TYPE_CHECKING:
    from agent.page.server import Page


def make_page(config: PageConfig | None, status: Callable[[], Mapping[str, Any]]) -> Page | None:
    """`status`: how the agent is; called from the page's threads."""
    if config is None:
        return None
    from agent.page.server import Page

    return Page(config, status)
