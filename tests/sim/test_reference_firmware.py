"""The reference firmware runs as it is, under MicroPython where there is one and under this Python, and speaks the contract."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import firmware_sim
from models.contract.frames import DELIMITER, Frame, crc16, decode_frame, encode_frame

FOLDER = Path(firmware_sim.__file__).parent / "reference" / "pico"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tocsin_frame = load("tocsin_frame")


@given(st.binary(max_size=800))
def test_its_checksum_is_the_contracts(data: bytes) -> None:
    assert tocsin_frame.crc16(data) == crc16(data)


@given(
    st.integers(0, 2**16 - 1),
    st.integers(0, 2**63),
    st.integers(1, 2**32 - 1),
    st.integers(1, 4).flatmap(
        lambda n: st.lists(st.lists(st.floats(width=32), min_size=n, max_size=n), min_size=1, max_size=60)
    ),
)
def test_its_frames_are_the_contracts_byte_for_byte(seq: int, t0_us: int, period_us: int, rows: list[list[float]]) -> None:
    expected = encode_frame(Frame(seq, t0_us, period_us, np.array(rows, dtype=np.float32)))
    made = tocsin_frame.frame(seq, t0_us, period_us, rows)
    if np.isnan(rows).any():  # a NaN has many encodings
        assert np.array_equal(decode_frame(made[:-1]).values, np.array(rows, dtype=np.float32), equal_nan=True)
    else:
        assert made == expected


@pytest.mark.parametrize("interpreter", ["micropython", sys.executable], ids=["micropython", "python"])
def test_it_samples_on_a_grid_and_sends_whole_frames(interpreter: str) -> None:
    if shutil.which(interpreter) is None:
        pytest.skip("no micropython on PATH")
    before_us = time.time_ns() // 1000
    done = subprocess.run([interpreter, "main.py", "3"], cwd=FOLDER, capture_output=True, timeout=300, check=True)
    assert done.stderr == b""
    frames = [decode_frame(stuffed) for stuffed in done.stdout.split(DELIMITER) if stuffed]
    assert [frame.seq for frame in frames] == [0, 1, 2]
    for frame in frames:
        assert frame.period_us == 20_000
        assert frame.values.shape[1] == 2
        assert before_us <= frame.t0_us <= time.time_ns() // 1000
    values = np.concatenate([frame.values for frame in frames])  # of one sample each, where it is held up again and again
    assert 1600 < values[:, 0].min() < values[:, 0].max() < 1700
    assert 38 < values[:, 1].min() < values[:, 1].max() < 42


def test_a_sensor_that_fails_is_absent_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    main = load("main")

    def broken() -> float:
        raise OSError

    monkeypatch.setattr(main, "CHANNELS", (broken, lambda: 7.0))
    sent: list[bytes] = []
    main.run(sent.append, 1)
    values = decode_frame(sent[0][:-1]).values
    assert np.isnan(values[:, 0]).all()
    assert (values[:, 1] == 7).all()


def test_after_a_pause_a_new_grid_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    main = load("main")
    clock_us = 0
    reads = 0

    def sleep_us(us: int) -> None:
        nonlocal clock_us
        clock_us += us

    def read() -> float:
        nonlocal clock_us, reads
        reads += 1
        clock_us += 500_000 if reads == 10 else 100
        return float(reads)

    monkeypatch.setattr(main, "ticks_us", lambda: clock_us)
    monkeypatch.setattr(main, "since_us", lambda start: clock_us - start)
    monkeypatch.setattr(main, "sleep_us", sleep_us)
    monkeypatch.setattr(main, "CHANNELS", (read,))
    sent: list[bytes] = []
    main.run(sent.append, 3)
    assert [len(decode_frame(data[:-1]).values) for data in sent] == [10, 25, 25]
    assert clock_us == 9 * 20_000 + 500_000 + 50 * 20_000
