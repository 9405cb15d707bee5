"""The page on which people ask.

/ask?q=…     the answer to a question: an address that can be kept and sent
POST /ask    the answer to a query that was edited
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from hub.api.bodies import read_body
from hub.api.problems import Problem
from hub.ask.answer import EXAMPLES, Answer, Ask
from hub.ask.catalog import VIEWS
from hub.ask.engine import AskBusy
from hub.ask.phrasing import duration, value_text
from hub.ask.question import Language
from hub.ask.text import MAX_TEXT
from hub.ask.understand import QuestionTooLong
from hub.lake.query import QueryError
from hub.web.chart import chart_of
from hub.web.desk import Desk
from hub.web.guard import PageGuard, refused
from hub.web.part import Part

_MAX_FORM_BYTES: Final = 65_536  # a query of 8,000 characters, each of them escaped


@dataclass(frozen=True, slots=True)
class AskView:
    """What is shown. `asked`, `sql`: as they stand in the form. `error`: why there is no answer."""

    asked: str
    sql: str
    answer: Answer | None = None
    error: str = ""

    @property
    def language(self) -> str:
        return self.answer.language if self.answer else "en"

    def cells(self) -> list[list[tuple[str, tuple[str, str] | None]]]:
        """Each row's texts, and of an asset the (device, asset) that its page is found by."""
        if self.answer is None:
            return []
        columns = self.answer.columns
        device = columns.index("device") if "device" in columns else None
        rows = []
        for row in self.answer.rows:
            cells: list[tuple[str, tuple[str, str] | None]] = []
            for column, value in zip(columns, row, strict=True):
                leads = column == "asset" and device is not None and value and row[device]
                text = duration(value) if column.endswith("_s") and isinstance(value, (int, float)) else value_text(value)
                cells.append((text, (str(row[device]), str(value)) if leads and device is not None else None))
            rows.append(cells)
        return rows


class AskPage:
    """The endpoints and what they share."""

    nav = (("/ask", "Ask"),)

    def __init__(self, desk: Desk, ask: Ask) -> None:
        self._desk = desk
        self._ask = ask

    def parts(self) -> Mapping[str, Part]:
        return {}

    def routes(self, guard: PageGuard) -> list[BaseRoute]:
        return [guard.page("/ask", self.page), guard.action("/ask", self.edited)]

    async def page(self, request: Request) -> Response:
        asked = " ".join(request.query_params.get("q", "").split())
        if not asked:
            return await self._shown(request, AskView("", ""))
        if len(asked) > MAX_TEXT:
            too_long = f"A question has at most {MAX_TEXT} characters."
            return await self._shown(request, AskView(asked[:MAX_TEXT], "", error=too_long), 400)
        return await self._answered(request, AskView(asked, ""), lambda: self._ask.ask(asked))

    async def edited(self, request: Request) -> Response:
        try:
            body = await read_body(request, _MAX_FORM_BYTES)
        except Problem as problem:
            return refused(problem.status, str(problem))
        fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
        asked, sql = fields.get("q", [""])[0][:MAX_TEXT], fields.get("sql", [""])[0].replace("\r\n", "\n")
        language: Language = "fr" if fields.get("language", [""])[0] == "fr" else "en"
        return await self._answered(request, AskView(asked, sql), lambda: self._ask.run(sql, language, asked))

    async def _answered(self, request: Request, blank: AskView, answer: Callable[[], Answer]) -> Response:
        try:
            found = await run_in_threadpool(answer)  # before the page's own look at the state, which is not kept open meanwhile
        except (QueryError, QuestionTooLong) as error:
            return await self._shown(request, AskView(blank.asked, blank.sql, error=str(error)), 400)
        except AskBusy as error:
            return await self._shown(request, AskView(blank.asked, blank.sql, error=str(error)), 429)
        return await self._shown(request, AskView(blank.asked, found.sql, found))

    async def _shown(self, request: Request, view: AskView, status: int = 200) -> Response:
        plot = view.answer.plot if view.answer else None
        chart = chart_of(plot, self._ask.zone) if plot else None
        values = {"view": view, "chart": chart, "examples": EXAMPLES, "views": VIEWS, "zone": self._ask.zone}
        response = await self._desk.page(request, "ask.html", more=lambda _connection, _look: values, query={})
        response.status_code = status
        return response
