"""The optional endpoint, against a server in this process that misbehaves in every way that one can."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from hub.ask.answer import Answer, Ask
from hub.ask.endpoint import AT_ONCE, MAX_REPLY, Endpoint
from hub.lake.lake import DeltaLake
from models.errors import ConfigError
from tests.ask.conftest import OFFLINE_AFTER_S
from tests.ask.seeding import ALERTS, DEVICES, NOW_NS, ZONE
from tests.waiting import PATIENCE_S, wait_until

STRANGE = "quelle est la couleur des pompes de Lyon"
GOOD = "SELECT site, count(*) AS n FROM alerts GROUP BY site ORDER BY n DESC"
Reply = Callable[[BaseHTTPRequestHandler], None]


def said(content: Any, status: int = 200) -> Reply:
    return plain(json.dumps({"choices": [{"message": {"content": content}}]}).encode(), status)


def plain(body: bytes, status: int = 200, **headers: str) -> Reply:
    def reply(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return reply


def dripping(handler: BaseHTTPRequestHandler) -> None:
    """A byte at a time, so that no single wait is long."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    while not handler.server.ended.wait(0.02):  # type: ignore[attr-defined]
        handler.wfile.write(b" ")
        handler.wfile.flush()


def silent(handler: BaseHTTPRequestHandler) -> None:
    handler.server.ended.wait()  # type: ignore[attr-defined]


