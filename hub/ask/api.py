"""`POST /v1/ask`: a question, or an edited query, and its answer."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, model_validator

from hub.access import Access
from hub.api.guard import guarded_by
from hub.api.openapi import problems
from hub.ask.answer import Ask
from hub.ask.gate import MAX_SQL
from hub.ask.text import MAX_TEXT
from hub.ask.wire import plain_answer

_MAX_BODY: int = 32_768


class AskRequest(BaseModel):
    """`question` in plain words, or `sql`: one SELECT over the views of docs/ask.md. One of the two."""

    model_config = ConfigDict(extra="forbid")
    question: Annotated[str, Field(max_length=MAX_TEXT)] = ""
    sql: Annotated[str, Field(max_length=MAX_SQL)] = ""
    language: Literal["en", "fr"] | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> AskRequest:
        if bool(self.question.strip()) == bool(self.sql.strip()):
            raise ValueError("either a question or sql")
        return self


class PhraseView(BaseModel):
    """Words of the question, and what they were taken for."""

    words: str
    meaning: str


class AnswerView(BaseModel):
    """`sql`: the query that was run, empty where nothing was understood. `author`: grammar, endpoint or edited.
    `not_understood`: words that the answer leaves out. `rows`: as many values as `columns`; times in ISO 8601. `truncated`:
    there are more rows."""

    language: Literal["en", "fr"]
    question: str
    sentence: str
    author: Literal["grammar", "endpoint", "edited"]
    sql: str
    understood: list[PhraseView]
    not_understood: list[str]
    taken_for: list[PhraseView]
    columns: list[str]
    rows: list[list[Any]]
    truncated: bool
    notes: list[str]
    took_s: float


class AskApi:
    """The endpoint. It only reads: a POST because a question may be longer than an address, and is no log's business."""

    def __init__(self, access: Access, ask: Ask) -> None:
        self._access = access
        self._ask = ask

    def router(self) -> APIRouter:
        router = APIRouter(prefix="/v1", route_class=guarded_by(self._access, _MAX_BODY))
        router.post("/ask", responses=problems(400, 429))(self.ask)
        return router

    def ask(self, wanted: AskRequest) -> AnswerView:
        """Answer a question in plain English or French, or run an edited query: read-only, bounded in rows, memory and time."""
        if wanted.sql.strip():
            answer = self._ask.run(wanted.sql, wanted.language or "en")
        else:
            answer = self._ask.ask(wanted.question, wanted.language)
        return AnswerView(**plain_answer(answer))
