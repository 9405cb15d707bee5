"""A command on a real pseudo-terminal, and what a person would see there: the few control sequences that Tocsin uses are
carried out, any other fails the test."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.waiting import wait_until

_SEQUENCE = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])")
_REST_S = 10.0  # for the rest of a picture to come: the terminal passes it on in pieces


class Terminal:
    """`raw`: everything that was written. `alternate`, `cursor`, `wraps`: the terminal's modes, as a shell wants them back."""

    def __init__(
        self, command: Sequence[str], cwd: Path, columns: int = 80, rows: int = 24, environment: Mapping[str, str] | None = None
    ) -> None:
        self._ours, theirs = pty.openpty()
        self._columns, self._rows = columns, rows
        self.resize(columns, rows)
        self.modes_before = termios.tcgetattr(theirs)
        self._theirs = theirs  # kept open, so that its modes can be asked for after the command has ended
        plain = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "LINES")}
        # A session's first terminal that is opened becomes the one that its Ctrl-C and Ctrl-Z come from.
        opened = ["sh", "-c", 'exec "$@" <"$0" >"$0" 2>&1', os.ttyname(theirs), *command]
        environment = {**plain, "TERM": "xterm-256color", **(environment or {})}
        self.process = subprocess.Popen(opened, cwd=cwd, start_new_session=True, env=environment)
        self.raw = ""
        self._pending = b""
        self.alternate, self.cursor, self.wraps = False, True, True
        self._painting = False
        self._lines: list[list[str]] = []
        self._row = self._column = 0
        self._clear()

    def resize(self, columns: int, rows: int) -> None:
        """As when somebody drags the window's corner: the command's group hears of it."""
        self._columns, self._rows = columns, rows
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def text(self) -> str:
        """What is on the screen now; of a picture that is being painted, all of it."""
        while select.select([self._ours], [], [], _REST_S if self._painting else 0)[0]:
            try:
                data = os.read(self._ours, 65536)
            except OSError:
                break
            self._take(data)
        return "\n".join("".join(line).rstrip() for line in self._lines)

    def until(self, condition: Callable[[str], object], what: str) -> str:
        """The screen, once it satisfies `condition`."""
        return wait_until(lambda: text if condition(text := self.text()) else "", what=what)

    def modes_now(self) -> list[object]:
        return termios.tcgetattr(self._theirs)

    def ended(self) -> int:
        """The exit code."""
        wait_until(lambda: (self.text(), self.process.poll())[1] is not None, what="the command's end")
        self.text()
        return self.process.returncode

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        os.close(self._ours)
        os.close(self._theirs)

    # --- the terminal --------------------------------------------------------------------------------------------

    def _clear(self) -> None:
        self._lines = [[" "] * self._columns for _ in range(self._rows)]
        self._row = self._column = 0

    def _take(self, data: bytes) -> None:
        text = (self._pending + data).decode("utf-8", "ignore")
        whole = re.sub(r"\x1b(\[[?0-9;]*)?$", "", text)
        self._pending = text[len(whole) :].encode()
        self.raw += whole
        at = 0
        while at < len(whole):
            found = _SEQUENCE.match(whole, at)
            if found:
                self._obey(found[1], found[2])
                at = found.end()
            else:
                self._put(whole[at])
                at += 1

    def _obey(self, arguments: str, final: str) -> None:
        match arguments, final:
            case ("?1049", "h" | "l"):
                self.alternate = final == "h"
                self._clear()
            case ("?25", "h" | "l"):
                self.cursor = final == "h"
            case ("?7", "h" | "l"):
                self.wraps = final == "h"
            case ("", "H"):
                self._row = self._column = 0
                self._painting = True
            case ("2", "K"):
                self._fit()
                self._lines[self._row] = [" "] * self._columns
            case ("", "J"):
                self._painting = False
                self._fit()
                self._lines[self._row][self._column :] = [" "] * (self._columns - self._column)
                self._lines[self._row + 1 :] = [[" "] * self._columns for _ in self._lines[self._row + 1 :]]
            case (_, "m"):
                pass
            case _:
                raise AssertionError(f"a sequence that Tocsin has no use for: {arguments!r} {final!r}")

    def _put(self, char: str) -> None:
        if char == "\r":
            self._column = 0
        elif char == "\n":
            self._row += 1
            if self._row >= self._rows:
                self._lines = [*self._lines[1:], [" "] * self._columns]
                self._row = self._rows - 1
        else:
            assert char >= " ", f"a control character: {char!r}"
            self._fit()
            self._lines[self._row][min(self._column, self._columns - 1)] = char
            self._column = min(self._column + 1, self._columns)

    def _fit(self) -> None:
        """After a change of size."""
        self._lines = [[*line[: self._columns], *" " * (self._columns - len(line))] for line in self._lines[: self._rows]]
        self._lines += [[" "] * self._columns for _ in range(self._rows - len(self._lines))]
