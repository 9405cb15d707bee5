"""Who may do what at the hub: every route with the least right that it takes, in one table.

People have a role: viewer < operator < admin. API tokens have scopes instead, of which a route takes one; `admin` opens
everything. A route that is not in the table cannot be built where it is guarded (`hub/api/guard.py`, `hub/web/guard.py`), and a
test walks the whole app for those that are not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args

Role = Literal["viewer", "operator", "admin"]
Scope = Literal["read", "metrics", "audit", "publish", "train", "rollout", "feedback", "devices", "admin"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)  # each may do what those before it may
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)


@dataclass(frozen=True, slots=True)
class Right:
    """`role`: the least that may; None where no operator is asked for. `scopes`: of a token, any of which will do."""

    name: str
    role: Role | None
    scopes: frozenset[Scope] = frozenset()


PUBLIC: Final = Right("anyone", None)
DEVICE: Final = Right("a device, by its signature", None)
SIGNED_IN: Final = Right("whoever is signed in", "viewer", frozenset(SCOPES))
READ: Final = Right("read", "viewer", frozenset({"read"}))
METRICS: Final = Right("metrics", "viewer", frozenset({"metrics", "read"}))
PUBLISH: Final = Right("publish", "operator", frozenset({"publish"}))
TRAIN: Final = Right("train", "operator", frozenset({"train"}))
ROLLOUT: Final = Right("rollout", "operator", frozenset({"rollout"}))
FEEDBACK: Final = Right("feedback", "operator", frozenset({"feedback"}))
DEVICES: Final = Right("devices", "operator", frozenset({"devices"}))
AUDIT: Final = Right("audit", "admin", frozenset({"audit"}))
ADMIN: Final = Right("admin", "admin", frozenset({"admin"}))

ROUTES: Final[Mapping[str, Right]] = {
    # probes: balancers and supervisors have no credentials; what is told is which part fails and the storage's own word
    "GET /healthz": PUBLIC,
    "GET /readyz": PUBLIC,
    "GET /metrics": METRICS,
    # devices
    "POST /v1/enrol": DEVICE,
    "POST /v1/ingest": DEVICE,
    "POST /v1/checkin": DEVICE,
    "POST /v1/rotate": DEVICE,
    "GET /v1/ca": PUBLIC,  # a device checks it against the hash in its claim token
    "GET /v1/tuf/metadata/{name}": PUBLIC,  # signed, and not secret
    "GET /v1/tuf/targets/{profile}/{name}": PUBLIC,
    # operators: JSON
    "GET /v1/openapi.json": PUBLIC,  # what can be asked, nothing of what is answered
    "GET /v1/me": SIGNED_IN,
    "GET /v1/summary": READ,
    "GET /v1/devices": READ,
    "GET /v1/devices/{device_id}": READ,
    "GET /v1/devices/{device_id}/ledger": READ,
    "GET /v1/devices/{device_id}/ledger/span": READ,
    "POST /v1/devices/{device_id}/{step}": DEVICES,
    "DELETE /v1/devices/{device_id}": ADMIN,
    "GET /v1/claim-tokens": DEVICES,
    "POST /v1/claim-tokens": DEVICES,
    "POST /v1/claim-tokens/{token_id}/revoke": DEVICES,
    "GET /v1/ledger": READ,
    "GET /v1/alerts": READ,
    "GET /v1/sensor-faults": READ,
    "GET /v1/quarantine": READ,
    "POST /v1/ask": READ,  # it only reads, what can be read elsewhere too
    "GET /v1/bundles": READ,
    "GET /v1/bundles/{bundle_id}": READ,
    "POST /v1/bundles": PUBLISH,
    "GET /v1/bundles/{bundle_id}/card.html": READ,
    "POST /v1/bundles/{bundle_id}/approval": ROLLOUT,
    "GET /v1/alerts/{device_id}/{alert_id}": READ,
    "POST /v1/alerts/{device_id}/{alert_id}/acknowledge": FEEDBACK,
    "POST /v1/alerts/{device_id}/{alert_id}/notes": FEEDBACK,
    "POST /v1/alerts/{device_id}/{alert_id}/feedback": FEEDBACK,
    "GET /v1/training-runs": READ,
    "POST /v1/training-runs": TRAIN,
    "GET /v1/rollouts": READ,
    "GET /v1/rollouts/{rollout_id}": READ,
    "POST /v1/rollouts": ROLLOUT,
    "POST /v1/rollouts/{rollout_id}/{step}": ROLLOUT,
    "GET /v1/value": READ,
    "GET /v1/audit": AUDIT,
    "GET /v1/users": ADMIN,
    "POST /v1/users": ADMIN,
    "PATCH /v1/users/{name}": ADMIN,
    "DELETE /v1/users/{name}": ADMIN,
    "DELETE /v1/users/{name}/sessions": ADMIN,
    "GET /v1/api-tokens": ADMIN,
    "POST /v1/api-tokens": ADMIN,
    "DELETE /v1/api-tokens/{name}": ADMIN,
    # pages
    "GET /": READ,
    "GET /parts/{name}": READ,
    "GET /fleet": READ,
    "GET /devices/{device}": READ,
    "GET /alerts": READ,
    "POST /alerts/{device}/{alert}/{step}": FEEDBACK,
    "GET /assets/{device}/{asset}": READ,
    "GET /assets/{device}/{asset}/scores.json": READ,
    "GET /assets/{device}/{asset}/story": READ,
    "GET /assets/{device}/{asset}/alerts/{alert}": READ,
    "GET /assets/{device}/{asset}/alerts/{alert}/evidence.json": READ,
    "GET /models": READ,
    "GET /models/{bundle}": READ,
    "POST /models/{bundle}/approval": ROLLOUT,
    "GET /runs/{run}": READ,
    "GET /events": READ,
    "GET /rollouts": READ,
    "GET /rollouts/new": ROLLOUT,
    "POST /rollouts": ROLLOUT,
    "GET /rollouts/{rollout_id}": READ,
    "GET /rollouts/{rollout_id}/{step}": ROLLOUT,
    "GET /ask": READ,
    "POST /ask": READ,
    "POST /rollouts/{rollout_id}/{step}": ROLLOUT,
    "GET /value": READ,
    "GET /data": READ,
    "GET /data/catalogue": READ,
    "GET /data/audit": AUDIT,
    "GET /signin": PUBLIC,
    "POST /signin": PUBLIC,
    "POST /signout": PUBLIC,  # signing out twice is no error
    "GET /static": PUBLIC,
}


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever asks. `actor`: for the audit log. `role`: of a person, and of the admin token; None for an API token, which has
    `scopes`. `session_sha256`: of the session that the request came with; None where it carried a token."""

    actor: str
    role: Role | None
    scopes: frozenset[Scope] = frozenset()
    session_sha256: str | None = None

    @property
    def name(self) -> str:
        """Without the kind that `actor` begins with."""
        return self.actor.partition(":")[2]

    def may(self, right: Right) -> bool:
        if right.role is None:
            return True
        if self.role is not None:
            return ROLES.index(self.role) >= ROLES.index(right.role)
        return "admin" in self.scopes or not self.scopes.isdisjoint(right.scopes)


def right_of(method: str, path: str) -> Right:
    """Of the route with that template. Raises LookupError where the table has none."""
    wanted = f"{'GET' if method == 'HEAD' else method} {path}"
    found = ROUTES.get(wanted)
    if found is None:
        raise LookupError(f"no right is stated for {wanted}; hub/operators/rights.py is the place")
    return found
