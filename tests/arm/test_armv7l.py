"""32-bit ARM: what a bare installation takes there is resolved, and the wheels that there are, are looked at.

It is not run: some packages have no wheels for it on PyPI, and to build them under emulation takes too long.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.debian.locked import Locked, Target, locked_install
from tests.debian.root import Unavailable

pytestmark = [pytest.mark.arm, pytest.mark.slow, pytest.mark.timeout(600)]

_BOOKWORM = Target("armv7l", "3.11", 36)
_ELF32, _ARM = 1, 40  # class and machine in an ELF header
_HARD_FLOAT = 0x400  # in its flags


@pytest.fixture(scope="module")
def locked() -> Locked:
    try:
        return locked_install(_BOOKWORM)
    except Unavailable as error:
        pytest.fail(str(error))


def test_the_older_runtime_is_taken_and_the_numpy_that_it_is_built_for(locked: Locked) -> None:
    assert locked.versions["tflite-runtime"].startswith("2.14")
    assert locked.versions["numpy"].startswith("1.")
    assert "ai-edge-litert" not in locked.versions


def test_these_have_no_wheel_on_pypi_as_the_documentation_says(locked: Locked, note: Callable[[str, str], None]) -> None:
    note("bookworm, 32 bit: no wheel on PyPI for", ", ".join(locked.without_wheel))
    assert locked.without_wheel == ["cffi", "cobs", "msgspec", "numpy", "psutil", "zstandard"]


def test_the_other_wheels_are_for_32_bit_arm_with_hard_float(locked: Locked) -> None:
    headers = {
        f"{wheel.name}: {name}": content[:52] for wheel in locked.folder.glob("*.whl") for name, content in _libraries(wheel)
    }
    assert any("tflite_runtime" in name for name in headers)
    assert any("cryptography" in name for name in headers)
    for name, header in headers.items():
        assert (header[4], int.from_bytes(header[18:20], "little")) == (_ELF32, _ARM), name
        assert int.from_bytes(header[36:40], "little") & _HARD_FLOAT, name


def _libraries(wheel: Path) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(wheel) as archive:
        return [(name, archive.read(name)) for name in archive.namelist() if name.endswith(".so") or ".so." in name]
