"""Templates to responses: every page leaves with the same strict headers.

1. Autoescape is on and nothing from outside is marked as safe: a hostile name is shown as text.
2. Scripts and styles come from files of this hub only. There is no inline script or style and no other origin, so the
   Content-Security-Policy needs no exception.
3. Pages are never cached by anyone on the way; static files are addressed by their content and may be kept for good.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from hub.web import words

HERE: Final = Path(__file__).resolve().parent
STATIC_DIR: Final = HERE / "static"
SECURITY_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with no-referrer, browsers would send their own forms with `Origin: null`
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
PAGE_HEADERS: Final = {**SECURITY_HEADERS, "Cache-Control": "no-store"}


class ContentAddressedFiles(StaticFiles):
    """Static files; those asked for with `?v=<digest>` never change under that address."""

    def __init__(self) -> None:
        super().__init__(directory=STATIC_DIR)

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(SECURITY_HEADERS)
        if scope["query_string"].startswith(b"v="):
            response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response


class Templates:
    """The hub's templates; `page` gives a whole response, `text` the markup alone."""

    def __init__(self) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals.update(
            age=_age,
            static=_static_urls().__getitem__,
            how_sure=words.how_sure,
            STATE_WORDS=words.STATE_WORDS,
            UPTAKE=words.UPTAKE,
        )
        for name in ("size", "count", "percent", "label", "fault_name", "iso", "span", "day", "exact", "rate", "unit"):
            self._environment.filters[name] = getattr(words, name)

    def page(self, template: str, status_code: int = 200, **values: Any) -> HTMLResponse:
        return HTMLResponse(self.text(template, **values), status_code=status_code, headers=PAGE_HEADERS)

    def text(self, template: str, **values: Any) -> str:
        return self._environment.get_template(template).render(**values)


@pass_context
def _age(context: Context, then_ns: int | None) -> Markup:
    """How long ago, as an element that `live.js` keeps up to date; needs `now_ns` in the template's values."""
    text = words.since(then_ns, context["now_ns"])
    if then_ns is None or not (moment := words.iso(then_ns)):
        return Markup("<span>{}</span>").format(text)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(moment, escape(moment), text)


def _static_urls() -> dict[str, str]:
    """Each static file's path to its address with its digest."""
    urls = {}
    for path in STATIC_DIR.rglob("*"):
        if path.is_file():
            name = path.relative_to(STATIC_DIR).as_posix()
            urls[name] = f"/static/{name}?v={hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
    return urls
