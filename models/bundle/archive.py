"""The bundle's archive: a zip of four stored members, the same bytes for the same content.

    manifest.json    models.bundle.manifest.Manifest
    model.tflite     full-integer int8
    golden.msgpack   inputs and the scores that they must get
    card.json        the model card, for people

Invariants:
1. Members are stored, not compressed, in this order, with a fixed date: equal content, equal SHA-256.
2. A reader believes nothing: sizes are bounded before they are read, and model and golden vectors must match the digests
   in the manifest. The archive's own digest is what the hub signs (`hub/distribution`).
"""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.bundle.manifest import FORMAT, Manifest
from models.contract.items import pack_floats, unpack_floats
from models.contract.names import MAX_BUNDLE_BYTES
from models.errors import BundleCorrupt, BundleIncompatible, ItemError

_MEMBERS: Final = ("manifest.json", "model.tflite", "golden.msgpack", "card.json")
_DATE: Final = (1980, 1, 1, 0, 0, 0)  # the earliest that zip can say


@dataclass(frozen=True, slots=True, eq=False)
class Golden:
    """`inputs`: (n, n_features) float32, as the model takes them. `scores`: (n,) float64, what the exporter's runtime gave."""

    inputs: NDArray[np.float32]
    scores: NDArray[np.float64]

    def encode(self) -> bytes:
        wire = _GoldenWire(n_features=self.inputs.shape[1], inputs=pack_floats(self.inputs), scores=self.scores.tolist())
        return msgspec.msgpack.encode(wire)


class _GoldenWire(msgspec.Struct, frozen=True):
    n_features: int
    inputs: bytes
    scores: list[float]


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """A bundle as read: everything has been checked against everything else, but nothing has been run yet."""

    manifest: Manifest
    model: bytes
    golden: Golden
    card: dict[str, Any]
    sha256: str


def digest(data: bytes) -> str:
    """SHA-256, hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def pack_bundle(manifest: Manifest, model: bytes, golden: Golden, card: dict[str, Any]) -> bytes:
    """The archive; `model_sha256` and `golden_sha256` of the manifest are filled in here."""
    golden_bytes = golden.encode()
    manifest = msgspec.structs.replace(manifest, model_sha256=digest(model), golden_sha256=digest(golden_bytes))
    members = (msgspec.json.encode(manifest), model, golden_bytes, msgspec.json.encode(card, order="deterministic"))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, data in zip(_MEMBERS, members, strict=True):
            archive.writestr(zipfile.ZipInfo(name, _DATE), data)
    return out.getvalue()


def read_bundle(data: bytes) -> Bundle:
    """Raises BundleCorrupt: damaged, oversized, a member missing or not what the manifest says; BundleIncompatible: newer."""
    if len(data) > MAX_BUNDLE_BYTES:
        raise BundleCorrupt(f"archive of {len(data)} bytes; at most {MAX_BUNDLE_BYTES}")
    manifest_bytes, model, golden_bytes, card_bytes = _members(data)
    try:
        manifest = msgspec.json.decode(manifest_bytes, type=Manifest)
        wire = msgspec.msgpack.decode(golden_bytes, type=_GoldenWire)
        card = msgspec.json.decode(card_bytes, type=dict[str, Any])
        inputs = unpack_floats(wire.inputs, max(wire.n_features, 1))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ItemError) as error:
        raise BundleCorrupt(f"unreadable bundle: {error}") from error
    if manifest.format != FORMAT:
        raise BundleIncompatible(f"bundle format {manifest.format}; this version reads {FORMAT}")
    if (contradiction := manifest.contradiction()) is not None:
        raise BundleCorrupt(f"unreadable bundle: {contradiction}")
    for name, content, expected in (("model", model, manifest.model_sha256), ("golden", golden_bytes, manifest.golden_sha256)):
        if digest(content) != expected:
            raise BundleCorrupt(f"{manifest.bundle_id}: {name} does not match its digest in the manifest")
    if inputs.shape != (len(wire.scores), manifest.n_features) or not len(wire.scores):
        raise BundleCorrupt(f"{manifest.bundle_id}: {len(wire.scores)} golden scores for vectors of shape {inputs.shape}")
    if not np.isfinite(wire.scores).all():
        raise BundleCorrupt(f"{manifest.bundle_id}: golden scores that are no numbers")
    return Bundle(manifest, model, Golden(inputs, np.array(wire.scores)), card, digest(data))


def _members(data: bytes) -> list[bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            names = tuple(info.filename for info in infos)
            if names != _MEMBERS or any(info.compress_type != zipfile.ZIP_STORED for info in infos):
                raise BundleCorrupt(f"members {', '.join(names)[:200] or 'none'}; expected {', '.join(_MEMBERS)}, stored")
            return [archive.read(name) for name in _MEMBERS]
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, ValueError, struct.error) as error:
        raise BundleCorrupt(f"not a bundle archive: {error}") from error
