"""What the pages tell to type is typed: page by page, in the order in which it stands there, in a sandbox.

What is not typed is named below, with why; a command that is new in the pages is run unless somebody says so there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.docs.pages import PAGES, commands
from tests.docs.sandbox import Sandbox, make_template

_SERVES, _NETWORK, _SLOW = "runs until it is stopped", "needs a hub on the network", "takes too long here"
NOT_RUN: Final[dict[tuple[str, ...], str]] = {
    ("agent", "run"): _SERVES,
    ("hub", "serve"): _SERVES,
    ("demo",): _SLOW,
    ("hub", "train"): _SLOW,
    ("agent", "enrol"): _NETWORK,
    ("agent", "rotate-key"): _NETWORK,
}
EXIT_CODES: Final[dict[tuple[str, ...], int]] = {  # of what has nobody to answer it here
    ("agent", "status"): 3,
    ("agent", "recommission"): 3,
}


def beginning(arguments: list[str], table: dict[tuple[str, ...], object]) -> tuple[str, ...] | None:
    """The entry of `table` that `arguments` begin with."""
    return next((words for words in table if tuple(arguments[: len(words)]) == words), None)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    make_template(folder)
    return folder


@pytest.mark.parametrize("page", [page for page in PAGES if any(commands(page))], ids=lambda page: page.name)
def test_what_a_page_tells_to_type_works(page: Path, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox = Sandbox(tmp_path, template)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOCSIN_CONFIG", str(tmp_path / "tocsin.toml"))
    wrong = []
    for line, arguments in commands(page):
        if beginning(arguments, NOT_RUN) is None:
            done = sandbox.run(arguments)
            expected = EXIT_CODES.get(beginning(arguments, EXIT_CODES) or (), 0)
            if done.exit_code != expected:
                wrong.append(f"{line}\n    {done.exit_code} {done.exception or done.output}")
    assert wrong == [], "\n".join(wrong)
