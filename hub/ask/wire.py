"""An answer as JSON: times as ISO 8601 with their offset, no NaN."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from hub.ask.answer import Answer


def plain_answer(answer: Answer) -> dict[str, Any]:
    """Named as in `api.AnswerView`."""
    return {
        "language": answer.language,
        "question": answer.text,
        "sentence": answer.sentence,
        "author": answer.author,
        "sql": answer.sql,
        "understood": [{"words": chip.words, "meaning": chip.meaning} for chip in answer.chips],
        "not_understood": list(answer.unknown),
        "taken_for": [{"words": words, "meaning": meaning} for words, meaning in answer.guessed],
        "columns": list(answer.columns),
        "rows": [[plain_value(value) for value in row] for row in answer.rows],
        "truncated": answer.truncated,
        "notes": list(answer.notes),
        "took_s": round(answer.took_s, 3),
    }


def plain_value(value: Any) -> Any:
    """A cell as JSON has it."""
    match value:
        case None | bool() | int() | str():
            plain: Any = value
        case float() | Decimal():
            plain = float(value) if math.isfinite(value) else None
        case datetime() | date():
            plain = value.isoformat()
        case list() | tuple():
            plain = [plain_value(each) for each in value]
        case Mapping():
            plain = {str(key): plain_value(each) for key, each in value.items()}
        case _:
            plain = str(value)
    return plain
