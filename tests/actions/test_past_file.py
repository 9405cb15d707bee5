"""What a rule must not forget survives whatever happens to its file: the newest state that was written whole."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.actions.past_file import PastFile
from agent.actions.rules import Past


def past(n: int, size: int = 0) -> Past:
    return Past(boot_id=f"boot-{n}", acted_ns=list(range(size)))


@given(
    sizes=st.lists(st.integers(0, 4000), min_size=1, max_size=12), restarts=st.lists(st.booleans(), min_size=12, max_size=12)
)
def test_the_last_state_is_what_is_read_however_large_and_over_restarts(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], restarts: list[bool]
) -> None:
    path = tmp_path_factory.mktemp("past") / "siren.past"
    file = PastFile(path)
    for n, size in enumerate(sizes):
        file.write(past(n, size))
        assert PastFile(path).read() == past(n, size)
        if restarts[n]:
            file.close()
            file = PastFile(path)
            assert file.read() == past(n, size)
    file.close()


@given(n_writes=st.integers(2, 6), torn_at=st.integers(0, 4095), garbage=st.binary(min_size=1, max_size=300))
def test_a_torn_write_costs_that_write_and_no_more(
    tmp_path_factory: pytest.TempPathFactory, n_writes: int, torn_at: int, garbage: bytes
) -> None:
    path = tmp_path_factory.mktemp("past") / "siren.past"
    file = PastFile(path)
    for n in range(1, n_writes + 1):
        file.write(past(n))
    whole = path.read_bytes()
    slot = n_writes % 2 * 4096
    damaged = whole[: slot + torn_at] + garbage
    path.write_bytes(damaged[: slot + 4096].ljust(slot + 4096, b"\0") + whole[slot + 4096 :])
    again = PastFile(path)
    assert again.read() in (past(n_writes), past(n_writes - 1))
    again.write(past(99))
    assert PastFile(path).read() == past(99)
    file.close()
    again.close()


def test_once_it_is_there_its_blocks_are_written_over_and_it_does_not_grow(tmp_path: Path) -> None:
    file = PastFile(tmp_path / "siren.past")
    file.write(past(0))
    before = (tmp_path / "siren.past").stat()
    for n in range(1, 50):
        file.write(past(n, n % 20))
    after = (tmp_path / "siren.past").stat()
    assert (after.st_ino, after.st_size, after.st_blocks) == (before.st_ino, 8192, before.st_blocks)
    assert after.st_mode & 0o077 == 0
    file.close()


@pytest.mark.parametrize("damage", [b"", b"x", b"\0" * 8192, b"\xff" * 8192, b"{}" * 5000])
def test_a_file_without_a_whole_state_counts_as_none_and_is_made_anew(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "siren.past"
    path.write_bytes(damage)
    file = PastFile(path)
    assert file.read() is None
    file.write(past(7))
    file.close()
    assert PastFile(path).read() == past(7)
