"""What the fleet's learning brought: /value. The figures are those of `tocsin hub value` and `/v1/value`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from sqlalchemy import Engine
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from hub.state.database import reading
from hub.value.report import ValueFigures
from hub.web.desk import Desk
from hub.web.guard import PageGuard
from hub.web.kept import Kept
from hub.web.part import Part
from hub.web.seams import Windows
from hub.web.value.view import ValueView, value_view

KEPT_S: Final = 60.0


class ValuePages:
    """One page of one part."""

    nav = (("/value", "Value"),)

    def __init__(self, desk: Desk, engine: Engine, lake: Windows, profiles_dir: Path | None) -> None:
        self._desk = desk
        figures = ValueFigures(profiles_dir)

        def work() -> ValueView:
            with reading(engine).begin() as connection:
                return value_view(figures.report(connection, lake.dataset("aggregates"), desk.clock()))

        self._view = Kept(work, KEPT_S)

    def parts(self) -> Mapping[str, Part]:
        return {"value": Part(lambda _connection, _look: self._view.view())}

    def routes(self, guard: PageGuard) -> list[BaseRoute]:
        return [guard.page("/value", self.page)]

    async def page(self, request: Request) -> Response:
        return await self._desk.page(request, "value.html", ["value"])
