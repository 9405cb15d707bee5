"""Small roots of Debian, made by debootstrap from where this machine's own apt gets its packages.

They are downloaded once and kept below TOCSIN_CACHE (default: in the system's folder for temporary files).
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"  # where debootstrap and what it calls are


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


def this_release() -> Release | None:
    """This machine's own; None where apt's sources do not name a mirror of it."""
    files = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    texts = (file.read_text() for file in files if file.suffix in (".list", ".sources") and file.is_file())
    return own_release(Path("/etc/os-release").read_text(), texts)


def why_not(*programs: tuple[str, str]) -> str | None:
    """What is missing here to make roots and run them with `programs`, each with its package; None where nothing is."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "running something in a root of its own takes Linux and root"
    for program, package in (("debootstrap", "debootstrap"), ("unshare", "util-linux"), *programs):
        if shutil.which(program, path=_PATH) is None:
            return f"no {program} here: apt-get install {package}"
    return None


def cache_dir() -> Path:
    """Where downloads are kept. Ours alone: what lies in it is run as root."""
    folder = Path(os.environ.get("TOCSIN_CACHE") or Path(tempfile.gettempdir()) / "tocsin-cache")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    stat = folder.stat()
    if stat.st_uid != os.geteuid() or stat.st_mode & 0o022:
        raise Unavailable(f"{folder} can be written by others; set TOCSIN_CACHE to a folder of your own")
    return folder


def cached_root(release: Release, architecture: str, packages: str) -> Path:
    """The root as debootstrap left it, with `packages` (comma-separated) in it; copy it, do not run it.

    `architecture` as Debian names it. Raises Unavailable where it cannot be downloaded.
    """
    root = cache_dir() / f"{release.suite}-{architecture}-{hashlib.sha256(packages.encode()).hexdigest()[:8]}"
    if root.exists():
        return root
    with tempfile.TemporaryDirectory(dir=root.parent, prefix=f".{root.name}-") as partial:
        new = Path(partial) / "root"
        program = str(shutil.which("debootstrap", path=_PATH))
        # In a mount namespace of its own, so that one that is killed leaves nothing mounted.
        command = ["unshare", "--mount", program, f"--arch={architecture}", "--variant=minbase", f"--include={packages}"]
        command += [release.suite, str(new), *filter(None, [release.uri])]
        environment = {**os.environ, "PATH": _PATH}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if done.returncode:
            raise Unavailable(f"debootstrap: {' '.join((done.stdout + done.stderr).split())[-300:]}")
        new.rename(root)
    return root


def own_architecture() -> str:
    """This machine's, as Debian names it."""
    return subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True).stdout.strip()


def copied_root(cached: Path, root: Path) -> None:
    """A copy to run and change; with device files and owners."""
    subprocess.run(["cp", "--archive", "--reflink=auto", str(cached), str(root)], check=True)
