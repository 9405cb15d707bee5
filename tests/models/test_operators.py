"""Which operators a model needs, told from its bytes: before any runtime is asked, and whatever the bytes are."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.bundle.operators import _field, _table, _u32, operators, refuse_unsupported
from models.errors import BundleIncompatible
from tests.builders import tiny_model


def with_operator(code: int, version: int) -> bytes:
    """The tiny model, its one operator said to be another."""
    model = bytearray(tiny_model())
    at = _field(model, _table(model, 0), 1)
    assert at is not None
    table = _table(model, at + _u32(model, at) + 4)
    old, _, told, new = (_field(model, table, i) for i in range(4))
    assert old is not None
    assert told is not None
    struct.pack_into("<b", model, old, min(code, 127))
    if new is not None:
        struct.pack_into("<i", model, new, code)
    struct.pack_into("<i", model, told, version)
    return bytes(model)


def test_operators_are_named_with_their_versions() -> None:
    assert [(operator.name, operator.version) for operator in operators(tiny_model())] == [("FULLY_CONNECTED", 4)]
    refuse_unsupported(tiny_model())


def test_a_custom_operator_is_refused_by_its_name_with_what_to_do() -> None:
    with pytest.raises(BundleIncompatible, match=r"operator Erf is not one of TFLite's own .*TFLITE_BUILTINS_INT8"):
        refuse_unsupported(tiny_model("custom"))


def test_a_version_that_the_oldest_runtime_has_not_got_is_refused() -> None:
    refuse_unsupported(with_operator(9, 10))
    with pytest.raises(BundleIncompatible, match=r"FULLY_CONNECTED of version 11; tflite-runtime 2\.14 runs 10 at most"):
        refuse_unsupported(with_operator(9, 11))


def test_an_operator_that_is_not_listed_is_refused_by_its_number() -> None:
    with pytest.raises(BundleIncompatible, match="operator number 44 is not one"):
        refuse_unsupported(with_operator(44, 1))


@given(st.data())
def test_damaged_bytes_are_refused_or_read_but_never_crash(data: st.DataObject) -> None:
    model = bytearray(tiny_model())
    for _ in range(data.draw(st.integers(1, 4))):
        model[data.draw(st.integers(0, len(model) - 1))] = data.draw(st.integers(0, 255))
    try:
        refuse_unsupported(bytes(model[: data.draw(st.integers(0, len(model)))]))
    except BundleIncompatible:
        return


@pytest.mark.parametrize("data", [b"", b"TFL3", b"\x1c\x00\x00\x00TFL3" + bytes(100), b"\xff" * 4 + b"TFL3" + b"\xff" * 40])
def test_what_is_no_model_has_no_operators(data: bytes) -> None:
    try:
        assert operators(data) == []
    except BundleIncompatible as error:
        assert "not a TFLite model" in str(error)  # noqa: PT017
