"""What still waits in the log, and who is failing: for the summary and for readiness."""

from __future__ import annotations

from collections.abc import Sequence

from hub.ingest.consumer import Follower
from hub.ingest.log import IngestLog
from hub.ingest.service import IngestService


class Backlog:
    """Reads positions; changes nothing."""

    def __init__(self, log: IngestLog, service: IngestService, followers: Sequence[Follower]) -> None:
        self._log = log
        self._service = service
        self._followers = followers

    def pending(self) -> dict[str, int]:
        """How many positions each consumer is behind, by name."""
        end = self._log.end()
        return {follower.name: max(0, end - follower.position()) for follower in self._followers}

    def failures(self) -> dict[str, str]:
        """Why ingest or a consumer is failing, by name; empty when all is well."""
        found = {"ingest": self._service.failure} | {follower.name: follower.failure for follower in self._followers}
        return {name: failure for name, failure in found.items() if failure is not None}
