"""The wheel of this checkout, and those that a bare installation of it takes."""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.debian.root import Unavailable, cache_dir

CHECKOUT = Path(__file__).resolve().parents[2]
_PARTS = ("agent", "hub", "models", "firmware_sim", "tocsin", "pyproject.toml", "LICENSE", "README.md")


def cached_wheels(python_version: str) -> Path:
    """The wheels that a bare `pip install tocsin` takes, as locked, for Python `python_version`, say 3.11.

    Raises Unavailable.
    """
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    if own != python_version:
        raise Unavailable(f"the container has Python {python_version}; its wheels are downloaded by one of the same version")
    locked = (CHECKOUT / "pyproject.toml").read_bytes() + (CHECKOUT / "constraints.txt").read_bytes()
    wheels = cache_dir() / f"wheels-{python_version}-{platform.machine()}-{hashlib.sha256(locked).hexdigest()[:12]}"
    if wheels.exists():
        return wheels
    with tempfile.TemporaryDirectory(dir=wheels.parent, prefix=".wheels-") as partial:
        new = Path(partial) / "wheels"
        built = built_wheel(Path(partial))
        pip("wheel", "--constraint", str(CHECKOUT / "constraints.txt"), "--wheel-dir", str(new), str(built))
        (new / built.name).unlink()
        new.rename(wheels)
    return wheels


def built_wheel(folder: Path) -> Path:
    """The wheel of this checkout, built from a copy of it: an old build folder must not get into it."""
    copy = folder / "checkout"
    copy.mkdir()
    for name in _PARTS:
        part = CHECKOUT / name
        if part.is_dir():
            shutil.copytree(part, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif part.exists():
            shutil.copy2(part, copy / name)
    pip("wheel", "--no-deps", "--wheel-dir", str(folder), str(copy))
    return next(folder.glob("tocsin-*.whl"))


def pip(*arguments: str) -> None:
    """Run pip. Raises Unavailable."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"pip {arguments[0]}: {' '.join(done.stderr.split())[-300:]}")
