"""The agent's own process. `tocsin agent run` turns into it once it has understood what was asked for.

The command line's library and what it has loaded would stay in memory for as long as the agent runs: two megabytes, for
years. To begin anew costs a few hundredths of a second.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from agent.isolation import isolation
from models.errors import ConfigError, TocsinError

if TYPE_CHECKING:
    from types import FrameType


def become_agent(config_path: Path, log_level: str) -> None:
    """Does not return: this process goes on as the agent, under the same number."""
    arguments = [*isolation(), "-m", "agent.run", str(config_path), log_level]
    os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606  # what it starts is itself


def main(config_path: Path, log_level: str) -> None:
    """Errors raised on purpose become one line and an exit code, as with every other command."""
    try:
        run(config_path, log_level)
    except TocsinError as error:
        sys.stderr.write(f"tocsin: {error}\n")
        sys.exit(error.exit_code if isinstance(error, ConfigError) else 1)
    except KeyboardInterrupt:
        sys.exit(130)


def run(config_path: Path, log_level: str) -> None:
    """Watch the configured assets until stopped."""
    import faulthandler
    import signal

    from agent.app import App
    from agent.config import load_config
    from agent.service.notify import Notifier
    from agent.status.health import one_arena
    from agent.status.status_text import status_line
    from models.version import VERSION

    one_arena()
    faulthandler.enable()  # the watchdog aborts a hung agent: then the log gets the stack of every thread
    _log_to_stderr(log_level)
    app = App(load_config(config_path), VERSION)
    notifier = Notifier.from_environment(os.environ, lambda: status_line(app.status()))

    def stop(_signum: int, _frame: FrameType | None) -> None:
        notifier.stopping()
        app.stop()

    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, stop)
    app.run(notifier.ready, notifier.progress)


def _log_to_stderr(level: str) -> None:
    import logging

    from agent.service.journal import JournalFormatter, writes_to_journal

    handler = logging.StreamHandler(sys.stderr)
    to_journal = writes_to_journal(os.environ, sys.stderr.fileno())
    plain = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(JournalFormatter() if to_journal else plain)
    logging.basicConfig(level=level.upper(), handlers=[handler])


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