def endless(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(10_000):
        handler.wfile.write(b"x" * 4096)


@contextmanager
def serving(reply: Reply) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The server's address, and what it is asked."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append({"path": self.path, "key": self.headers.get("Authorization"), "body": json.loads(body)})
            with suppress(OSError):  # whoever asked has gone
                reply(self)

        def log_message(self, *_args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.ended = threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", asked
    finally:
        server.ended.set()  # type: ignore[attr-defined]
        server.shutdown()
        server.server_close()
        thread.join(timeout=PATIENCE_S)


@pytest.fixture
def ask_by(fleet: tuple[Engine, DeltaLake]) -> Callable[[Endpoint], Ask]:
    return lambda endpoint: Ask(*fleet, offline_after_s=OFFLINE_AFTER_S, zone=ZONE, endpoint=endpoint, now_ns=lambda: NOW_NS)


@pytest.mark.parametrize("content", [GOOD, f"Here you are:\n```sql\n{GOOD};\n```\nHave a nice day", f"  {GOOD} ; \n"])
def test_what_the_grammar_does_not_know_the_endpoint_answers(content: str, ask_by: Callable[[Endpoint], Ask]) -> None:
    with serving(said(content)) as (url, _):
        answer = ask_by(Endpoint(url, "m")).ask(STRANGE)
    assert (answer.author, answer.sql, answer.rows[0]) == ("endpoint", GOOD, ("lyon", 8))


def test_what_the_grammar_knows_is_asked_nowhere(ask_by: Callable[[Endpoint], Ask]) -> None:
    with serving(said(GOOD)) as (url, asked):
        assert ask_by(Endpoint(url, "m")).ask("how many alerts were there yesterday?").author == "grammar"
    assert asked == []


def test_it_is_told_views_and_names_and_no_row_of_data(ask_by: Callable[[Endpoint], Ask], tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("secret-key\n")
    with serving(said(GOOD)) as (url, asked):
        ask_by(Endpoint(url, "the-model", key)).ask(STRANGE)
    assert (asked[0]["path"], asked[0]["key"], asked[0]["body"]["model"]) == (
        "/v1/chat/completions",
        "Bearer secret-key",
        "the-model",
    )
    told = json.dumps(asked[0]["body"], ensure_ascii=False)
    assert STRANGE in told
    assert all(
        name in told
        for name in ("sensor_faults", "duration_s", "gw-lyon-01", "saint-etienne", "memory_used", "2026-03-18 15:00")
    )
    data = {alert[0] for alert in ALERTS} | {device[2] for device in DEVICES} | {"as told", "0.0.9", "secret-key", "plc"}
    assert not {value for value in data if value in told}


@pytest.mark.parametrize(
    ("reply", "note"),
    [
        (said("I would rather not."), "cannot be read as SQL|syntax"),
        (said("DROP TABLE alerts"), "only SELECT"),
        (said("SELECT * FROM read_csv('/etc/passwd')"), "read_csv"),
        (said("SELECT * FROM users"), "no view 'users'"),
        (said("SELECT 1; SELECT 2"), "exactly one|only SELECT"),
        (said("SELECT nothing FROM alerts"), "nothing"),
        (said("NONE"), "no query"),
        (said(""), "no query"),
        (said(None), "no text"),
        (said(["x"]), "no text"),
        (said(GOOD, 500), "answered 500"),
        (plain(b"", 302, Location="http://127.0.0.1:9/"), "answered 302"),
        (plain(b"not json"), "not that of a chat"),
        (plain(b"{}"), "not that of a chat"),
        (plain(b"[" * 60_000), "not that of a chat"),
        (plain(b"x" * (MAX_REPLY + 1)), "larger than"),
        (plain(b"x", 200, Content_Length="99"), "not that of a chat|cannot be used"),
        (endless, "larger than"),
        (silent, "longer than 0.5 s"),
        (dripping, "longer than 0.5 s"),
    ],
)
def test_a_bad_endpoint_costs_a_note_and_the_grammar_answers(
    reply: Reply, note: str, ask_by: Callable[[Endpoint], Ask]
) -> None:
    patience_s = 0.5 if reply in (silent, dripping) else PATIENCE_S  # those two never come to an end
    with serving(reply) as (url, _):
        answer: Answer = ask_by(Endpoint(url, "m", timeout_s=patience_s)).ask(STRANGE)
    assert re.search(note, answer.notes[0]), answer.notes
    assert (answer.author, answer.unknown) == ("grammar", ("couleur",))
    assert {row[0] for row in answer.rows} == {"pump-1", "pump-2", "pump-3"}


def test_no_more_than_so_many_questions_wait_for_a_slow_endpoint(
    ask_by: Callable[[Endpoint], Ask], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for it keeps one of the threads that all pages share."""
    monkeypatch.setattr("hub.ask.engine._WAIT_S", PATIENCE_S)  # the grammar answers them all, two at a time
    may_answer = threading.Event()

    def slow(handler: BaseHTTPRequestHandler) -> None:
        may_answer.wait(PATIENCE_S)
        said("NONE")(handler)

    with serving(slow) as (url, asked), ThreadPoolExecutor(20) as pool:
        ask = ask_by(Endpoint(url, "m", timeout_s=2 * PATIENCE_S))
        waiting = [pool.submit(ask.ask, STRANGE) for _ in range(20)]
        wait_until(lambda: sum(one.done() for one in waiting) == 20 - AT_ONCE, what="those who are sent away")
        may_answer.set()
        answers = [one.result(PATIENCE_S) for one in waiting]
    assert len(asked) == AT_ONCE
    notes = [note for answer in answers for note in answer.notes]
    assert notes.count(f"endpoint: {AT_ONCE} questions are waiting for the endpoint already") == 20 - AT_ONCE


def test_an_endpoint_that_is_not_there_is_told_so(ask_by: Callable[[Endpoint], Ask]) -> None:
    with serving(said(GOOD)) as (url, _):
        pass
    assert "cannot be used" in ask_by(Endpoint(url, "m")).ask(STRANGE).notes[0]


@pytest.mark.parametrize("content", ["", "two\nlines", "é", "x" * 2000])
def test_a_bad_key_is_named_by_its_file_and_not_shown(content: str, ask_by: Callable[[Endpoint], Ask], tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text(content)
    with serving(said(GOOD)) as (url, asked):
        note = ask_by(Endpoint(url, "m", key)).ask(STRANGE).notes[0]
    assert str(key) in note
    assert not content or content not in note
    assert asked == []


@pytest.mark.parametrize(
    "url", ["http://example.org/v1", "ftp://x/", "https://user:pw@example.org", "https://x/?key=1", "nonsense"]
)
def test_a_url_that_would_leak_is_refused_at_the_start(url: str) -> None:
    with pytest.raises(ConfigError, match="ask_endpoint_url"):
        Endpoint(url, "m")


def test_an_endpoint_needs_a_model() -> None:
    with pytest.raises(ConfigError, match="ask_endpoint_model"):
        Endpoint("https://example.org/v1", "")
