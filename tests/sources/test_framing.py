"""Streams that are cut anywhere, torn, and flooded with garbage."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sources.config import SerialConfig
from agent.sources.decode import Tally
from agent.sources.framing import Framer, StreamDecoder
from agent.sources.serial_port import stream_decoder
from models.contract.frames import Frame, encode_frame
from models.contract.names import MAX_FRAME_BYTES
from tests.sources.conftest import KNOWN, NOW_NS, rows_of

CONFIGS = {
    "jsonl": SerialConfig(name="s", port="p", asset="pump-1"),
    "csv": SerialConfig(name="s", port="p", asset="pump-1", format="csv", columns=("t", "flow", "pressure")),
    "cobs": SerialConfig(name="s", port="p", asset="pump-1", format="cobs", columns=("flow", "pressure")),
}


def cobs_frame(seq: int, values: list[list[float]], t0_us: int = 1_700_000_000_000_000) -> bytes:
    return encode_frame(Frame(seq, t0_us, 10_000, np.array(values, dtype=np.float32)))


GOOD = {
    "jsonl": b'{"t": 1700000000.5, "flow": 1.5}\r\n{"flow": 2.5, "pressure": null}\n',
    "csv": b"\n1700000000.5,1.5,2\r\n1700000001,2.5,nan\n",
    "cobs": b"\x00" + cobs_frame(1, [[1, 2], [3, 4]]) + cobs_frame(2, [[5, 6]]),
}
formats = pytest.mark.parametrize("kind", list(GOOD))


def fed(decoder: StreamDecoder, chunks: list[bytes]) -> Tally:
    whole = Tally()
    for chunk in chunks:
        part = decoder.feed(chunk, NOW_NS)
        whole.readings += part.readings
        whole.n_unknown += part.n_unknown
        whole.n_lost += part.n_lost
        whole.frame_errors += part.frame_errors
    return whole


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(p % (len(data) + 1) for p in places), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


@formats
@given(places=st.lists(st.integers(0, 10_000)), garbage=st.binary(max_size=200))
def test_any_chunking_gives_the_same_readings_and_errors(kind: str, places: list[int], garbage: bytes) -> None:
    data = GOOD[kind] + garbage + GOOD[kind] + b"x" * (MAX_FRAME_BYTES + 1) + GOOD[kind]
    whole = fed(stream_decoder(CONFIGS[kind], KNOWN), [data])
    parts = fed(stream_decoder(CONFIGS[kind], KNOWN), cut(data, places))
    assert str(rows_of(parts.readings)) == str(rows_of(whole.readings))  # as text, because NaN is not equal to itself
    assert (parts.frame_errors, parts.n_unknown, parts.n_lost) == (whole.frame_errors, whole.n_unknown, whole.n_lost)


@formats
@given(chunks=st.lists(st.binary(max_size=3000), max_size=20))
def test_garbage_never_raises_and_the_next_good_frames_are_read(kind: str, chunks: list[bytes]) -> None:
    decoder = stream_decoder(CONFIGS[kind], KNOWN)
    fed(decoder, chunks)
    delimiter = b"\x00" if kind == "cobs" else b"\n"
    after = fed(decoder, [delimiter, GOOD[kind]])
    expected = rows_of(fed(stream_decoder(CONFIGS[kind], KNOWN), [delimiter, GOOD[kind]]).readings)
    assert str(rows_of(after.readings)[-len(expected) :]) == str(expected)


@given(chunks=st.lists(st.binary(max_size=50), max_size=200), max_bytes=st.integers(1, 20))
def test_the_buffer_stays_bounded(chunks: list[bytes], max_bytes: int) -> None:
    framer = Framer(b"\n", max_bytes)
    for chunk in chunks:
        frames, _ = framer.feed(chunk)
        assert framer.n_kept <= max_bytes
        assert all(0 < len(frame) <= max_bytes for frame in frames)


def test_an_endless_line_is_one_error_however_long_it_gets() -> None:
    decoder = stream_decoder(CONFIGS["jsonl"], KNOWN)
    tally = fed(decoder, [b"x" * 10_000] * 5 + [b"\n", GOOD["jsonl"]])
    assert tally.frame_errors == 1
    assert tally.n_readings == 3


def test_a_frame_of_exactly_the_limit_is_read() -> None:
    framer = Framer(b"\n")
    assert framer.feed(b"x" * MAX_FRAME_BYTES + b"\n") == ([b"x" * MAX_FRAME_BYTES], 0)
    assert framer.feed(b"x" * (MAX_FRAME_BYTES + 1) + b"\nok\n") == ([b"ok"], 1)


def test_what_comes_before_the_first_csv_line_break_is_left_out_and_is_no_error() -> None:
    tally = fed(stream_decoder(CONFIGS["csv"], KNOWN), [b"0000000.5,1.5,2\n1700000000.5,1.5,2\n"])
    assert tally.frame_errors == 0
    assert [at for *_, at, _ in rows_of(tally.readings)] == [1_700_000_000_500_000_000] * 2


@formats
def test_a_torn_frame_is_counted_and_the_stream_goes_on(kind: str) -> None:
    delimiter = b"\x00" if kind == "cobs" else b"\n"
    torn = GOOD[kind].strip(delimiter)[:10]
    tally = fed(stream_decoder(CONFIGS[kind], KNOWN), [delimiter, torn, delimiter, GOOD[kind]])
    assert tally.frame_errors == 1
    assert tally.n_readings == {"jsonl": 3, "csv": 4, "cobs": 6}[kind]
