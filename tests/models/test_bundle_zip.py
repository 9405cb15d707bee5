"""Tricks that a zip can play: none of them gets past the reader."""

from __future__ import annotations

import contextlib
import io
import struct
import zipfile

import pytest

from models.bundle.archive import read_bundle
from models.contract.names import MAX_BUNDLE_BYTES
from models.errors import BundleCorrupt
from tests.builders import bundle

MEMBERS = ("manifest.json", "model.tflite", "golden.msgpack", "card.json")


def members() -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(bundle())) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(content: list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, data in content:
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, compression)
    return out.getvalue()


def test_the_layout_is_four_stored_members_in_their_order() -> None:
    with zipfile.ZipFile(io.BytesIO(bundle())) as archive:
        assert tuple(archive.namelist()) == MEMBERS
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
    assert zipped(list(members().items())) == bundle()


@pytest.mark.parametrize("missing", MEMBERS)
def test_a_missing_member_is_refused(missing: str) -> None:
    with pytest.raises(BundleCorrupt, match=r"expected manifest\.json, model\.tflite, golden\.msgpack, card\.json, stored"):
        read_bundle(zipped([(name, data) for name, data in members().items() if name != missing]))


@pytest.mark.filterwarnings("ignore:Duplicate name")  # zipfile cuts names at a NUL
@pytest.mark.parametrize("name", ["extra.txt", "../../etc/passwd", "/etc/passwd", "model.tflite/", "manifest.json\0.exe"])
def test_an_extra_member_is_refused_whatever_its_name(name: str) -> None:
    with pytest.raises(BundleCorrupt, match="members manifest"):
        read_bundle(zipped([*members().items(), (name, b"x")]))


@pytest.mark.parametrize("name", ["../model.tflite", "/model.tflite", "Model.tflite", "model.tflite "])
def test_a_member_under_another_name_is_refused(name: str) -> None:
    content = [(name if member == "model.tflite" else member, data) for member, data in members().items()]
    with pytest.raises(BundleCorrupt, match="members manifest"):
        read_bundle(zipped(content))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_is_there_twice_is_refused() -> None:
    with pytest.raises(
        BundleCorrupt, match=r"members manifest\.json, model\.tflite, golden\.msgpack, card\.json, model\.tflite"
    ):
        read_bundle(zipped([*members().items(), ("model.tflite", members()["model.tflite"])]))


def test_members_in_another_order_are_refused() -> None:
    with pytest.raises(BundleCorrupt, match="members card"):
        read_bundle(zipped(list(members().items())[::-1]))


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressed_members_are_refused_unread(compression: int) -> None:
    bomb = [(name, bytes(10_000_000) if name == "card.json" else data) for name, data in members().items()]
    with pytest.raises(BundleCorrupt, match="stored"):
        read_bundle(zipped(bomb, compression))


def test_an_encrypted_member_is_refused() -> None:
    data = bytearray(bundle())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    with pytest.raises(BundleCorrupt, match="not a bundle archive"):
        read_bundle(bytes(data))


def test_an_archive_beyond_the_limit_is_refused_unread() -> None:
    with pytest.raises(BundleCorrupt, match=f"at most {MAX_BUNDLE_BYTES}"):
        read_bundle(bytes(MAX_BUNDLE_BYTES + 1))


def test_every_changed_byte_of_the_directory_is_refused_or_changes_nothing() -> None:
    data = bundle()
    for at in range(data.index(b"PK\x01\x02"), len(data)):
        for flip in (1, 64, 255):
            changed = bytearray(data)
            changed[at] ^= flip
            with contextlib.suppress(BundleCorrupt):
                assert read_bundle(bytes(changed)).model == members()["model.tflite"]


def test_a_member_that_claims_to_be_huge_is_refused() -> None:
    data = bytearray(bundle())
    for at in (data.index(b"PK\x01\x02") + 20, data.index(b"PK\x03\x04") + 18):
        struct.pack_into("<II", data, at, 0xFFFFFFF0, 0xFFFFFFF0)
    with pytest.raises(BundleCorrupt):
        read_bundle(bytes(data))


@pytest.mark.parametrize("member", ["manifest.json", "golden.msgpack", "card.json"])
@pytest.mark.parametrize("data", [b"", b"[", b"[" * 200_000, b"\x91" * 200_000, b'{"bundle_id": "\xff"}', b"\xff\xfe", b"null"])
def test_a_member_that_cannot_be_read_is_refused(member: str, data: bytes) -> None:
    with pytest.raises(BundleCorrupt, match="unreadable bundle"):
        read_bundle(zipped(list((members() | {member: data}).items())))


@pytest.mark.parametrize("member", ["model.tflite", "golden.msgpack"])
def test_an_exchanged_member_does_not_match_its_digest(member: str) -> None:
    other = members()[member]
    other = other[:-1] + bytes([other[-1] ^ 1])
    with pytest.raises(BundleCorrupt, match="does not match its digest in the manifest"):
        read_bundle(zipped(list((members() | {member: other}).items())))
