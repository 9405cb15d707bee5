"""`tocsin agent top` on a real pseudo-terminal, beside a real agent: it shows what is so, and gives the terminal back."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.agent.agent_process import ROOT, AgentProcess, tocsin
from tests.agent.terminal import Terminal
from tests.waiting import wait_until

HOSTILE = """
[[assets]]
id = "pump-1"
profile = "pump"

[[serial]]
name = "controller"
port = "/dev/nothing\\u001b]0;owned\\u0007\\u202e"
asset = "pump-1"
"""
Watch = Callable[..., Terminal]


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory, empty_outbox: Path) -> Iterator[AgentProcess]:
    """With a source that works, and one whose port has a name that would steer a terminal."""
    from tests.agent.agent_process import CONFIG

    process = AgentProcess(tmp_path_factory.mktemp("top"), empty_outbox, CONFIG + HOSTILE)
    process.start()
    yield process
    process.close()


@pytest.fixture
def watch() -> Iterator[Watch]:
    terminals: list[Terminal] = []

    def begin(config: Path, *options: str, **how: object) -> Terminal:
        command = [sys.executable, "-m", "tocsin", "agent", "top", "--config", str(config), *options]
        terminals.append(Terminal(command, ROOT, **how))  # type: ignore[arg-type]
        return terminals[-1]

    yield begin
    for terminal in terminals:
        terminal.close()


def is_as_before(terminal: Terminal) -> bool:
    modes = terminal.modes_now() == terminal.modes_before
    return modes and not terminal.alternate and terminal.cursor and terminal.wraps


def test_it_shows_the_device_live_and_gives_the_terminal_back(agent: AgentProcess, watch: Watch) -> None:
    terminal = watch(agent.config, "--interval-s", "0.2")
    screen = terminal.until(lambda text: re.search(r"● host +up +\d\d\.\d  now", text), "a source with its rate")
    assert screen.startswith(" dev-1  tocsin ")
    assert re.search(r"◌ here +commissioning .* \d+/60 windows", screen)
    assert re.search(r"○ pump-1 +silent ", screen)
    assert re.search(r"◌ controller +connecting ", screen)
    assert " hub: none configured" in screen
    assert all(len(line) <= 80 for line in screen.splitlines())
    assert terminal.alternate
    assert not terminal.cursor
    up = re.search(r"up \d+ .*? MB", screen)
    terminal.until(lambda text: (now := re.search(r"up \d+ .*? MB", text)) and now[0] != (up and up[0]), "a later picture")
    terminal.type("q")
    assert terminal.ended() == 0
    assert is_as_before(terminal)
    assert "Traceback" not in terminal.raw


def test_what_a_port_is_called_cannot_steer_the_terminal(agent: AgentProcess, watch: Watch) -> None:
    terminal = watch(agent.config)
    terminal.until(lambda text: "/dev/nothing·]0;owned··" in text, "the port's name as text")
    assert "\x1b]" not in terminal.raw
    assert "\x07" not in terminal.raw
    assert "\u202e" not in terminal.raw
    terminal.type("q")
    assert terminal.ended() == 0
    assert not set("\x1b\x07\u202e") & set(agent.asked("status").stdout)


@pytest.mark.parametrize("ending", ["\x03", signal.SIGTERM])
def test_ctrl_c_and_a_kill_restore_the_terminal_too(agent: AgentProcess, watch: Watch, ending: str | signal.Signals) -> None:
    terminal = watch(agent.config, "--interval-s", "60")
    terminal.until(lambda text: "hub: none configured" in text, "a picture")
    if isinstance(ending, str):
        terminal.type(ending)
    else:
        terminal.signal(ending)
    assert terminal.ended() == 0
    assert is_as_before(terminal)


def test_ctrl_z_gives_the_terminal_back_until_it_goes_on(agent: AgentProcess, watch: Watch) -> None:
    terminal = watch(agent.config, "--interval-s", "60")
    terminal.until(lambda text: "hub: none configured" in text, "a picture")
    terminal.type("\x1a")
    wait_until(lambda: terminal.text() is not None and is_as_before(terminal), what="the terminal back")
    state = Path(f"/proc/{terminal.process.pid}/stat")
    wait_until(lambda: state.read_text().rsplit(") ", 1)[1].startswith("T"), what="a stopped process")
    terminal.signal(signal.SIGCONT)
    terminal.until(lambda text: terminal.alternate and "hub: none configured" in text, "the picture again")
    terminal.type("q")
    assert terminal.ended() == 0


def test_it_follows_the_window_s_size_and_scrolls_what_does_not_fit(agent: AgentProcess, watch: Watch) -> None:
    terminal = watch(agent.config, "--interval-s", "60")
    terminal.until(lambda text: "hub: none configured" in text, "a picture")
    terminal.resize(50, 8)
    small = terminal.until(lambda text: "more lines below" in text and "hub:" not in text, "a smaller picture")
    assert len(small.splitlines()) <= 8
    assert all(len(line) <= 50 for line in small.splitlines())
    terminal.type("j" * 40)
    terminal.until(lambda text: "hub: none configured" in text and " above" in text, "the last line")
    terminal.type("\x1b[A")
    terminal.until(lambda text: "hub: none configured" not in text and "1 more line below" in text, "one line up")
    terminal.resize(120, 40)
    terminal.until(lambda text: text.startswith(" dev-1") and "hub: none configured" in text, "all of it")
    terminal.type("q")
    assert terminal.ended() == 0


def test_no_color_is_heeded(agent: AgentProcess, watch: Watch) -> None:
    styles = {}
    for name, environment in (("colours", {}), ("none", {"NO_COLOR": "1"})):
        terminal = watch(agent.config, environment=environment)
        terminal.until(lambda text: "hub: none configured" in text, "a picture")
        terminal.type("q")
        terminal.ended()
        styles[name] = set(re.findall(r"\x1b\[([0-9;]*)m", terminal.raw))
    assert {"32", "36"} <= styles["colours"]
    assert styles["none"] <= {"0", "1"}


def test_once_is_one_picture_for_scripts(agent: AgentProcess, watch: Watch) -> None:
    for options in (("--once",), ()):  # standard output is no terminal, which amounts to the same
        done = agent.asked("top", *options)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(" dev-1  tocsin ")
        assert "\x1b" not in done.stdout
        assert all(len(line) <= 80 for line in done.stdout.splitlines())
    terminal = watch(agent.config, "--once")
    assert terminal.ended() == 0
    assert "?1049" not in terminal.raw
    assert "\x1b[32m" in terminal.raw


def test_an_agent_that_ends_is_waited_for(tmp_path: Path, empty_outbox: Path, watch: Watch) -> None:
    agent = AgentProcess(tmp_path, empty_outbox)
    none = tocsin("agent", "top", "--config", agent.config)
    assert (none.returncode, none.stdout, none.stderr) == (3, "", f"no agent is running on {agent.state}\n")
    try:
        agent.start()
        terminal = watch(agent.config, "--interval-s", "0.2")
        terminal.until(lambda text: "hub: none configured" in text, "a picture")
        assert agent.signal(signal.SIGTERM) == 0
        terminal.until(lambda text: text.startswith(" no agent is running on"), "that it ended")
        agent.start()
        terminal.until(lambda text: "hub: none configured" in text, "the next agent")
        terminal.type("q")
        assert terminal.ended() == 0
    finally:
        agent.close()


def test_a_terminal_that_hangs_up_ends_it(agent: AgentProcess, watch: Watch) -> None:
    terminal = watch(agent.config, "--interval-s", "60")
    terminal.until(lambda text: "hub: none configured" in text, "a picture")
    terminal.signal(signal.SIGHUP)
    assert terminal.ended() == 0


def test_it_brings_no_heavy_package(agent: AgentProcess) -> None:
    code = (
        "import sys, agent.top.live; print([m for m in ('rich', 'numpy', 'msgspec', 'curses', 'asyncio') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout == "[]\n"
