"""The page's sockets: bounded in time, size and number; and in a real agent, which watches on whatever the page meets."""

from __future__ import annotations

import http.client
import json
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.page.answers import HEADERS
from agent.page.config import PageConfig
from agent.page.server import Page
from tests.agent.agent_process import CONFIG, AgentProcess
from tests.agent.test_status_text import STATUS
from tests.ports import own_port
from tests.waiting import wait_until


@pytest.fixture
def port() -> Iterator[int]:
    """Of a page of its own, whose agent is a table."""
    page = Page(PageConfig(port=own_port()), lambda: STATUS)
    page.start()
    wait_until(lambda: page.state().endswith("/"), what="the page")
    yield page._config.port
    page.stop()


def get(port: int, path: str = "/", method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, headers=headers)
        reply = connection.getresponse()
        return reply.status, dict(reply.getheaders()), reply.read()
    finally:
        connection.close()


def raw(port: int, sent: bytes) -> bytes:
    """What comes back until the page hangs up."""
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        connection.sendall(sent)
        back = b""
        try:
            while chunk := connection.recv(65536):
                back += chunk
        except ConnectionResetError:
            pass
        return back


def test_every_answer_has_the_headers_that_keep_other_sites_out(port: int) -> None:
    for path, method in (("/", "GET"), ("/", "HEAD"), ("/status.json", "GET"), ("/nowhere", "GET"), ("/", "DELETE")):
        status, headers, body = get(port, path, method)
        assert HEADERS.items() <= headers.items()
        assert int(headers["Content-Length"]) > 0
        assert (body == b"") == (method == "HEAD")
        assert headers["Server"] == "tocsin"
        assert status == {"/nowhere": 404}.get(path, 405 if method == "DELETE" else 200)
    assert get(port, method="PUT")[1]["Allow"] == "GET, HEAD"
    assert get(port, Host="evil.example")[0] == 421


@pytest.mark.parametrize(
    "sent",
    [b"garbage\r\n\r\n", b"\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
     b"GET / HTTP/1.1\r\n: x\r\n\r\n",
     b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n", b"GET /<script> HTTP/1.1 x y\r\n\r\n"],
)  # fmt: skip
def test_garbage_is_refused_and_not_repeated(port: int, sent: bytes) -> None:
    back = raw(port, sent)
    assert back == b"" or back.split(b" ")[1][:1] in (b"4", b"5")
    assert b"<script" not in back
    assert get(port)[0] == 200


def test_a_head_that_has_no_end_is_cut_off(port: int) -> None:
    assert raw(port, b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 20_000) == b""
    assert get(port)[0] == 200


def test_who_dawdles_is_dropped_and_others_are_served_after_it(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.page.server._HEAD_S", 0.5)
    slow = [socket.create_connection(("127.0.0.1", port), 60) for _ in range(8)]
    for connection in slow:
        connection.sendall(b"GET / HT")
    assert get(port)[0] == 200
    dropped, _, _ = select.select(slow, [], [], 0)
    assert len(dropped) >= 5, "eight dawdle and four are served at a time: who comes after them waits for five to be dropped"
    assert [connection.recv(1) for connection in slow] == [b""] * 8
    for connection in slow:
        connection.close()


def test_a_defect_costs_one_answer_only(caplog: pytest.LogCaptureFixture) -> None:
    faults: list[Exception] = [ValueError("a defect")] * 6

    def status() -> dict[str, Any]:
        if faults:
            raise faults.pop()
        return STATUS

    page = Page(PageConfig(port=own_port()), status)
    page.start()
    try:
        wait_until(lambda: page.state().endswith("/"), what="the page")
        for _ in range(6):
            with pytest.raises(http.client.BadStatusLine):
                get(page._config.port)
        assert get(page._config.port)[0] == 200
    finally:
        page.stop()
    assert "a defect" in caplog.text


def test_a_real_agent_shows_itself_and_watches_on_where_it_cannot(tmp_path: Path, empty_outbox: Path) -> None:
    taken_port = own_port()
    with socket.create_server(("127.0.0.1", taken_port)):
        agent = AgentProcess(tmp_path, empty_outbox, f"{CONFIG}\n[page]\nport = {taken_port}\n")
        try:
            agent.start()
            told = wait_until(lambda: (s := agent.status()) and "in use" in s["page"] and s, what="the page to be tried")
            assert told["page"].startswith(f"http://127.0.0.1:{taken_port}/: ")
            wait_until(lambda: agent.status()["readings"] > 5, what="readings")
            assert agent.signal(signal.SIGTERM) == 0
        finally:
            agent.close()
    agent.config.write_text(f"{CONFIG}\n[page]\nport = {taken_port}\n")
    try:
        agent.start()
        wait_until(lambda: agent.status()["page"].endswith("/"), what="the page")
        status = json.loads(get(taken_port, "/status.json")[2])
        assert status["device"] == "dev-1"
        assert status["page"] == f"http://127.0.0.1:{taken_port}/"
        assert b"<bdi>here</bdi>" in get(taken_port)[2]
        assert "  page: http://127.0.0.1" in agent.asked("status").stdout
        assert agent.signal(signal.SIGTERM) == 0
    finally:
        agent.close()
    assert agent.log.read_text().count("the page cannot be served") == 1
    assert "Traceback" not in agent.log.read_text()


def test_an_agent_without_a_page_imports_nothing_of_it() -> None:
    code = "import sys, agent.app, agent.run; print([m for m in sys.modules if m.startswith(('agent.page', 'http.server'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['agent.page', 'agent.page.config', 'agent.page.construct']\n"
