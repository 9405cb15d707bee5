"""A small root of this machine's own Debian release, with systemd in it, and what the agent needs to be installed there.

Both are downloaded once and kept below TOCSIN_CACHE (default: in the system's folder for temporary files). The packages
come from where this machine's own apt gets them.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
_PACKAGES = "systemd,systemd-sysv,python3,python3-venv"
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"  # where debootstrap and what it calls are
_PARTS = ("agent", "hub", "models", "firmware_sim", "tocsin", "pyproject.toml", "LICENSE", "README.md")


class Unavailable(Exception):
    """What this test needs cannot be had here; the text says what and why."""


@dataclass(frozen=True)
class Release:
    """A release and where its packages are."""

    suite: str
    uri: str


def own_release(os_release: str, sources: Iterator[str]) -> Release | None:
    """This machine's release, from /etc/os-release and the texts of apt's sources files, in either of apt's formats."""
    found = re.search(r"^VERSION_CODENAME=\"?([a-z]+)", os_release, re.MULTILINE)
    if not found:
        return None
    suite = found[1]
    for text in sources:
        for uris, suites, components in _entries(text):
            plain = [uri for uri in uris if uri.startswith(("http://", "https://", "file:"))]
            if suite in suites and "main" in components and plain:
                return Release(suite, plain[0])
    return None


def _entries(text: str) -> Iterator[tuple[list[str], list[str], list[str]]]:
    """URIs, suites and components of each source of binary packages in `text`."""
    text = re.sub(r"^#.*\n?", "", text, flags=re.MULTILINE)
    for line in re.findall(r"^deb\s+(?:\[[^\]]*\]\s+)?(.*)$", text, re.MULTILINE):
        uri, suite, *components = line.split()
        yield [uri], [suite], components
    for paragraph in re.split(r"\n\s*\n", text):
        fields = {
            key.lower(): value.split() for key, value in re.findall(r"^([\w-]+):(.*(?:\n[ \t].*)*)", paragraph, re.MULTILINE)
        }
        if "deb" in fields.get("types", []) and fields.get("enabled") != ["no"]:
            yield fields.get("uris", []), fields.get("suites", []), fields.get("components", [])


def why_not() -> str | None:
    """What is missing here for a container with systemd; None where nothing is."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "booting a container with systemd takes Linux and root"
    for command, package in (
        ("debootstrap", "debootstrap"),
        ("systemd-nspawn", "systemd-container"),
        ("nsenter", "util-linux"),
    ):
        if shutil.which(command, path=_PATH) is None:
            return f"no {command} here: apt-get install {package}"
    if _release() is None:
        return "apt's sources on this machine do not name a mirror of its own release"
    return None


def _release() -> Release | None:
    files = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    texts = (file.read_text() for file in files if file.suffix in (".list", ".sources") and file.is_file())
    return own_release(Path("/etc/os-release").read_text(), texts)


def cache_dir() -> Path:
    """Where downloads are kept. Ours alone: what lies in it is run as root."""
    folder = Path(os.environ.get("TOCSIN_CACHE") or Path(tempfile.gettempdir()) / "tocsin-cache")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    stat = folder.stat()
    if stat.st_uid != os.geteuid() or stat.st_mode & 0o022:
        raise Unavailable(f"{folder} can be written by others; set TOCSIN_CACHE to a folder of your own")
    return folder


def cached_root() -> Path:
    """The root as debootstrap left it; copy it, do not boot it. Raises Unavailable where it cannot be downloaded."""
    release = _release()
    assert release is not None
    root = cache_dir() / f"{release.suite}-{platform.machine()}"
    if root.exists():
        return root
    with tempfile.TemporaryDirectory(dir=root.parent, prefix=f".{root.name}-") as partial:
        new = Path(partial) / "root"
        program = str(shutil.which("debootstrap", path=_PATH))
        command = [program, "--variant=minbase", f"--include={_PACKAGES}", release.suite, str(new), release.uri]
        environment = {**os.environ, "PATH": _PATH}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if done.returncode:
            raise Unavailable(f"debootstrap: {' '.join((done.stdout + done.stderr).split())[-300:]}")
        new.rename(root)
    return root


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
        _pip("wheel", "--constraint", str(CHECKOUT / "constraints.txt"), "--wheel-dir", str(new), str(built))
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
    _pip("wheel", "--no-deps", "--wheel-dir", str(folder), str(copy))
    return next(folder.glob("tocsin-*.whl"))


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"pip {arguments[0]}: {' '.join(done.stderr.split())[-300:]}")
