"""kill -9 while a process appends in a loop: what it reported as stored is there, and the sequence has no gap."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.agent.outboxes import open_outbox, shut

WRITER = """
import sys
from pathlib import Path
from tests.agent.outboxes import open_outbox
from tests.builders import aggregate, alert, stamp

box = open_outbox(Path(sys.argv[1]))
n = box.backlog_items
while True:
    box.append([aggregate(n), alert(n)], stamp())
    n += 2
    print(n, flush=True)
"""


def killed_after(path: Path, reports: int) -> int:
    """Start the writer, read so many of its reports, kill it; the last number that it reported."""
    root = Path(__file__).parents[2]
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], cwd=root, stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    try:
        reported = [int(writer.stdout.readline()) for _ in range(reports)][-1]
    finally:
        writer.kill()
    rest = writer.stdout.read().split(
        "\n"
    )  # of this reader: `communicate` would not see the lines that it has taken in already
    writer.wait(30)
    writer.stdout.close()
    return max([reported, *(int(line) for line in rest[:-1])])


def test_every_item_reported_as_stored_survives_kill_9_and_nothing_is_there_by_halves(outbox_path: Path) -> None:
    for reports in (1, 20, 60):
        reported = killed_after(outbox_path, reports)
        box = open_outbox(outbox_path)
        items = box.pending(10**6, 10**9)
        lanes = {lane: [item.seq for item in items if item.lane == lane] for lane in ("alerts", "aggregates")}
        shut(box)
        assert reported <= len(items) <= reported + 2  # it may have been killed between storing and telling
        assert lanes["alerts"] == lanes["aggregates"] == list(range(1, len(items) // 2 + 1))
