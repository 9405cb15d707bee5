"""The bundles that this hub vouches for.

Invariants:
1. Nothing is published that does not load, or does not pass its own golden vectors on this machine.
2. A bundle's file is durable before its row exists, and is named by its SHA-256: a row always has its file, and a file
   is never overwritten by another content.
3. An id or a version, once given, never means another archive.
4. Its row and what is signed of it are one transaction. Where its profile's key is not at hand it waits (`signed_ns` is None),
   and no device is sent to it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Engine, Row, func, insert, or_, select, tuple_

from hub.audit.log import record
from hub.distribution.repository import Repository
from hub.state.database import reading
from hub.state.schema import bundles
from models.bundle.archive import Bundle, read_bundle
from models.bundle.selftest import load_detector, self_test
from models.errors import BundleCorrupt, BundleError
from models.files import write_durably

_ENTRY: Final = ("bundle_id", "profile", "version", "spec_hash", "sha256", "size", "created_ns", "signed_ns", "run_id")


class Registry:
    """Safe to use from several threads and processes."""

    def __init__(self, engine: Engine, bundles_dir: Path, repository: Repository) -> None:
        self._engine = engine
        self._dir = bundles_dir
        self._repository = repository

    def publish(self, archive: bytes, run_id: str | None = None, *, now_ns: int, actor: str = "hub") -> str:
        """Check, store and sign a bundle; its id. The same archive again changes nothing.

        Raises BundleError: BundleCorrupt, BundleIncompatible, SelfTestFailed, or its id or version is another archive's;
        SigningError: the keys that sign what is newest are not there.
        """
        bundle = read_bundle(archive)
        self_test(bundle, load_detector(bundle, bundle.manifest.spec_hash))
        with reading(self._engine).begin() as connection:
            if _published(connection, bundle):
                return bundle.manifest.bundle_id
        self._dir.mkdir(parents=True, exist_ok=True)
        write_durably(self.path(bundle.sha256), archive)
        with self._engine.begin() as connection:
            if not _published(connection, bundle):
                connection.execute(insert(bundles).values(_row(bundle, len(archive), run_id, now_ns)))
                told = {"profile": bundle.manifest.profile, "sha256": bundle.sha256, "run": run_id}
                what = bundle.manifest.bundle_id
                record(connection, at_ns=now_ns, actor=actor, action="bundle.publish", subject=what, details=told)
                self._repository.sign_waiting(connection, actor=actor, now_ns=now_ns)
        return bundle.manifest.bundle_id

    def path(self, sha256: str) -> Path:
        """Where the archive of that digest is kept."""
        return self._dir / f"{sha256}.bundle"

    def list(
        self, profile: str | None = None, limit: int | None = None, after: tuple[int, int, str] | None = None
    ) -> list[dict[str, Any]]:
        """Newest first, without cards, JSON-able. `after`: `created_ns`, version and id of the last one known already."""
        order = (bundles.c.created_ns, bundles.c.version, bundles.c.bundle_id)
        query = select(*(bundles.c[name] for name in _ENTRY)).order_by(*(column.desc() for column in order)).limit(limit)
        if after is not None:
            query = query.where(tuple_(*order) < tuple_(*after))
        if profile is not None:
            query = query.where(bundles.c.profile == profile)
        with reading(self._engine).begin() as connection:
            return [_entry(row) for row in connection.execute(query)]

    def get(self, bundle_id: str) -> dict[str, Any]:
        """One bundle with its manifest and card, JSON-able. Raises BundleError where there is none."""
        with reading(self._engine).begin() as connection:
            row = connection.execute(select(bundles).where(bundles.c.bundle_id == bundle_id)).first()
        if row is None:
            raise BundleError(f"no bundle {bundle_id!r}; `tocsin hub bundles list` shows what there is")
        return {**_entry(row), "manifest": row.manifest, "card": row.card}

    def read(self, bundle_id: str) -> bytes:
        """The archive. Raises BundleError where there is none, BundleCorrupt where its file is gone or damaged."""
        entry = self.get(bundle_id)
        path = self.path(entry["sha256"])
        try:
            archive = path.read_bytes()
        except OSError as error:
            raise BundleCorrupt(f"{bundle_id}: {path}: {error.strerror}") from error
        if read_bundle(archive).sha256 != entry["sha256"]:
            raise BundleCorrupt(f"{bundle_id}: {path} is not the archive that was published")
        return archive

    def next_version(self, profile: str) -> int:
        """One more than the highest so far; 1 for the first."""
        query = select(func.max(bundles.c.version)).where(bundles.c.profile == profile)
        with reading(self._engine).begin() as connection:
            return int(connection.execute(query).scalar() or 0) + 1


def _row(bundle: Bundle, size: int, run_id: str | None, now_ns: int) -> dict[str, Any]:
    manifest = bundle.manifest
    return {
        "bundle_id": manifest.bundle_id,
        "profile": manifest.profile,
        "version": manifest.version,
        "spec_hash": manifest.spec_hash,
        "sha256": bundle.sha256,
        "size": size,
        "created_ns": now_ns,
        "run_id": run_id,
        "manifest": msgspec.to_builtins(manifest),
        "card": bundle.card,
    }


def _published(connection: Connection, bundle: Bundle) -> bool:
    """Whether this very archive is in the registry. Raises BundleError where its id or version is another's."""
    manifest = bundle.manifest
    same_version = (bundles.c.profile == manifest.profile) & (bundles.c.version == manifest.version)
    query = select(bundles.c.bundle_id, bundles.c.sha256, bundles.c.version)
    rows = connection.execute(query.where(or_(bundles.c.bundle_id == manifest.bundle_id, same_version))).all()
    for row in rows:
        if row.sha256 != bundle.sha256:
            raise BundleError(
                f"{manifest.bundle_id}: version {manifest.version} of {manifest.profile} is {row.bundle_id} already, "
                f"with SHA-256 {row.sha256[:16]}…; a version never changes: publish it under a new one"
            )
    return bool(rows)


def _entry(row: Row[Any]) -> dict[str, Any]:
    return {name: getattr(row, name) for name in _ENTRY}
