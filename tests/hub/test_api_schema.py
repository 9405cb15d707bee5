"""The API against its own description: complete, consistent, and true whatever is sent (Schemathesis)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, note, seed, settings
from hypothesis.errors import Unsatisfiable

from hub.app import build_app
from hub.operators.rights import ROUTES
from hub.settings import init_hub
from tests.hub.conftest import FAST, HubClient, running
from tests.hub.operating import QUICK, user_in
from tests.hub.simulated_device import aggregates, alert, item, poison
from tests.hub.test_api_operators import add_bundle
from tests.waiting import PATIENCE_S, wait_until

schemathesis = pytest.importorskip("schemathesis")
EXAMPLES = int(os.environ.get("TOCSIN_FUZZ_EXAMPLES", "4"))  # of each kind for each operation


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubClient]:
    """A hub that knows a little of everything, and hashes passwords quickly."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("hub.app.Passwords", lambda: QUICK)
        with running(init_hub(tmp_path_factory.mktemp("hub"), FAST)) as client:
            device = client.enrolled()
            client.http.post("/v1/checkin", content=device.checkin(slots=[]))
            client.ingest(device.batch([*aggregates(1, 3), poison(4), item(alert(), 1)]))
            add_bundle(client)
            user_in(client.hub.state_url, "ann", "viewer")
            client.http.post("/v1/rollouts", json={"bundle_id": "pump-7"}, headers=client.auth)
            wait_until(lambda: client.get("/v1/alerts"))
            yield client


@pytest.fixture(scope="module")
def described(client: HubClient) -> dict[str, Any]:
    found: dict[str, Any] = client.http.get("/v1/openapi.json").json()
    return found


def operations(described: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_every_route_of_the_api_is_described(described: dict[str, Any]) -> None:
    told = {wanted for wanted, _ in operations(described)}
    meant = {wanted for wanted in ROUTES if " /v1/" in wanted} - {"GET /v1/openapi.json", "GET /v1/bundles/{sha256}"}
    assert meant <= told
    assert {"GET /healthz", "GET /readyz", "GET /metrics"} <= told


def test_every_error_is_described_as_a_problem_and_every_operation_says_who_may_call_it(described: dict[str, Any]) -> None:
    for wanted, operation in operations(described):
        answers = operation["responses"]
        for status, answer in answers.items():
            if status >= "400" and wanted != "GET /readyz":
                assert list(answer["content"]) == ["application/problem+json"], (wanted, status)
        right = ROUTES[wanted]
        assert ({"401", "403"} <= set(answers)) == (right.role is not None) or wanted.startswith("POST /v1/enrol"), wanted
        assert bool(operation["security"]) == (right.role is not None)
        assert operation["summary"]
        assert operation["operationId"]
    identifiers = [operation["operationId"] for _, operation in operations(described)]
    assert len(set(identifiers)) == len(identifiers)
    assert "HTTPValidationError" not in json.dumps(described)


def test_every_list_is_described_with_its_pages(described: dict[str, Any]) -> None:
    for wanted, operation in operations(described):
        answer = operation["responses"].get("200", {})
        schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
        if schema.get("type") == "array":
            assert "Link" in answer["headers"], wanted
            assert {"limit", "cursor"} <= {parameter["name"] for parameter in operation["parameters"]}, wanted


def test_the_description_is_made_once_and_needs_no_running_hub(tmp_path_factory: pytest.TempPathFactory) -> None:
    app: FastAPI = build_app(init_hub(tmp_path_factory.mktemp("hub"), FAST))
    assert app.openapi() is app.openapi()


@pytest.fixture(scope="module")
def schema(described: dict[str, Any]) -> Any:
    @schemathesis.serializer("application/msgpack")
    def _as_bytes(_context: Any, payload: Any) -> bytes:
        return _raw(payload)

    found = schemathesis.openapi.from_dict(described)
    found.validate()
    return found


def _raw(payload: Any) -> bytes:
    if isinstance(payload, bytes):
        return payload
    return str(getattr(payload, "data", payload)).encode("utf-8", "replace")


@pytest.mark.parametrize(("mode", "signed_in"), [("POSITIVE", True), ("NEGATIVE", True), ("POSITIVE", False)])
def test_whatever_is_sent_the_answer_is_one_that_is_described(
    client: HubClient, schema: Any, mode: str, signed_in: bool
) -> None:
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks

    held_to = [
        not_a_server_error,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_schema_conformance,
        checks.response_headers_conformance,
    ]
    url, headers = str(client.http.base_url), client.auth if signed_in else {"Authorization": "Bearer nobody"}
    for result in schema.get_all_operations():
        operation = result.ok()
        strategy = operation.as_strategy(getattr(schemathesis.GenerationMode, mode))

        @seed(20260101)
        @settings(
            max_examples=EXAMPLES if signed_in else 2, deadline=None, database=None, suppress_health_check=list(HealthCheck)
        )
        @given(case=strategy)
        def holds(case: Any) -> None:
            note(f"{case.method} {case.path}")
            case.call_and_validate(base_url=url, headers=headers, checks=held_to, timeout=PATIENCE_S)

        try:
            holds()
        except Unsatisfiable:  # without parameters there is nothing to get wrong
            assert mode == "NEGATIVE"
            assert not list(operation.iter_parameters())
