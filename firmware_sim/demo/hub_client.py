"""The hub as an operator's script sees it: its JSON API and its admin token."""

from __future__ import annotations

from typing import Any

import urllib3

from models.errors import LinkError


class HubClient:
    """`url`: without a path. Raises LinkError on anything but a 2xx answer."""

    def __init__(self, url: str, admin_token: str) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {admin_token}"}
        self._pool = urllib3.PoolManager(timeout=urllib3.Timeout(15.0), retries=False)

    def get(self, path: str) -> Any:
        return self._request("GET", path).json()

    def post(self, path: str, body: Any = None) -> Any:
        return self._request("POST", path, json=body or {}).json()

    def get_bytes(self, path: str) -> bytes:
        return self._request("GET", path).data

    def post_bytes(self, path: str, body: bytes) -> Any:
        return self._request("POST", path, body=body).json()

    def alive(self) -> bool:
        """Whether the hub answers and does all its work."""
        try:
            self._request("GET", "/readyz")
        except LinkError:
            return False
        return True

    def _request(self, method: str, path: str, **how: Any) -> urllib3.BaseHTTPResponse:
        try:
            response = self._pool.request(method, self._url + path, headers=self._headers, **how)
        except urllib3.exceptions.HTTPError as error:
            raise LinkError(f"{method} {path}: {error}") from None
        if response.status >= 300:
            raise LinkError(f"{method} {path}: {response.status} {response.data[:300].decode(errors='replace')}")
        return response
