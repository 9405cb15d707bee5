"""The audit log: an entry is there exactly if its deed is, and whatever is done to the chain afterwards shows."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine, text

from hub.audit.log import FIRST_PREVIOUS, MAX_DETAILS_BYTES, AuditBroken, Head, head_of, read_entries, record, verify
from hub.cli import hub as hub_command
from hub.settings import init_hub
from hub.state.database import connect_state, open_state
from tests.waiting import PATIENCE_S


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_state(f"sqlite:///{tmp_path}/hub.db")
    yield engine
    engine.dispose()


def write(engine: Engine, n: int = 5) -> list[Head]:
    heads = []
    for i in range(n):
        with engine.begin() as connection:
            details = {"i": i, "note": 'é "quoted" \n'}
            heads.append(
                record(connection, at_ns=1000 + i, actor="cli:root", action="test.do", subject=f"s{i}", details=details)
            )
    return heads


def checked(engine: Engine, kept: Head | None = None) -> Head:
    with engine.connect() as connection:
        return verify(connection, kept)


def test_an_empty_log_is_whole(engine: Engine) -> None:
    assert checked(engine) == Head(0, FIRST_PREVIOUS)


def test_entries_are_numbered_chained_and_read_newest_first(engine: Engine) -> None:
    heads = write(engine)
    assert checked(engine) == heads[-1]
    with engine.connect() as connection:
        entries = read_entries(connection, limit=2)
        assert [entry.number for entry in entries] == [5, 4]
        assert entries[0].previous == heads[-2].sha256
        assert json.loads(entries[0].details) == {"i": 4, "note": 'é "quoted" \n'}
        assert [entry.number for entry in read_entries(connection, before=3)] == [2, 1]


def test_a_deed_that_is_rolled_back_leaves_no_entry(engine: Engine) -> None:
    write(engine, 2)

    def fails_half_way() -> None:
        with engine.begin() as connection:
            record(connection, at_ns=1, actor="hub", action="test.do", subject="x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails_half_way()
    write(engine, 1)
    assert checked(engine).number == 3


@pytest.mark.parametrize(
    ("tampering", "told"),
    [
        ("UPDATE audit_entries SET actor = 'cli:other' WHERE number = 3", "entry 3 is not what was written"),
        ("UPDATE audit_entries SET details = '{}' WHERE number = 1", "entry 1 is not what was written"),
        ("UPDATE audit_entries SET at_ns = 5 WHERE number = 5", "entry 5 is not what was written"),
        ("UPDATE audit_entries SET sha256 = previous WHERE number = 2", "entry 2 is not what was written"),
        ("DELETE FROM audit_entries WHERE number = 1", "entry 1 is missing; 2 follows 0"),
        ("DELETE FROM audit_entries WHERE number = 3", "entry 3 is missing; 4 follows 2"),
        ("DELETE FROM audit_entries WHERE number = 5", "ends at entry 4, but 5 were written"),
        ("DELETE FROM audit_entries", "ends at entry 0, but 5 were written"),
        ("UPDATE audit_entries SET number = 9 WHERE number = 5", "entry 5 is missing; 9 follows 4"),
        ("UPDATE audit_entries SET number = -1 WHERE number = 1", "entry 1 is missing; -1 follows 0"),
        ("UPDATE audit_head SET number = 4", "ends at entry 5, but 4 were written"),
    ],
)
def test_what_is_tampered_with_is_named(engine: Engine, tampering: str, told: str) -> None:
    write(engine)
    with engine.begin() as connection:
        connection.execute(text(tampering))
    with pytest.raises(AuditBroken, match=told):
        checked(engine)


def test_a_log_that_was_made_anew_shows_against_a_head_that_was_kept(engine: Engine) -> None:
    kept = write(engine)[-1]
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM audit_entries"))
        connection.execute(text("DELETE FROM audit_head"))
    with pytest.raises(AuditBroken, match="before the one that was kept, 5"):
        checked(engine, kept)
    with engine.begin() as connection:
        for i in range(6):
            record(connection, at_ns=1000 + i, actor="cli:other", action="test.do", subject="s")
    assert checked(engine).number == 6
    with pytest.raises(AuditBroken, match="entry 5 has another hash than the one that was kept"):
        checked(engine, kept)


def test_an_old_head_stays_part_of_a_log_that_has_grown(engine: Engine) -> None:
    kept = write(engine)[-1]
    write(engine)
    assert checked(engine, kept).number == 10


def test_writers_in_several_connections_make_one_chain(engine: Engine) -> None:
    def many() -> None:
        mine = connect_state(str(engine.url))
        write(mine, 20)
        mine.dispose()

    threads = [threading.Thread(target=many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert checked(engine).number == 80


def test_details_that_are_too_large_or_no_json_are_refused_and_nothing_is_written(engine: Engine) -> None:
    with engine.begin() as connection:
        for details in ({"x": "y" * MAX_DETAILS_BYTES}, {"x": float("nan")}):
            with pytest.raises(ValueError, match=r"audit details|not JSON compliant"):
                record(connection, at_ns=1, actor="hub", action="test.do", subject="x", details=details)
        assert head_of(connection).number == 0


def test_the_command_lists_verifies_and_fails_on_a_broken_log(tmp_path: Path) -> None:
    made = init_hub(tmp_path / "hub")
    engine = open_state(made.state_url)
    head = write(engine)[-1]
    data = ["--data", str(made.paths.root)]

    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(hub_command, ["audit", *arguments, *data])
        return result.exit_code, result.output

    assert run("verify") == (0, f"5 entries, all as they were written. Head: {head}\n")
    assert json.loads(run("verify", "--json")[1]) == {"entries": 5, "head": str(head)}
    assert run("verify", "--head", str(head))[0] == 0
    assert "expected NUMBER:HASH" in run("verify", "--head", "5")[1]
    listed = json.loads(run("list", "--limit", "1", "--json")[1])
    assert [(entry["number"], entry["details"]["i"]) for entry in listed] == [(5, 4)]
    assert "test.do" in run("list")[1]
    with engine.begin() as connection:
        connection.execute(text("UPDATE audit_entries SET subject = 'other' WHERE number = 2"))
    engine.dispose()
    code, output = run("verify")
    assert code == 1
    assert "the audit log is broken: entry 2 is not what was written" in output
