"""Picking values out of JSON columns."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, ColumnElement, cast


def whole_number(value: Any) -> ColumnElement[int]:
    """A whole number of up to 64 bits, as in `whole_number(table.c.column["name"])`; SQLAlchemy's `as_integer` stops at 32 on
    PostgreSQL, which a size in bytes exceeds. NULL where there is none."""
    return cast(value.as_string(), BigInteger)
