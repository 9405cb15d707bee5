"""How many questions in plain English and French are answered right, and how long one takes: the test set on its seeded fleet.

    python -m benchmarks ask

The share is of answers with exactly the expected rows; see tests/ask/questions_en.toml for what the parts are. It says how the
grammar fares on questions that it has met; the shares of its first meeting with each part are in docs/ask.md.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from benchmarks.figure import Figure, median_of

PARTS = ("tuned", "held-out", "unseen")


def run() -> Iterable[Figure]:
    from hub.ask.answer import Ask
    from hub.ask.engine import AskEngine
    from hub.ask.names import read_names
    from hub.ask.question import LANGUAGES
    from hub.ask.understand import understand
    from hub.lake.lake import open_lake
    from hub.state.database import open_state
    from tests.ask.judging import fault, questions
    from tests.ask.seeding import NOW_NS, ZONE, seed, seed_lake

    yield Figure(name="dateparser: to import, when a date is first written", value=_import_s("dateparser"), unit="s")
    with tempfile.TemporaryDirectory() as folder:
        engine, lake = open_state(f"sqlite:///{Path(folder) / 'hub.db'}"), open_lake(str(Path(folder) / "lake"))
        with engine.begin() as connection:
            seed(connection)
            names = read_names(connection)
        seed_lake(lake)
        runner = AskEngine(engine, lake, 90, now_ns=lambda: NOW_NS)
        for language in LANGUAGES:
            asked = questions(language)
            right = Counter(each.part for each in asked if not fault(each, runner, names))
            n = Counter(each.part for each in asked)
            for part in PARTS:
                yield Figure(name=f"{language}, {n[part]} questions {part}: right", value=100 * right[part] / n[part], unit="%")
        every = [each.ask for language in LANGUAGES for each in questions(language)]
        understanding = [_timed_ms(partial(understand, text, names, NOW_NS, ZONE)) for text in every]
        yield median_of("a question: to understand", understanding, "ms")
        ask = Ask(engine, lake, offline_after_s=90, zone=ZONE, now_ns=lambda: NOW_NS)
        yield median_of("a question: to answer, all of it", [_timed_ms(partial(ask.ask, text)) for text in every], "ms")
        engine.dispose()


def _timed_ms(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - started)


def _import_s(module: str) -> float:
    """In a process of its own, without what starting Python takes."""
    code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout)
