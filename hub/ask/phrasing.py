"""An answer in one sentence, in the question's language."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from hub.ask.catalog import ViewName
from hub.ask.question import Language, Question

_NAMED: Final = 4  # so many are called by name
_NOUNS: Final[dict[str, tuple[tuple[str, str], tuple[str, str]]]] = {  # singular and plural, English and French
    "alerts": (("alert", "alerts"), ("alerte", "alertes")),
    "sensor_faults": (("sensor fault", "sensor faults"), ("défaut de capteur", "défauts de capteurs")),
    "assets": (("asset", "assets"), ("équipement", "équipements")),
    "devices": (("device", "devices"), ("appareil", "appareils")),
    "windows": (("window", "windows"), ("fenêtre", "fenêtres")),
    "rollouts": (("rollout", "rollouts"), ("déploiement", "déploiements")),
    "models": (("model", "models"), ("modèle", "modèles")),
    "training_runs": (("training run", "training runs"), ("entraînement", "entraînements")),
    "ledger": (("account", "accounts"), ("compte", "comptes")),
    "asset": (("asset", "assets"), ("équipement", "équipements")),
    "device": (("device", "devices"), ("appareil", "appareils")),
    "site": (("site", "sites"), ("site", "sites")),
    "cause": (("cause", "causes"), ("cause", "causes")),
    "channel": (("channel", "channels"), ("voie", "voies")),
    "profile": (("profile", "profiles"), ("profil", "profils")),
    "model": (("model", "models"), ("modèle", "modèles")),
}
_FIGURES: Final = {"avg": ("on average", "en moyenne"), "sum": ("in total", "au total"), "min": ("at least", "au moins"),
                   "max": ("at most", "au plus"), "median": ("in the median", "en médiane")}  # fmt: skip


def sentence(question: Question | None, language: Language, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """What was found. Without a question (edited SQL): how many rows."""
    french = language == "fr"
    if question is None:
        return _counted(len(rows), ("ligne", "lignes") if french else ("row", "rows"), french) + "."
    noun = _NOUNS.get(
        question.entity or (question.group[0] if question.group else question.view), (("row", "rows"), ("ligne", "lignes"))
    )
    if not rows or (len(rows) == 1 and rows[0] == (None,)):
        return (
            f"Rien : aucun résultat parmi {_many(question.view, french)}."
            if french
            else f"Nothing: no such {_one(question.view)}."
        )
    if question.measure is not None and len(rows) == 1 and len(columns) == 1:
        said = _figure(rows[0][0], columns[0])
        return f"{said} {_FIGURES[question.measure.aggregate][french]}.".capitalize()
    if question.count and columns == ("n",) and len(rows) == 1:
        return _counted(int(rows[0][0]), _NOUNS[question.entity or question.view][french], french) + "."
    if question.bucket:
        points = _counted(len(rows), ("point", "points"), french)
        return f"{points} {'dans le temps' if french else 'over time'}."
    counted = _counted(len(rows), noun[french], french)
    named = [_named(row, columns) for row in rows[:_NAMED]]
    more = " …" if len(rows) > _NAMED else ""
    return f"{counted}{' : ' if french else ': '}{', '.join(named)}{more}."


def _one(view: ViewName) -> str:
    return _NOUNS[view][0][0]


def _many(view: ViewName, french: bool) -> str:
    return f"les {_NOUNS[view][french][1]}"


def _counted(n: int, noun: tuple[str, str], french: bool) -> str:
    figures = f"{n:,}".replace(",", "\N{NARROW NO-BREAK SPACE}" if french else ",")
    return f"{figures} {noun[0] if n == 1 or (french and n == 0) else noun[1]}"


def _named(row: Sequence[Any], columns: Sequence[str]) -> str:
    """The first column, and the figure where there is one."""
    name = value_text(row[0])
    figures = [
        n
        for n, column in enumerate(columns)
        if column in ("n", "n_missing") or column.startswith(("avg_", "total_", "median_"))
    ]
    return f"{name} ({_figure(row[figures[0]], columns[figures[0]])})" if figures and figures[0] else name


def _figure(value: Any, column: str) -> str:
    if column.endswith("_s") and isinstance(value, (int, float)):
        return duration(float(value))
    return value_text(value)


def duration(seconds: float) -> str:
    """1 h 56 min, 3 d 4 h, 12 s."""
    whole = round(seconds)
    for unit_s, unit, part_s, part in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= unit_s:
            rest = whole % unit_s // part_s
            return f"{whole // unit_s} {unit} {rest} {part}" if rest else f"{whole // unit_s} {unit}"
    return f"{whole} s"


def value_text(value: Any) -> str:
    """A cell as text: times to the second, floats to four digits, lists with commas."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}".removesuffix(":00")
    if isinstance(value, (list, tuple)):
        return ", ".join(map(value_text, value))
    return str(value)
