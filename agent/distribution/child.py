"""The process that downloads and verifies one bundle: `python -m agent.distribution.child`, started by `process.py`.

What comes from the network is parsed and verified here and nowhere else. Invariants:
1. Memory, processor time, file sizes and open files have hard limits, set before anything of TUF is imported.
2. It ends with the agent, and where memory is short it goes first.
3. It writes below the directory of the request only, and says how it went in one line.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from agent.distribution.messages import Fetch, Outcome, Report
from models.contract.names import MAX_BUNDLE_BYTES
from models.errors import BundleUntrusted, LinkError

_PR_SET_PDEATHSIG: Final = 1  # prctl(2)
_MIB: Final = 1024 * 1024
_LIMITS: Final = {
    resource.RLIMIT_AS: 256 * _MIB,  # address space: several times what it has in memory
    resource.RLIMIT_CPU: 120,
    resource.RLIMIT_FSIZE: MAX_BUNDLE_BYTES + _MIB,
    resource.RLIMIT_NOFILE: 64,
    resource.RLIMIT_CORE: 0,
}


def main() -> None:
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=Fetch)
    end_with(request.parent_pid)
    limit()
    sys.stdout.buffer.write(msgspec.json.encode(run(request)) + b"\n")


def run(request: Fetch) -> Report:
    """Do it, and say how it went. Other errors than those below are the process's end, and the agent takes them for that."""
    from agent.distribution.client import fetch

    work = Path(request.directory) / "work"
    work.mkdir(mode=0o700, exist_ok=True)
    tempfile.tempdir = str(work)
    outcome: Outcome = "verified"
    text = ""
    try:
        fetch(request)
    except BundleUntrusted as error:
        outcome, text = "untrusted", str(error)
    except LinkError as error:
        outcome, text = "link", str(error)
    except OSError as error:
        outcome, text = "storage", str(error)
        (Path(request.directory) / f"{request.sha256}.part").unlink(missing_ok=True)  # others need the room more
    return Report(outcome=outcome, text=text[:500], peak_rss_bytes=_peak_rss_bytes())


def end_with(parent_pid: int) -> None:
    """Be killed when the parent ends, however it does."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent_pid and os.getppid() != parent_pid:  # it was too late
        sys.exit(1)


def limit() -> None:
    """Take what this process is allowed, and no more. What the system does not let it give up it keeps."""
    for what, most in _LIMITS.items():
        with suppress(OSError, ValueError):
            resource.setrlimit(what, (most, most))
    with suppress(OSError):
        os.nice(10)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _peak_rss_bytes() -> int:
    """Of this program; getrusage would count the agent that it was forked from."""
    with suppress(OSError, IndexError, ValueError):
        (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    main()
