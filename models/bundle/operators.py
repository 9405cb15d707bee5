"""The operators of a TFLite model, read from its bytes: a model that one runtime runs may need what another has not got.

Only as much of the flatbuffer is read as names operators (TFLite's schema.fbs, tables Model and OperatorCode):

    Model         1: operator_codes
    OperatorCode  0: deprecated_builtin_code int8, 1: custom_code string, 2: version int32 = 1, 3: builtin_code int32

A reader believes nothing: offsets that lead out of the file are BundleIncompatible, as any other file that is no model.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from models.errors import BundleIncompatible

# builtin code: (name, the newest version that tflite-runtime 2.14 runs), of what full-integer models are made of
OLDEST_RUNTIME: Final = "tflite-runtime 2.14"
_KNOWN: Final = {
    0: ("ADD", 5), 1: ("AVERAGE_POOL_2D", 3), 2: ("CONCATENATION", 4), 3: ("CONV_2D", 7), 4: ("DEPTHWISE_CONV_2D", 7),
    6: ("DEQUANTIZE", 5), 9: ("FULLY_CONNECTED", 10), 14: ("LOGISTIC", 3), 17: ("MAX_POOL_2D", 3), 18: ("MUL", 7),
    19: ("RELU", 3), 21: ("RELU6", 3), 22: ("RESHAPE", 1), 23: ("RESIZE_BILINEAR", 4), 25: ("SOFTMAX", 3), 28: ("TANH", 3),
    34: ("PAD", 4), 36: ("GATHER", 6), 39: ("TRANSPOSE", 6), 40: ("MEAN", 3), 41: ("SUB", 5), 43: ("SQUEEZE", 2),
    45: ("STRIDED_SLICE", 8), 49: ("SPLIT", 4), 55: ("MAXIMUM", 4), 57: ("MINIMUM", 4), 65: ("SLICE", 6),
    67: ("TRANSPOSE_CONV", 4), 70: ("EXPAND_DIMS", 1), 74: ("SUM", 2), 75: ("SQRT", 1), 77: ("SHAPE", 1), 82: ("REDUCE_MAX", 3),
    83: ("PACK", 4), 88: ("UNPACK", 4), 97: ("RESIZE_NEAREST_NEIGHBOR", 4), 98: ("LEAKY_RELU", 2),
    99: ("SQUARED_DIFFERENCE", 2), 101: ("ABS", 5), 114: ("QUANTIZE", 3), 117: ("HARD_SWISH", 1), 126: ("BATCH_MATMUL", 4),
}  # fmt: skip
_CUSTOM: Final = 32


@dataclass(frozen=True, slots=True)
class Operator:
    """`name`: TFLite's own, of a custom one what it calls itself, of an unlisted one its number."""

    name: str
    version: int
    known: bool


def operators(model: bytes) -> list[Operator]:
    """Each kind of operator that `model` lists, once a version. Raises BundleIncompatible where it is no TFLite model."""
    if model[4:8] != b"TFL3":
        raise BundleIncompatible("not a TFLite model: its file identifier is not TFL3")
    try:
        root = _table(model, 0)
        at = _field(model, root, 1)
        if at is None:
            return []
        vector = at + _u32(model, at)
        count = _u32(model, vector)
        if count > len(model) // 4:
            raise BundleIncompatible("not a TFLite model: more operators than bytes")
        return [_operator(model, _table(model, vector + 4 + 4 * i)) for i in range(count)]
    except struct.error as error:
        raise BundleIncompatible("not a TFLite model: an offset leads out of the file") from error


def refuse_unsupported(model: bytes) -> None:
    """Raises BundleIncompatible, saying what to do, where a device with the oldest supported runtime could not run `model`."""
    for operator in operators(model):
        if not operator.known:
            raise BundleIncompatible(
                f"operator {operator.name} is not one of TFLite's own that every device runs: convert the model again with "
                "supported_ops = [TFLITE_BUILTINS_INT8], or replace that layer"
            )
        newest = next(version for name, version in _KNOWN.values() if name == operator.name)
        if operator.version > newest:
            raise BundleIncompatible(
                f"operator {operator.name} of version {operator.version}; {OLDEST_RUNTIME} runs {newest} at most: convert the "
                "model with TensorFlow 2.14, or without the option that needs the newer version"
            )


def _operator(model: bytes, table: int) -> Operator:
    old, custom, version, new = (_field(model, table, i) for i in range(4))
    code = max(
        struct.unpack_from("<b", model, old)[0] if old is not None else 0,
        struct.unpack_from("<i", model, new)[0] if new is not None else 0,
    )
    number = struct.unpack_from("<i", model, version)[0] if version is not None else 1
    if code == _CUSTOM and custom is not None:
        start = custom + _u32(model, custom)
        text = model[start + 4 : start + 4 + min(_u32(model, start), 100)]
        return Operator(text.decode("utf-8", "replace"), number, known=False)
    name, _ = _KNOWN.get(code, (f"number {code}", 0))
    return Operator(name, number, known=code in _KNOWN)


def _u32(data: bytes, at: int) -> int:
    return int(struct.unpack_from("<I", data, at)[0])


def _table(data: bytes, at: int) -> int:
    """Where the table is that the offset at `at` leads to."""
    return at + _u32(data, at)


def _field(data: bytes, table: int, i: int) -> int | None:
    """Where a table's field `i` is; None where it has its default."""
    vtable = table - int(struct.unpack_from("<i", data, table)[0])
    if vtable < 0:
        raise struct.error("before the file")
    size = int(struct.unpack_from("<H", data, vtable)[0])
    if 4 + 2 * i + 2 > size:
        return None
    offset = int(struct.unpack_from("<H", data, vtable + 4 + 2 * i)[0])
    return table + offset if offset else None
