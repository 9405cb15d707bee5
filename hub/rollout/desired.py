"""What a device should hold, worked out afresh at each check-in from the fleet's bundles and the rollouts that are on.

Invariant: the answer depends on what was decided, never on what this device was told before.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from sqlalchemy import Connection, select

from hub.rollout.machine import ASSIGNING, assignment
from hub.rollout.store import Rollout, in_states
from hub.state.schema import bundles, fleet_bundles
from models.contract.checkin import DesiredBundle, DesiredSlots

Pair = tuple[str | None, str | None]  # the bundles for the active and the shadow slot


def desired_slots(connection: Connection, device_id: str, profiles: Sequence[str]) -> list[DesiredSlots]:
    """For each of `profiles` that the hub has ever decided on; profiles without a decision are left as they are."""
    return load_desired(connection, profiles)(device_id, profiles)


def load_desired(connection: Connection, profiles: Collection[str]) -> Callable[[str, Sequence[str]], list[DesiredSlots]]:
    """`desired_slots` for many devices of these profiles: what was decided is read once."""
    query = select(fleet_bundles.c.profile, fleet_bundles.c.bundle_id).where(fleet_bundles.c.profile.in_(profiles))
    fleet: dict[str, Pair] = {profile: (bundle_id, None) for profile, bundle_id in connection.execute(query)}
    rollouts = [rollout for rollout in in_states(connection, ASSIGNING) if rollout.profile in fleet] if fleet else []
    held = [(rollout.bundle_id, rollout.incumbent_id) for rollout in rollouts]
    known = _bundles(connection, {bundle_id for pair in (*fleet.values(), *held) for bundle_id in pair if bundle_id})

    def slots(device_id: str, wanted: Sequence[str]) -> list[DesiredSlots]:
        pairs = {profile: fleet[profile] for profile in wanted if profile in fleet}
        pairs |= {rollout.profile: _pair(rollout, device_id) for rollout in rollouts if rollout.profile in pairs}
        return [
            DesiredSlots(profile=profile, active=known.get(active or ""), shadow=known.get(shadow or ""))
            for profile, (active, shadow) in sorted(pairs.items())
            if active is None or active in known  # no device gives up its model for one that it could not load
        ]

    return slots


def _pair(rollout: Rollout, device_id: str) -> Pair:
    """The incumbent stays beside an active candidate, in shadow, so that both score the same windows."""
    mode = assignment(rollout.plan, rollout.stage, device_id)
    if mode == "active":
        return rollout.bundle_id, rollout.incumbent_id
    return rollout.incumbent_id, rollout.bundle_id if mode == "shadow" else None


def _bundles(connection: Connection, bundle_ids: Iterable[str]) -> dict[str, DesiredBundle]:
    """Those that devices can load: what waits for its signature is left out."""
    query = select(bundles.c.bundle_id, bundles.c.sha256, bundles.c.size)
    query = query.where(bundles.c.bundle_id.in_(sorted(bundle_ids)), bundles.c.signed_ns.is_not(None))
    return {row.bundle_id: DesiredBundle(row.bundle_id, row.sha256, row.size) for row in connection.execute(query)}
