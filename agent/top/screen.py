"""The terminal, taken over and given back: another screen without cursor and echo, painted whole, restored whatever happens.

Plain control sequences that every terminal of the last decades knows (ECMA-48, xterm's alternate screen): no library, no
terminfo on the device. Signals arrive as bytes on a socket, so that one `select` waits for keys, signals and time alike.
"""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import sys
import termios
import tty
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Final, Literal, Self

from agent.top.frame import Line, Style

Key = Literal["quit", "up", "down", "page up", "page down"]

_ENTER: Final = "\x1b[?1049h\x1b[?25l\x1b[?7l"  # other screen; no cursor; no wrapping at the edge
_LEAVE: Final = "\x1b[?7h\x1b[?25h\x1b[?1049l"
_COLOURS: Final[dict[Style, str]] = {
    "title": "1", "faint": "2", "good": "32", "bad": "1;31", "learning": "36", "quiet": "2", "warn": "33"
}  # fmt: skip
_PLAIN: Final[dict[Style, str]] = {"title": "1", "bad": "1"}
_KEYS: Final[dict[bytes, Key]] = {
    b"q": "quit", b"Q": "quit", b"\x03": "quit", b"k": "up", b"j": "down", b" ": "page down",
    b"\x1b[A": "up", b"\x1b[B": "down", b"\x1bOA": "up", b"\x1bOB": "down", b"\x1b[5~": "page up", b"\x1b[6~": "page down",
}  # fmt: skip
_KEY: Final = re.compile(rb"\x1b[\[O][0-9;]*[A-Za-z~]|.", re.DOTALL)  # several may come at once over a slow line
_SIGNALS: Final = (signal.SIGWINCH, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP, signal.SIGCONT)
_ENDINGS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def painted(line: Line, colours: bool) -> str:
    """`line` with the sequences for its styles. Without colours what is urgent is bold still: see https://no-color.org."""
    codes = _COLOURS if colours else _PLAIN
    return "".join(f"\x1b[{code}m{text}\x1b[0m" if (code := codes.get(style)) else text for style, text in line)


class Screen:
    """As a context manager, from the main thread: in between the terminal is ours. Standard input and output must be one."""

    def __init__(self, colours: bool) -> None:
        self._colours = colours
        self._in, self._out = sys.stdin.fileno(), sys.stdout.fileno()
        self._encoding = sys.stdout.encoding or "utf-8"
        self._before = termios.tcgetattr(self._in)
        self._heard, self._wake = socket.socketpair()
        self._handlers: dict[signal.Signals, object] = {}
        self.ending = False

    def __enter__(self) -> Self:
        for end in (self._heard, self._wake):
            end.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        self._handlers = {signum: signal.signal(signum, _noted) for signum in _SIGNALS}
        self._take()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with suppress(OSError):  # who looked may have hung up
            self._give_back()
        for signum, handler in self._handlers.items():
            signal.signal(signum, handler)  # type: ignore[arg-type]  # what it was before
        signal.set_wakeup_fd(-1)
        self._heard.close()
        self._wake.close()

    def size(self) -> tuple[int, int]:
        """(columns, rows)."""
        size = os.get_terminal_size(self._out)
        return max(20, size.columns), max(4, size.lines)

    def show(self, lines: Sequence[Line]) -> None:
        """Paint the screen anew, in one write: nothing flickers, also over a slow line."""
        rows = ("\x1b[2K" + painted(line, self._colours) for line in lines)
        self._write("\x1b[H" + "\r\n".join(rows) + "\x1b[J")

    def wait(self, timeout_s: float) -> list[Key]:
        """The next keys; none once `timeout_s` has passed, or when the picture needs to be painted anew. Sets `ending`."""
        ready, _, _ = select.select([self._in, self._heard], [], [], max(0.0, timeout_s))
        if self._heard in ready:
            self._heed(set(self._heard.recv(4096)))
        if self._in not in ready:
            return []
        said = os.read(self._in, 64)
        if not said:  # the terminal is gone
            self.ending = True
        return [_KEYS[key] for key in _KEY.findall(said) if key in _KEYS]

    def _heed(self, signals: set[int]) -> None:
        if signals & set(_ENDINGS):
            self.ending = True
        elif signal.SIGTSTP in signals:
            self._give_back()
            os.kill(os.getpid(), signal.SIGSTOP)  # until somebody says `fg`
            self._take()

    def _take(self) -> None:
        tty.setcbreak(self._in)
        self._write(_ENTER)

    def _give_back(self) -> None:
        termios.tcsetattr(self._in, termios.TCSADRAIN, self._before)
        self._write(_LEAVE)

    def _write(self, text: str) -> None:
        data = text.encode(self._encoding, "replace")
        while data:
            data = data[os.write(self._out, data) :]


def _noted(_signum: int, _frame: FrameType | None) -> None:
    """The signal's number is on the socket already."""
