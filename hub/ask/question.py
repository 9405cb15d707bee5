"""What was asked, as a value: the grammar makes it, `sql.py` writes the query, `phrasing.py` says what was found."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from hub.ask.catalog import ViewName

Language = Literal["en", "fr"]
LANGUAGES: Final[tuple[Language, ...]] = ("en", "fr")
Operator = Literal["=", "!=", "<", "<=", ">", ">=", "has", "true", "false", "null", "not null"]
Bucket = Literal["", "hour", "day", "week", "month"]
Aggregate = Literal["", "avg", "sum", "min", "max", "median"]


@dataclass(frozen=True, slots=True)
class Filter:
    """`column` compared with any of `values`; `has`: a list that contains one of them. `negated` turns it round."""

    column: str
    operator: Operator
    values: tuple[str | float, ...] = ()
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Span:
    """From `start` on and before `end`, with time zone; None = open. `words`: what was written."""

    start: datetime | None
    end: datetime | None
    words: str = ""


@dataclass(frozen=True, slots=True)
class Measure:
    """An aggregate of a column."""

    aggregate: Aggregate
    column: str

    @property
    def name(self) -> str:
        """What the answer's column is called."""
        if (self.column == "p_value" and self.aggregate in ("min", "max")) or self.column.startswith("n_"):
            return self.column
        return {"avg": "avg_", "sum": "total_", "min": "min_", "max": "max_", "median": "median_"}[self.aggregate] + self.column


@dataclass(frozen=True, slots=True)
class Question:
    """`entity`: not the view's rows are wanted, but whatever of this kind (asset, device, site, cause, …) is in them.
    `count`: how many there are is asked for. `group`: columns; `bucket`: and by the time. `more_than`: rows of each group.
    `never`: entities of which the view has no such row. `order`: a column, and whether it falls; `limit`: 0 = as is usual.
    `time`: the column that `span` is about."""

    language: Language
    view: ViewName
    entity: str = ""
    count: bool = False
    filters: tuple[Filter, ...] = ()
    span: Span | None = None
    group: tuple[str, ...] = ()
    bucket: Bucket = ""
    measure: Measure | None = None
    more_than: tuple[Operator, float] | None = None
    never: bool = False
    order: tuple[str, bool] | None = None
    limit: int = 0
    time: str = ""


@dataclass(frozen=True, slots=True)
class Chip:
    """A part of the text and what it was taken for."""

    words: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Understood:
    """`question` None: nothing to go by. `unknown`: words that were not understood, in order. `guessed`: words that were taken
    for others that they resemble, with those."""

    language: Language
    question: Question | None
    chips: tuple[Chip, ...]
    unknown: tuple[str, ...]
    guessed: tuple[tuple[str, str], ...] = field(default=())
