"""Tocsin's binary serial frame, for MicroPython and Python: see models/contract/frames.py for the layout.

Copy this file to the board beside main.py. It needs nothing but `struct` and `array`.
"""

import struct
from array import array

VERSION = 1


def _table():
    """CRC-16/CCITT-FALSE, polynomial 0x1021, a byte at a time."""
    entries = array("H")
    for byte in range(256):
        crc = byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021) & 0xFFFF if crc & 0x8000 else crc << 1
        entries.append(crc)
    return entries


_CRC = _table()


def crc16(data):
    crc = 0xFFFF
    for byte in data:
        crc = (crc << 8 & 0xFF00) ^ _CRC[crc >> 8 ^ byte]
    return crc


def stuff(data):
    """COBS: `data` without a zero in it."""
    out = bytearray(b"\x01")
    code_at = 0
    for i, byte in enumerate(data):
        if byte:
            out.append(byte)
            out[code_at] += 1
        if not byte or (out[code_at] == 0xFF and i + 1 < len(data)):
            code_at = len(out)
            out.append(1)
    return out


def frame(seq, t0_us, period_us, rows):
    """The bytes of one frame, its delimiter included. `rows`: samples, each as many floats as there are channels.

    `t0_us`: Unix time of the first sample, 0 where the board has no clock. An absent value is float("nan").
    """
    body = bytearray(struct.pack("<BBHHQI", VERSION, len(rows[0]), len(rows), seq & 0xFFFF, t0_us, period_us))
    for row in rows:
        for value in row:
            body += struct.pack("<f", value)
    body += struct.pack("<H", crc16(body))
    return bytes(stuff(body) + b"\x00")
