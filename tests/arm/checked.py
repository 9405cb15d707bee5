"""When `make test-arm` last passed, and of what: `checked.json`, which is kept with the sources.

python -m tests.arm.checked        exit code 0 where what it was run on is what the checkout has now
"""

from __future__ import annotations

import hashlib
import json
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path

from tests.debian.wheels import CHECKOUT

RECORD = Path(__file__).parent / "checked.json"
_COVERED = ("agent", "models", "tocsin", "tests/arm", "tests/debian", "constraints.txt")


def digest() -> str:
    """Of all that the result depends on: what is on the device, what it is installed from, and the check itself."""
    sha256 = hashlib.sha256(json.dumps(_packaging(), sort_keys=True).encode())
    for path in sorted(found for name in _COVERED for found in _files(CHECKOUT / name)):
        content = path.read_bytes()
        sha256.update(f"{path.relative_to(CHECKOUT)} {len(content)}\n".encode())
        sha256.update(content)
    return sha256.hexdigest()


def _packaging() -> list[object]:
    """What of pyproject.toml makes the wheel and its dependencies; tools and extras are not on the device."""
    found = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    project = {key: value for key, value in found["project"].items() if key != "optional-dependencies"}
    return [found["build-system"], project, found["tool"]["setuptools"]]


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return [file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts and file != RECORD]


def record(found: dict[str, str]) -> None:
    """Note that it passed today."""
    content = {"sha256": digest(), "date": datetime.now(UTC).date().isoformat(), "found": found}
    RECORD.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def is_current() -> bool:
    return RECORD.exists() and json.loads(RECORD.read_text())["sha256"] == digest()


if __name__ == "__main__":
    sys.exit(not is_current())
