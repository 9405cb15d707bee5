"""Text is readable: WCAG 2.2 AA, 4.5 to 1, for every pair of colours that the sheet puts together, in light and dark."""

from __future__ import annotations

import re

import pytest

from hub.web.render import STATIC_DIR

TEXT = ("ink", "muted", "accent", "normal", "alarm", "learning", "silent", "not-judged", "warn")
PAIRS = [
    *((text, ground) for text in TEXT for ground in ("ground", "surface")),
    *((text, ground) for text in ("ink", "muted") for ground in ("sunken", "alarm-tint", "warn-tint")),
    *(("on-strong", ground) for ground in ("accent", "alarm", "warn", "silent")),
    ("alarm", "alarm-tint"),
    ("warn", "warn-tint"),
]


def palettes() -> dict[str, dict[str, str]]:
    """The colours by scheme and name, as #rrggbb."""
    light, dark = re.findall(r":root \{(.*?)\}", (STATIC_DIR / "tocsin.css").read_text(encoding="utf-8"), re.DOTALL)[:2]
    return {
        scheme: dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", text)) for scheme, text in (("light", light), ("dark", dark))
    }


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2.2, 0..1."""
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("text", "ground"), PAIRS)
def test_text_stands_out_from_its_ground(scheme: str, text: str, ground: str) -> None:
    colours = palettes()[scheme]
    lighter, darker = sorted((luminance(colours[text]), luminance(colours[ground])), reverse=True)
    ratio = (lighter + 0.05) / (darker + 0.05)
    assert ratio >= 4.5, f"{text} on {ground}: {ratio:.2f}"
