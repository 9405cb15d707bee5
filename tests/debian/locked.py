"""What a bare installation takes on another machine, as locked: the wheels that there are for it, and where there are none.

pip resolves for the machine that it runs on, markers and all. Here the lock (`constraints.txt`) is walked with the markers
of the other machine, and pip only downloads.
"""

from __future__ import annotations

import email
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.debian.root import Unavailable, cache_dir
from tests.debian.wheels import CHECKOUT, pip


@dataclass(frozen=True)
class Target:
    """`machine` as `uname -m` says it there; `python`, say 3.11; `glibc`: the y of its 2.y."""

    machine: str
    python: str
    glibc: int

    def wants(self, requirement: Requirement) -> bool:
        environment = {
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
            "os_name": "posix",
            "sys_platform": "linux",
            "platform_system": "Linux",
            "platform_machine": self.machine,
            "python_version": self.python,
            "python_full_version": f"{self.python}.0",
            "extra": "",
        }
        return requirement.marker is None or requirement.marker.evaluate(environment)

    @property
    def tags(self) -> list[str]:
        """Of the wheels that it can take, the newest first (PEP 600)."""
        manylinux = [f"manylinux_2_{minor}_{self.machine}" for minor in range(self.glibc, 16, -1)]
        return [*manylinux, f"manylinux2014_{self.machine}", f"linux_{self.machine}"]


@dataclass(frozen=True)
class Locked:
    """`folder`: what there is to install from. `versions`: of all packages. `without_wheel`: names of those with none."""

    folder: Path
    versions: dict[str, str]
    without_wheel: list[str]

    @property
    def needs_glibc(self) -> int:
        """The y of the 2.y that the most demanding wheel asks for."""
        tagged = [re.findall(r"manylinux_2_(\d+)_", wheel.name) for wheel in self.folder.glob("*.whl")]
        return max(min(map(int, minors)) for minors in tagged if minors)


def locked_install(target: Target) -> Locked:
    """Download it, or take it from the cache. Raises Unavailable; LookupError for a package that the lock does not have."""
    wanted = f"{target}\n{_project()['dependencies']}\n{(CHECKOUT / 'constraints.txt').read_text()}"
    key = hashlib.sha256(wanted.encode()).hexdigest()[:12]
    folder = cache_dir() / f"locked-{target.machine}-{target.python}-{key}"
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".locked-") as partial:
            new = Path(partial) / "locked"
            new.mkdir()
            versions, without_wheel = _walk(target, new, Path(partial))
            (new / "locked.json").write_text(json.dumps({"versions": versions, "without_wheel": without_wheel}))
            new.rename(folder)
    found = json.loads((folder / "locked.json").read_text())
    return Locked(folder, found["versions"], found["without_wheel"])


def _walk(target: Target, folder: Path, scratch: Path) -> tuple[dict[str, str], list[str]]:
    pins = _pins(target)
    to_do = [Requirement(line) for line in _project()["dependencies"]]
    versions: dict[str, str] = {}
    without_wheel = []
    while to_do:
        requirement = to_do.pop()
        name = canonicalize_name(requirement.name)
        if name in versions or not target.wants(requirement):
            continue
        versions[name] = pins[name]
        wheel = _download(f"{name}=={pins[name]}", folder, target)
        if wheel is None:
            without_wheel.append(name)
            other = replace(target, machine="x86_64")  # what it needs is the same there
            wheel = _download(f"{name}=={pins[name]}", scratch, other)
        to_do += _needs(wheel) if wheel else _source(name, pins[name], folder)
    if without_wheel:
        pip("download", "--no-deps", "--dest", str(folder), f"setuptools=={pins['setuptools']}")  # to build what has none
    return dict(sorted(versions.items())), sorted(without_wheel)


def _project() -> dict[str, list[str]]:
    loaded: dict[str, list[str]] = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    return loaded


def _pins(target: Target) -> dict[str, str]:
    """The one version of each package that the lock allows on `target`."""
    locked = [Requirement(line) for line in (CHECKOUT / "constraints.txt").read_text().splitlines() if line.strip()]
    return {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in locked if target.wants(pin)}


def _download(pin: str, folder: Path, target: Target) -> Path | None:
    """The wheel for `target`; None where there is none."""
    before = set(folder.glob("*.whl"))
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--dest", str(folder), "--python-version", target.python, "--implementation=cp"]
    command += [*(f"--platform={tag}" for tag in target.tags), pin]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and "No matching distribution found" not in done.stderr:
        raise Unavailable(f"pip download {pin}: {' '.join(done.stderr.split())[-300:]}")
    return next(iter(set(folder.glob("*.whl")) - before), None)


def _needs(wheel: Path) -> Iterable[Requirement]:
    with zipfile.ZipFile(wheel) as archive:
        metadata = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return [Requirement(line) for line in email.message_from_bytes(archive.read(metadata)).get_all("Requires-Dist", [])]


def _source(name: str, version: str, folder: Path) -> Iterable[Requirement]:
    """Only packages without any wheel come here: small ones, of pure Python, that need nothing."""
    pip("download", "--no-deps", f"--no-binary={name}", "--dest", str(folder), f"{name}=={version}")
    return []
