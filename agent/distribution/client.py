"""Getting one bundle by TUF: python-tuf's client on what this device trusts of its hub. Runs in the child only.

What the clock has to do with it. Signatures and versions need none: what was seen once is never rolled back, whatever the
time. Expiry needs one, and a device's may be wrong. It is judged by the later of two times: the device's timeline (a time
server, else what the hub says at check-in), and when the newest timestamp that was verified here was signed. The second is in
that timestamp, so nobody but the holder of its key can move it, and a new key undoes what an old one said.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tuf.api.exceptions import (
    DownloadError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
)
from tuf.api.metadata import Metadata, Root, Timestamp
from tuf.ngclient import Updater, UpdaterConfig

from agent.distribution import store
from agent.distribution.fetcher import ResumingFetcher
from agent.distribution.messages import Fetch
from models.contract.names import target_path
from models.errors import BundleUntrusted, LinkError

SIGNED_AT: Final = "x-tocsin-signed-at-ns"
_LATEST_NS: Final = 253_402_300_799 * 1_000_000_000  # the end of the year 9999, where datetime ends
_LIMITS: Final = UpdaterConfig(
    max_root_rotations=256,  # at a time; each is signed by the one before
    max_delegations=4,  # targets and one profile are two
    root_max_length=store.MAX_ROOT_BYTES,
    timestamp_max_length=16 * 1024,
    snapshot_max_length=256 * 1024,
    targets_max_length=2 * 1024 * 1024,
)


def fetch(request: Fetch) -> None:
    """Leave the verified bundle in `store.staged`. Raises BundleUntrusted, LinkError, OSError; then only metadata that was
    verified, and perhaps part of the bundle, has come to stay."""
    directory = Path(request.directory)
    root_version = store.root_version(directory)
    try:
        try:
            _fetch(request, directory)
        except ExpiredMetadataError:
            if store.root_version(directory) == root_version:
                raise
            _fetch(request, directory)  # the time that an old key vouched for does not count under the new root
    except (RepositoryError, DownloadLengthMismatchError) as error:
        raise BundleUntrusted(f"{request.bundle_id}: {error or type(error).__name__}") from error
    except DownloadError as error:
        raise LinkError(str(error)) from error


def _fetch(request: Fetch, directory: Path) -> None:
    metadata = directory / "work" / "metadata"
    store.copy_metadata(directory, metadata)
    part = directory / f"{request.sha256}.part"
    base = f"{request.hub_url.rstrip('/')}/v1/tuf"
    targets_url = f"{base}/targets/"
    updater = Updater(
        str(metadata),
        f"{base}/metadata/",
        target_base_url=targets_url,
        fetcher=ResumingFetcher(targets_url, part, request.timeout_s, request.ca_file),
        config=_LIMITS,
        bootstrap=(directory / "root.json").read_bytes(),
    )
    _set_time(updater, request.now_ns, metadata)
    try:
        updater.refresh()
        target = updater.get_targetinfo(target_path(request.profile, request.bundle_id))
    finally:
        store.keep_metadata(metadata, directory)
    if target is None:
        raise BundleUntrusted(f"no role that may sign for {request.profile} lists {request.bundle_id}")
    if (target.hashes.get("sha256"), target.length) != (request.sha256, request.size):
        raise BundleUntrusted(f"another archive was signed as {target.path} than the one that the hub asks for")
    resumed = part.is_file()
    try:
        updater.download_target(target, str(store.staged(directory)))
    except LengthOrHashMismatchError:
        part.unlink(missing_ok=True)
        if not resumed:
            raise
        updater.download_target(target, str(store.staged(directory)))  # the part may have been what was wrong
    part.unlink(missing_ok=True)


def _set_time(updater: Updater, now_ns: int, metadata: Path) -> None:
    """Judge expiry by this time instead of the system's clock. Raises BundleUntrusted where python-tuf has changed so much that
    this would have no effect: it has no public way to say it."""
    trusted = updater._trusted_set
    if not isinstance(getattr(trusted, "reference_time", None), datetime):
        raise BundleUntrusted("this version of python-tuf takes its time from elsewhere")
    time_ns = min(max(now_ns, _least_time_ns(metadata, trusted.root)), _LATEST_NS)
    trusted.reference_time = datetime.fromtimestamp(time_ns // 1_000_000_000, UTC)


def _least_time_ns(metadata: Path, root: Root) -> int:
    """When the newest timestamp that this device has verified was signed; 0 without one that `root` still vouches for."""
    try:
        timestamp = Metadata[Timestamp].from_bytes((metadata / "timestamp.json").read_bytes())
        root.verify_delegate(Timestamp.type, timestamp.signed_bytes, timestamp.signatures)
        return int(timestamp.signed.unrecognized_fields.get(SIGNED_AT, 0))
    except (OSError, RepositoryError, TypeError, ValueError):
        return 0
