"""The dashboard and the alert rules as data, and what an expression asks for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import promql_parser
import yaml

ROOT: Final = Path(__file__).resolve().parents[2]
DASHBOARD: Final = ROOT / "packaging" / "grafana" / "tocsin.json"
RULES: Final = ROOT / "packaging" / "prometheus" / "tocsin-rules.yml"
PROMTOOL, PROMETHEUS = shutil.which("promtool"), shutil.which("prometheus")
NO_PROMETHEUS: Final = "no {} on PATH: `apt-get install prometheus` lets Prometheus itself judge"
# What Grafana puts in place of its variables, as far as they are used.
_VARIABLES: Final = {"$__rate_interval": "5m", "$__interval": "1m", "$instance": ".+"}


@dataclass(frozen=True)
class Asked:
    """One selector of an expression. `grouped`: the labels of the aggregations around it; `equal`: its matchers by `=`."""

    metric: str
    labels: frozenset[str]
    grouped: frozenset[str]
    equal: dict[str, str]


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return found


def dashboard_expressions() -> list[tuple[str, str]]:
    """(where, expression) of every target and annotation, with the variables replaced."""
    found = dashboard()
    told = [
        (f"{panel['title']} {target['refId']}", target["expr"])
        for panel in found["panels"]
        for target in panel.get("targets", [])
    ]
    told += [(each["name"], each["expr"]) for each in found["annotations"]["list"] if "expr" in each]
    return [(where, replaced(expression)) for where, expression in told]


def replaced(expression: str) -> str:
    for name, value in _VARIABLES.items():
        expression = expression.replace(name, value)
    assert "$" not in expression, expression
    return expression


def rules() -> list[dict[str, Any]]:
    """Every alert."""
    found = yaml.safe_load(RULES.read_text())
    return [rule for group in found["groups"] for rule in group["rules"]]


ALERTS: Final = {rule["alert"]: rule for rule in rules()}


def asked(expression: str) -> list[Asked]:
    """Every selector in it. Raises ValueError where it is no PromQL."""
    return list(_asked(promql_parser.parse(expression), frozenset()))


def _asked(expr: Any, grouped: frozenset[str]) -> Iterator[Asked]:
    match expr:
        case promql_parser.VectorSelector():
            matchers = [matcher for matcher in expr.matchers.matchers if matcher.name != "__name__"]
            equal = {m.name: m.value for m in matchers if m.op == promql_parser.MatchOp.Equal}
            yield Asked(expr.name, frozenset(m.name for m in matchers), grouped, equal)
        case promql_parser.MatrixSelector():
            yield from _asked(expr.vector_selector, grouped)
        case promql_parser.AggregateExpr():
            labels = frozenset(expr.modifier.labels) if expr.modifier else frozenset()
            yield from _asked(expr.expr, grouped | labels)
        case promql_parser.BinaryExpr():
            yield from _asked(expr.lhs, grouped)
            yield from _asked(expr.rhs, grouped)
        case promql_parser.Call():
            for argument in expr.args:
                yield from _asked(argument, grouped)
        case promql_parser.ParenExpr() | promql_parser.UnaryExpr() | promql_parser.SubqueryExpr():
            yield from _asked(expr.expr, grouped)
        case promql_parser.NumberLiteral() | promql_parser.StringLiteral():
            return
        case _:
            raise AssertionError(f"what is this: {expr!r}")
