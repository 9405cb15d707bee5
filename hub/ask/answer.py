"""A question in, an answer out: understood, made SQL, checked, run, and said in a sentence. For page, API and command alike."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

from sqlalchemy import Engine

from hub.ask.endpoint import Endpoint, EndpointError
from hub.ask.engine import AskEngine, Result, Windows
from hub.ask.gate import QueryRefused
from hub.ask.names import Names, read_names
from hub.ask.phrasing import sentence
from hub.ask.plotting import Plot, plot_of
from hub.ask.question import Chip, Language, Question, Understood
from hub.ask.sql import to_sql
from hub.ask.tables import MAX_ROWS
from hub.ask.understand import understand
from hub.lake.query import QueryError
from hub.state.database import reading
from models.errors import ConfigError

NAMES_FOR_S: Final = 20.0  # so long names are remembered: a device that enrols is known soon enough
EXAMPLES: Final[dict[Language, tuple[str, ...]]] = {
    "en": (
        "which pumps alarmed last week because of vibration?",
        "alerts per site this month",
        "what is wrong right now?",
        "which devices are offline?",
        "how long was each motor in alarm in March?",
        "alerts per day since last Monday",
        "what is missing in the ledger?",
        "which rollouts were rolled back?",
    ),
    "fr": (
        "quelles pompes ont sonné la semaine dernière à cause des vibrations ?",
        "alertes par site ce mois-ci",
        "qu'est-ce qui ne va pas en ce moment ?",
        "quels appareils sont hors ligne ?",
        "combien de temps chaque moteur a-t-il été en alarme en mars ?",
        "alertes par jour depuis lundi dernier",
        "que manque-t-il dans le registre ?",
        "quels déploiements sont revenus en arrière ?",
    ),
}
Author = Literal["grammar", "endpoint", "edited"]


@dataclass(frozen=True, slots=True)
class Answer:
    """`sql` "": nothing was understood. `author`: who wrote the query. `notes`: what else there is to know, in plain words.
    `rows`: at most as many as `engine.MAX_RESULT_ROWS`; `truncated`: there are more."""

    language: Language
    text: str
    sql: str
    author: Author
    sentence: str
    chips: tuple[Chip, ...] = ()
    unknown: tuple[str, ...] = ()
    guessed: tuple[tuple[str, str], ...] = ()
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Any, ...], ...] = ()
    truncated: bool = False
    plot: Plot | None = None
    notes: tuple[str, ...] = ()
    took_s: float = 0.0


class Ask:
    """Answers for all threads. `zone`: in which days begin, and times are shown."""

    def __init__(
        self,
        engine: Engine,
        lake: Windows,
        *,
        offline_after_s: float,
        zone: str = "UTC",
        profiles_dir: Path | None = None,
        endpoint: Endpoint | None = None,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._state = reading(engine)
        self._runner = AskEngine(engine, lake, offline_after_s, now_ns=now_ns)
        self._profiles_dir = profiles_dir
        self._endpoint = endpoint
        self._now_ns = now_ns
        self._known: tuple[float, Names] | None = None
        self._lock = threading.Lock()
        self.zone = zone
        try:
            ZoneInfo(zone)
        except (KeyError, ValueError, OSError):
            raise ConfigError("hub.toml: ask_time_zone", f"a time zone such as Europe/Paris, not {zone!r}") from None

    def ask(self, text: str, language: Language | None = None) -> Answer:
        """The answer to a question. Raises QuestionTooLong, AskBusy, and QueryError where the query cannot be run."""
        names = self._names()
        understood = understand(text, names, self._now_ns(), self.zone, language)
        if self._endpoint is not None and (understood.question is None or understood.unknown):
            return self._proposed(text, understood, names, self._endpoint)
        return self._understood(text, understood)

    def run(self, sql: str, language: Language = "en", text: str = "") -> Answer:
        """The answer to a query that somebody edited. Raises QueryRefused, QueryError, AskBusy."""
        return self._answer(Answer(language, text, sql, "edited", ""), None)

    def _understood(self, text: str, understood: Understood, notes: tuple[str, ...] = ()) -> Answer:
        blank = Answer(
            understood.language, text, "", "grammar", _nothing(understood.language), understood.chips, understood.unknown,
            understood.guessed, notes=notes,
        )  # fmt: skip
        if understood.question is None:
            return blank
        return self._answer(replace(blank, sql=to_sql(understood.question)), understood.question)

    def _proposed(self, text: str, understood: Understood, names: Names, endpoint: Endpoint) -> Answer:
        """What the endpoint makes of it; where that is nothing that can be run, what the grammar made."""
        now = datetime.fromtimestamp(self._now_ns() / 1e9, UTC).astimezone(ZoneInfo(self.zone))
        try:
            sql = endpoint.propose(text, names, now)
            return self._answer(Answer(understood.language, text, sql, "endpoint", ""), None)
        except (EndpointError, ConfigError, QueryRefused, QueryError) as error:
            return self._understood(text, understood, (f"endpoint: {error}",))

    def _answer(self, blank: Answer, question: Question | None) -> Answer:
        result = self._runner.run(blank.sql, self.zone)
        listed = len(result.columns) > 3 if question is None else not (question.group or question.bucket or question.entity)
        return replace(
            blank,
            sentence=sentence(question, blank.language, result.columns, result.rows),
            columns=result.columns,
            rows=result.rows,
            truncated=result.truncated,
            plot=plot_of(result.columns, result.rows, listed),
            notes=(*blank.notes, *_notes(result)),
            took_s=result.took_s,
        )

    def _names(self) -> Names:
        with self._lock:
            known = self._known
            if known is None or time.monotonic() - known[0] > NAMES_FOR_S:
                with self._state.begin() as connection:
                    known = (time.monotonic(), read_names(connection, self._profiles_dir))
                self._known = known
            return known[1]


def _notes(result: Result) -> list[str]:
    return [f"{view}: only the newest {MAX_ROWS:,} were looked at" for view in result.newest_only]


def _nothing(language: Language) -> str:
    return "Rien n'a été compris." if language == "fr" else "Nothing of this was understood."
