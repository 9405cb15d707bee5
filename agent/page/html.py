"""HTML that cannot be broken out of: every text becomes text, every attribute is quoted. Pure."""

from __future__ import annotations

from html import escape

_VOID = ("link", "meta")


class Html(str):
    """Markup that is safe as it stands; any other `str` is text."""

    __slots__ = ()


def text_of(part: str) -> Html:
    return part if isinstance(part, Html) else Html(escape(part, quote=False))


def joined(*parts: str) -> Html:
    """One after the other; what is no markup becomes text."""
    return Html("".join(text_of(part) for part in parts))


def element(tag: str, *children: str, **attributes: str | float | None) -> Html:
    """`tag` with `children` and `attributes`: `class_` is class, `data_x` is data-x; one that is None is left out.

    `tag` and the names of attributes are the caller's own words, never data.
    """
    quoted = [
        f' {name.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for name, value in attributes.items()
        if value is not None
    ]
    opening = f"<{tag}{''.join(quoted)}>"
    return Html(opening if tag in _VOID else f"{opening}{joined(*children)}</{tag}>")
