"""What the pages tell to type is typed: page by page, in the order in which it stands there, in a sandbox.

What is not typed is named below, with why; a command that is new in the pages is run unless somebody says so there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import pytest

from tests.docs.pages import PAGES, commands, name_of
from tests.docs.sandbox import Sandbox, make_template

_SERVES, _NETWORK, _REAL_TIME = "runs until it is stopped", "needs a hub on the network", "lives in real time"
NOT_RUN: Final[dict[tuple[str, ...], str]] = {
    ("agent", "run"): _SERVES,
    ("hub", "serve"): _SERVES,
    ("hub", "rollout", "status", "--watch"): _SERVES,
    ("sim", "broker"): _SERVES,
    ("sim", "replay"): "waits for somebody who reads",
    ("sim", "run"): _REAL_TIME,
    ("demo",): _REAL_TIME,
    ("agent", "enrol"): _NETWORK,
    ("agent", "install"): "needs root and systemd",
    ("agent", "act", "--really"): "switches a relay",
    ("hub", "train"): "TensorFlow takes too long to import",
    ("models", "import"): "needs a model from elsewhere",
    ("hub", "notify", "test"): "tells people elsewhere",
    ("sim", "fleet"): _NETWORK,
    ("sim", "judge"): "needs what the simulator has written",
}
RUN: Final = {("agent", "install", "--dry-run"), ("sim", "run", "--virtual")}  # of these, all the same
EXIT_CODES: Final[dict[tuple[str, ...], int]] = {  # of what has nobody to answer it here
    ("agent", "status"): 3,
    ("agent", "recommission"): 3,
    ("agent", "top"): 3,
}
BEFORE: Final[dict[tuple[str, ...], Callable[[Sandbox], None]]] = {  # what the page has told in words
    ("hub", "sign", "--export"): Sandbox.take_the_profile_s_key_away,
}
# The French README tells the same to type as the English one: test_tongues.py.
TOLD: Final = [page for page in PAGES if page.name != "README.fr.md" and any(commands(page))]


def entry(arguments: list[str], table: Iterable[tuple[str, ...]]) -> tuple[str, ...] | None:
    """The one of `table` that is meant by `arguments`: they begin with its words and have its options anywhere."""
    for told in table:
        words = [word for word in told if not word.startswith("--")]
        if arguments[: len(words)] == words and set(told) <= set(arguments):
            return told
    return None


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    make_template(folder)
    return folder


@pytest.mark.parametrize("page", TOLD, ids=name_of)
def test_what_a_page_tells_to_type_works(page: Path, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox = Sandbox(tmp_path, template)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOCSIN_CONFIG", str(tmp_path / "tocsin.toml"))
    wrong = []
    for line, arguments in commands(page):
        if entry(arguments, NOT_RUN) is None or entry(arguments, RUN):
            if before := entry(arguments, BEFORE):
                BEFORE[before](sandbox)
            done = sandbox.run(arguments)
            expected = EXIT_CODES.get(entry(arguments, EXIT_CODES) or (), 0)
            if done.exit_code != expected:
                wrong.append(f"{line}\n    {done.exit_code} {done.exception or done.output}")
    assert wrong == [], "\n".join(wrong)


def test_what_goes_wrong_would_be_noticed(template: Path, tmp_path: Path) -> None:
    assert Sandbox(tmp_path, template).run(["hub", "rollout", "start", "pump-v7-nope", "--data", "/srv/tocsin"]).exit_code == 1


def test_nothing_is_excepted_that_no_page_tells() -> None:
    told = [arguments for page in TOLD for _, arguments in commands(page)]
    excepted = [*NOT_RUN, *RUN, *EXIT_CODES, *BEFORE]
    assert [words for words in excepted if not any(entry(arguments, [words]) for arguments in told)] == []
