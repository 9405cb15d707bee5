"""The control socket: answers how the agent is, to its own user, however the asker behaves."""

from __future__ import annotations

import socket
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.status.control import ControlSocket, ask
from models.errors import StorageError
from tests.waiting import wait_until

STATUS = {"device": "dev-1", "assets": {"rig-1": {"p_value": None, "state": "normal"}}, "readings": 12}
Start = Callable[..., ControlSocket]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither side gives the other up because this process is held up for a while."""
    monkeypatch.setattr("agent.status.control._TIMEOUT_S", 60.0)
    monkeypatch.setattr("agent.status.control._ANSWER_S", 60.0)
    monkeypatch.setattr("agent.status.control._PATIENCE_S", 60.0)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[ControlSocket] = []

    def begin(directory: Path = tmp_path, status: Callable[[], dict[str, Any]] = lambda: STATUS) -> ControlSocket:
        started.append(ControlSocket(directory, status))
        started[-1].start()
        return started[-1]

    yield begin
    for control in started:
        control.stop()


def test_whoever_asks_gets_the_status_as_it_is_now(start: Start, tmp_path: Path) -> None:
    count = iter(range(100))
    start(status=lambda: {"n": next(count)})
    assert [ask(tmp_path) for _ in range(3)] == [{"n": 0}, {"n": 1}, {"n": 2}]


def test_a_status_larger_than_one_read_comes_whole(start: Start, tmp_path: Path) -> None:
    large = {"assets": {f"rig-{i}": STATUS for i in range(5000)}}
    start(status=lambda: large)
    assert ask(tmp_path) == large


def test_it_works_where_the_directorys_name_is_longer_than_a_sockets_may_be(start: Start, tmp_path: Path) -> None:
    directory = tmp_path / ("d" * 200) / ("e" * 100)
    directory.mkdir(parents=True)
    start(directory)
    assert ask(directory) == STATUS


def test_the_socket_is_for_its_owner_alone(start: Start, tmp_path: Path) -> None:
    start()
    assert stat.S_IMODE((tmp_path / "agent.sock").stat().st_mode) == 0o600


def test_nobody_answers_where_none_runs(tmp_path: Path) -> None:
    assert ask(tmp_path) is None
    assert ask(tmp_path / "nowhere") is None
    (tmp_path / "agent.sock").write_text("no socket")
    assert ask(tmp_path) is None


def test_who_may_not_ask_is_told_so_and_not_that_nobody_is_there(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start()

    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("agent.status.control.os.open", refused)  # root, who runs tests, is refused nothing
    with pytest.raises(StorageError, match="its own user alone"):
        ask(tmp_path)


def test_a_socket_left_over_from_a_kill_is_replaced(start: Start, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as old:
        old.bind(str(tmp_path / "agent.sock"))
    assert ask(tmp_path) is None
    start()
    assert ask(tmp_path) == STATUS


def test_stopping_takes_the_socket_and_the_thread_away(tmp_path: Path) -> None:
    control = ControlSocket(tmp_path, lambda: STATUS)
    control.start()
    control.stop()
    assert list(tmp_path.iterdir()) == []
    assert ask(tmp_path) is None
    wait_until(lambda: not any(thread.name == "control" for thread in threading.enumerate()))


def test_an_asker_who_hangs_up_at_once_harms_nobody(start: Start, tmp_path: Path) -> None:
    start(status=lambda: {"much": "x" * 5_000_000})
    for _ in range(5):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asker:
            asker.connect(str(tmp_path / "agent.sock"))
    answer = ask(tmp_path)
    assert answer is not None
    assert len(answer["much"]) == 5_000_000


def test_several_askers_at_once_are_all_answered(start: Start, tmp_path: Path) -> None:
    start()
    answers: list[Any] = []
    threads = [threading.Thread(target=lambda: answers.append(ask(tmp_path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert answers == [STATUS] * 4


def test_words_are_a_command_and_its_answer_comes_back(start: Start, tmp_path: Path) -> None:
    control = ControlSocket(tmp_path, lambda: STATUS, lambda words: {"heard": words})
    control.start()
    try:
        assert ask(tmp_path, "recommission", "rig-1") == {"heard": ["recommission", "rig-1"]}
        assert ask(tmp_path) == STATUS
    finally:
        control.stop()


@pytest.mark.parametrize("error", [StorageError("the key is damaged"), OSError(28, "No space left on device"), KeyError("x")])
def test_a_command_or_a_status_that_fails_is_told_and_the_next_asker_is_answered(error: Exception, tmp_path: Path) -> None:
    def failing(*_: object) -> dict[str, Any]:
        raise error

    answers = iter([failing, lambda: STATUS])

    def status() -> dict[str, Any]:
        return next(answers)()

    control = ControlSocket(tmp_path, status, failing)
    control.start()
    try:
        assert str(error) in (ask(tmp_path, "rotate-key") or {})["error"]
        with pytest.raises(StorageError, match="cannot answer"):
            ask(tmp_path)
        assert ask(tmp_path) == STATUS
    finally:
        control.stop()


def test_an_asker_who_says_nothing_and_stays_is_answered_too(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.status.control._PATIENCE_S", 0.5)
    start()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asker:
        asker.connect(str(tmp_path / "agent.sock"))
        asker.settimeout(60)
        assert asker.recv(10)


def test_an_agent_that_is_held_up_is_not_taken_for_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.status.control._ANSWER_S", 0.2)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as held_up:
        held_up.bind(str(tmp_path / "agent.sock"))
        held_up.listen()
        for words in ((), ("rotate-key",)):
            with pytest.raises(StorageError, match="does not answer within"):
                ask(tmp_path, *words)
    assert ask(tmp_path) is None, "nobody listens any more"
