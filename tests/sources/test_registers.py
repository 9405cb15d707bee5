"""Which requests fetch the registers, and what their words mean."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sources.config import ModbusConfig, Register
from agent.sources.registers import MAX_WORDS, plan, value_of


def config(*registers: Register, max_gap: int = 0) -> ModbusConfig:
    return ModbusConfig(name="plc", host="h", asset="pump-1", registers=registers, max_gap=max_gap)


def at(address: int, type: str = "uint16", **changes: object) -> Register:  # noqa: A002
    return Register(
        channel=f"c{address}-{changes.get('unit', 0)}-{changes.get('function', 3)}", address=address, type=type, **changes
    )


def spans(*registers: Register, max_gap: int = 0) -> list[tuple[int, int, int, int]]:
    return [(r.unit, r.function, r.address, r.n_words) for r in plan(config(*registers, max_gap=max_gap))]


def test_neighbours_are_read_at_once() -> None:
    assert spans(at(12), at(10, "float32"), at(13, "int32")) == [(1, 3, 10, 5)]


def test_gaps_part_requests_unless_they_may_be_read_along() -> None:
    assert spans(at(10), at(13)) == [(1, 3, 10, 1), (1, 3, 13, 1)]
    assert spans(at(10), at(13), max_gap=2) == [(1, 3, 10, 4)]
    assert spans(at(10), at(13), max_gap=1) == [(1, 3, 10, 1), (1, 3, 13, 1)]


def test_units_and_functions_are_asked_apart() -> None:
    assert spans(at(0), at(1, function=4), at(1, unit=7)) == [(1, 3, 0, 1), (1, 4, 1, 1), (7, 3, 1, 1)]


def test_no_request_is_longer_than_the_protocol_allows_and_no_value_is_split() -> None:
    registers = [at(address, "float32") for address in range(0, 300, 2)]
    assert spans(*registers) == [(1, 3, 0, 124), (1, 3, 124, 124), (1, 3, 248, 52)]


@given(
    st.lists(
        st.builds(at, st.integers(0, 400), st.sampled_from(["uint16", "float32"]), function=st.sampled_from([3, 4])),
        min_size=1,
        max_size=80,
        unique_by=lambda r: (r.address, r.function),
    ),
    st.integers(0, 120),
)
def test_each_register_is_read_once_and_whole(registers: list[Register], max_gap: int) -> None:
    requests = plan(config(*registers, max_gap=max_gap))
    served = [register for request in requests for register in request.registers]
    assert sorted(r.channel for r in served) == sorted(r.channel for r in registers)
    for request in requests:
        assert 1 <= request.n_words <= MAX_WORDS
        assert all(request.address <= r.address for r in request.registers)
        assert max(r.address + r.words for r in request.registers) == request.address + request.n_words
        assert all(r.function == request.function for r in request.registers)


@pytest.mark.parametrize(
    ("type_", "words", "expected"),
    [
        ("uint16", [65535], 65535.0),
        ("int16", [65535], -1.0),
        ("uint32", [0x0001, 0x0002], 65538.0),
        ("int32", [0xFFFF, 0xFFFE], -2.0),
        ("float32", [0x41BC, 0x0000], 23.5),
    ],
)
def test_words_mean_what_the_type_says_in_either_order(type_: str, words: list[int], expected: float) -> None:
    assert value_of(at(0, type_), words) == expected
    assert value_of(at(0, type_, word_order="little"), words[::-1]) == expected
    assert value_of(at(0, type_, scale=0.5, offset=10.0), words) == expected / 2 + 10


@pytest.mark.parametrize("bits", [0x7FC00000, 0x7F800000, 0xFF800000])
def test_what_is_not_finite_is_absent(bits: int) -> None:
    value = value_of(at(0, "float32"), struct.unpack(">HH", struct.pack(">I", bits)))
    assert value != value  # noqa: PLR0124
