"""Identifiers look the same everywhere, and nothing else passes for one."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.contract.names import Hash, Name, stable_id


@pytest.mark.parametrize("name", ["a", "pump-1", "7", "A.b_c-d", "x" * 64])
def test_a_name_is_accepted(name: str) -> None:
    assert msgspec.convert(name, Name) == name


@pytest.mark.parametrize("name", ["", "-a", ".", "..", "a b", "a/b", "a\n", "a\0", "ä", "x" * 65, "a\nb"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(name, Name)


@pytest.mark.parametrize("digest", ["0" * 15, "0" * 65, "0" * 16 + "\n", "G" * 16, "A" * 16, "../" + "0" * 16])
def test_what_is_no_digest_is_refused(digest: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(digest, Hash)


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,63}", fullmatch=True), st.lists(st.text()))
def test_a_stable_id_is_a_name_and_the_same_for_the_same_event(prefix: str, parts: list[str]) -> None:
    made = stable_id(prefix, *parts)
    assert msgspec.convert(made, Name) == made
    assert made == stable_id(prefix, *parts)
    assert made != stable_id(prefix, *parts, "one more")
