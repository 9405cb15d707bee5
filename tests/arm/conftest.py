"""Only `make test-arm` runs these tests; what it found is recorded in `checked.json` (see `tests/arm/checked.py`)."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

from tests.arm.board import register_emulator
from tests.arm.checked import record
from tests.arm.golden import Case, Played, make_case, play, unpacked
from tests.arm.installed import SYSTEMS, System, install
from tests.debian.root import Unavailable, why_not
from tests.debian.wheels import built_wheel

_FOUND = pytest.StashKey[dict[str, str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record", action="store_true", help="note in tests/arm/checked.json what was found, if all passes")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_FOUND] = {}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "arm" in config.option.markexpr.split():
        return
    for item in items:
        if item.get_closest_marker("arm"):
            item.add_marker(pytest.mark.skip(reason="takes minutes and downloads; run make test-arm"))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    if session.config.getoption("--record", default=False) and exitstatus == 0 and not terminal.stats.get("skipped"):
        record(session.config.stash[_FOUND])


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Note what was found, for the record: `note(what, found)`."""
    return request.config.stash[_FOUND].__setitem__


def unavailable(reason: str) -> NoReturn:
    """Who asks for these tests must not take one that did not run for one that passed."""
    (pytest.fail if os.environ.get("TOCSIN_REQUIRE_ARM") else pytest.skip)(reason)


@dataclass(frozen=True)
class Bench:
    """The golden case, how it plays here, and the roots by the name of their release."""

    case: Case
    here: Played
    roots: dict[str, Path]


@pytest.fixture(scope="session")
def bench() -> Iterator[Bench]:
    if reason := why_not(("qemu-aarch64-static", "qemu-user-static")):
        unavailable(reason)
    folder = Path(tempfile.mkdtemp(prefix="tocsin-arm-"))
    try:
        register_emulator()
        yield _set_up(folder)
    except Unavailable as error:
        unavailable(str(error))
    finally:
        shutil.rmtree(folder)


def _set_up(folder: Path) -> Bench:
    wheel = built_wheel(folder)
    here = ["env", f"PYTHONPATH={unpacked(wheel, folder / 'unpacked')}", sys.executable, "-m", "tocsin"]
    (folder / "case").mkdir()

    def installed(system: System) -> Path:
        root = folder / system.suite / "root"
        root.parent.mkdir()
        install(system, wheel, root)
        return root

    with ThreadPoolExecutor() as pool:  # each waits for its emulated programs
        roots = pool.map(installed, SYSTEMS)
        case = make_case(folder / "case")
        played = play(case, folder / "here", lambda *arguments: [*here, *arguments], folder / "here")
        return Bench(case, played, dict(zip((system.suite for system in SYSTEMS), roots, strict=True)))
