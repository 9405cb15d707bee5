"""A root for arm64 with the agent's dependencies installed in it by its own pip, as on a Raspberry Pi."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.arm.board import PROCESSORS, Board
from tests.debian.locked import Locked, Target, locked_install
from tests.debian.root import Release, cache_dir, cached_root, copied_root, this_release

_PACKAGES = "python3,python3-venv"
_PYTHON = "/opt/tocsin/bin/python"


@dataclass(frozen=True)
class System:
    """A Debian release, which the Raspberry Pi OS of the same name is made of."""

    suite: str
    python: str
    glibc: int

    @property
    def target(self) -> Target:
        return Target("aarch64", self.python, self.glibc)


SYSTEMS = (System("bookworm", "3.11", 36), System("trixie", "3.13", 41))
_DEBIAN = frozenset(system.suite for system in SYSTEMS)  # this machine's own mirror has them all, or debootstrap's default


def install(system: System, wheel: Path, root: Path) -> None:
    """Make `root` with the agent's `wheel` in it. The network is not used there. Raises Unavailable."""
    copied_root(_with_dependencies(system), root)
    board = Board(root, PROCESSORS[0])
    shutil.copy2(wheel, root / "root")
    board.run(_PYTHON, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", f"/root/{wheel.name}")
    board.run(_PYTHON, "-m", "pip", "check")


def _with_dependencies(system: System) -> Path:
    """A root with all but the agent itself, kept: emulated, this takes longest. Raises Unavailable."""
    own = this_release()
    plain = cached_root(Release(system.suite, own.uri if own and own.suite in _DEBIAN else ""), "arm64", _PACKAGES)
    locked = locked_install(system.target)
    root = cache_dir() / f"{plain.name}-{locked.folder.name}"
    if not root.exists():
        with tempfile.TemporaryDirectory(dir=root.parent, prefix=".installed-") as partial:
            new = Path(partial) / "root"
            copied_root(plain, new)
            _install_dependencies(Board(new, PROCESSORS[0]), locked)
            new.rename(root)
    return root


def _install_dependencies(board: Board, locked: Locked) -> None:
    wheels = board.root / "root/wheels"
    shutil.copytree(locked.folder, wheels)
    board.run("python3", "-m", "venv", "/opt/tocsin")
    pins = [f"{name}=={version}" for name, version in locked.versions.items()]
    board.run(_PYTHON, "-m", "pip", "install", "--quiet", "--no-index", "--find-links=/root/wheels", "--no-deps", *pins)
    shutil.rmtree(wheels)
