"""Modbus registers: which requests fetch them, and what their words mean. Pure.

Invariants:
1. Each configured register is in exactly one request; a request is for one unit and one function, and for at most
   MAX_WORDS words, which is the protocol's own limit.
2. A value of two words is never split over two requests: its halves would be of different times.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from agent.sources.config import ModbusConfig, Register

MAX_WORDS: Final = 125
_FORMATS: Final = {"int16": ">h", "uint16": ">H", "int32": ">i", "uint32": ">I", "float32": ">f"}


@dataclass(frozen=True, slots=True)
class Request:
    """One read. `registers`: those that it serves, by address."""

    unit: int
    function: int
    address: int
    n_words: int
    registers: tuple[Register, ...]

    def __str__(self) -> str:
        span = f"{self.address}..{self.address + self.n_words - 1}" if self.n_words > 1 else f"{self.address}"
        return f"unit {self.unit}, function {self.function}, registers {span}"


def plan(config: ModbusConfig) -> list[Request]:
    """The requests of one poll, by unit, function and address."""

    def place(register: Register) -> tuple[int, int]:
        return config.unit if register.unit is None else register.unit, register.function

    requests = []
    for (unit, function), group in groupby(sorted(config.registers, key=lambda r: (*place(r), r.address)), key=place):
        for run in _runs(list(group), config.max_gap):
            n_words = max(r.address + r.words for r in run) - run[0].address
            requests.append(Request(unit, function, run[0].address, n_words, tuple(run)))
    return requests


def _runs(registers: Sequence[Register], max_gap: int) -> list[list[Register]]:
    """`registers`, by address, parted where a gap is too wide or a request would be too long."""
    runs: list[list[Register]] = []
    end = 0
    for register in registers:
        new_end = max(end, register.address + register.words)
        if runs and register.address - end <= max_gap and new_end - runs[-1][0].address <= MAX_WORDS:
            runs[-1].append(register)
            end = new_end
        else:
            runs.append([register])
            end = register.address + register.words
    return runs


def value_of(register: Register, words: Sequence[int]) -> float:
    """`words`: the register's own, each 0 to 65535, as they came. NaN where they hold no finite number."""
    ordered = words if register.word_order == "big" else words[::-1]
    (raw,) = struct.unpack(_FORMATS[register.type], struct.pack(f">{len(ordered)}H", *ordered))
    value = float(raw) * register.scale + register.offset
    return value if math.isfinite(value) else math.nan
