"""`GET /metrics`, in Prometheus's text format, for a token with the scope `metrics` or `read`, or anyone signed in."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hub.access import Access
from hub.api.guard import check
from hub.operators.rights import right_of


def metrics_route(access: Access, *registries: CollectorRegistry) -> Route:
    """Where Prometheus asks. `registries` must not share names."""
    right = right_of("GET", "/metrics")

    async def metrics(request: Request) -> Response:
        """The hub and its fleet, for Prometheus."""
        await check(access, request, right)
        pages = [await run_in_threadpool(generate_latest, registry) for registry in registries]
        return Response(b"".join(pages), headers={"Content-Type": CONTENT_TYPE_LATEST, "Cache-Control": "no-store"})

    return Route("/metrics", metrics, methods=["GET"])
