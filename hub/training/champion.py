"""The champion: what a profile's devices run now, as far as it can be graded beside a challenger."""

from __future__ import annotations

from sqlalchemy import Engine, select

from hub.registry.registry import Registry
from hub.state.database import reading
from hub.state.schema import fleet_bundles
from hub.training.evaluate import Champion
from hub.training.framework import native_silence
from models.bundle.archive import read_bundle
from models.bundle.selftest import load_detector
from models.contract.profile import Profile
from models.errors import BundleError


def champion_of(engine: Engine, registry: Registry, profile: Profile) -> Champion | None:
    """None where the baseline decides, or the bundle is for another feature spec, damaged or gone: no reason not to train."""
    with reading(engine).begin() as connection:
        bundle_id = connection.execute(
            select(fleet_bundles.c.bundle_id).where(fleet_bundles.c.profile == profile.name)
        ).scalar()
    if bundle_id is None:
        return None
    try:
        with native_silence():
            return Champion(bundle_id, load_detector(read_bundle(registry.read(bundle_id)), profile.spec_hash))
    except BundleError:
        return None
