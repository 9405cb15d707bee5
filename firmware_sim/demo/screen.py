"""What the demo says while it runs: chapters, milestones with the time they took, and a line that moves while one waits."""

from __future__ import annotations

import time

from rich.console import Console
from rich.status import Status


class Screen:
    """On a terminal the last line moves; into a file or a log only what has happened is written."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._started_s = time.monotonic()
        self._status: Status | None = None
        self._n_chapters = 0

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._started_s

    def head(self, *lines: str) -> None:
        for line in lines:
            self.console.print(line, highlight=False)

    def chapter(self, title: str, text: str) -> None:
        self._n_chapters += 1
        self.console.print(f"\n[bold cyan]{self._n_chapters}  {title}[/]  [dim]{text}[/]", highlight=False)

    def done(self, text: str) -> None:
        """A milestone that stays on the screen."""
        minutes, seconds = divmod(round(self.elapsed_s), 60)
        self.console.print(f"   [green]✓[/] [dim]{minutes}:{seconds:02d}[/]  {text}", highlight=False)

    def waiting(self, text: str) -> None:
        """What is being waited for just now."""
        if not self.console.is_terminal:
            return
        if self._status is None:
            self._status = self.console.status("", spinner="dots")
            self._status.start()
        self._status.update(f"[dim]{text}[/]")

    def still(self) -> None:
        """Nothing is being waited for any more."""
        if self._status is not None:
            self._status.stop()
            self._status = None
