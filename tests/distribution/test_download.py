"""Downloads that break off, come in parts, or find no room."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from agent.distribution import store
from models.contract.checkin import DesiredBundle
from models.contract.signing import root_message
from models.errors import LinkError
from tests.builders import signing_key
from tests.distribution.site import Device, Handler, Site


def path_of(wanted: DesiredBundle) -> str:
    return f"/v1/tuf/targets/rig/{wanted.sha256}.{wanted.bundle_id}.bundle"


def archive_of(site: Site, wanted: DesiredBundle) -> bytes:
    return site.registry.read(wanted.bundle_id)


def ranges(site: Site, wanted: DesiredBundle) -> list[str]:
    return [asked for path, asked in site.asked if path == path_of(wanted)]


def part_of(device: Device, wanted: DesiredBundle) -> Path:
    return device.trusted / f"{wanted.sha256}.part"


def test_a_download_that_breaks_off_goes_on_where_it_broke_off(device: Device, site: Site) -> None:
    wanted = site.publish(2)
    content = archive_of(site, wanted)
    site.answers[path_of(wanted)] = lambda handler: handler.break_off(content, after=1000)
    device.ask(wanted)
    assert (device.active, device.reasons) == ("rig-v2", {})
    assert ranges(site, wanted) == ["", *(f"bytes={first}-" for first in range(1000, len(content), 1000))]


def test_what_came_before_the_link_failed_is_kept_for_the_next_attempt(device: Device, site: Site) -> None:
    wanted = site.publish(2)
    content = archive_of(site, wanted)
    before = device.kept

    def once(handler: Handler) -> None:
        handler.break_off(content, after=1000)
        site.answers[path_of(wanted)] = 503

    site.answers[path_of(wanted)] = once
    with pytest.raises(LinkError):
        device.ask(wanted)
    assert (device.kept, device.reasons) == (before, {})
    assert part_of(device, wanted).read_bytes() == content[:1000]
    site.answers.clear()
    device.restart()
    device.ask(wanted)
    assert device.active == "rig-v2"
    assert ranges(site, wanted)[-1] == "bytes=1000-"
    assert not part_of(device, wanted).exists()


@pytest.mark.parametrize("part", ["damaged", "longer than the whole", "the whole", "the whole, damaged"])
def test_a_part_that_is_not_what_it_should_be_is_fetched_anew(part: str, device: Device, site: Site) -> None:
    wanted = site.publish(2)
    content = archive_of(site, wanted)
    part_of(device, wanted).write_bytes(
        {
            "damaged": bytes(1000),
            "longer than the whole": content + b"x",
            "the whole": content,
            "the whole, damaged": content[:-1] + b"\0",
        }[part]
    )
    device.ask(wanted)
    assert (device.active, device.reasons) == ("rig-v2", {})


def test_a_server_that_knows_no_parts_sends_the_whole(device: Device, site: Site) -> None:
    wanted = site.publish(2)
    content = archive_of(site, wanted)
    part_of(device, wanted).write_bytes(content[:1000])

    def whole(handler: Handler) -> None:
        del handler.headers["Range"]
        handler.send(content)

    site.answers[path_of(wanted)] = whole
    device.ask(wanted)
    assert device.active == "rig-v2"


def test_a_server_that_sends_another_part_than_was_asked_for_gets_nothing_mixed(device: Device, site: Site) -> None:
    wanted = site.publish(2)
    content = archive_of(site, wanted)
    part_of(device, wanted).write_bytes(content[:1000])

    def wrong(handler: Handler) -> None:
        if "Range" in handler.headers:
            handler.headers.replace_header("Range", "bytes=500-")
        handler.send(content)

    site.answers[path_of(wanted)] = wrong
    device.ask(wanted)
    assert device.active == "rig-v2"


def test_only_the_part_of_what_is_wanted_now_is_kept(device: Device, site: Site) -> None:
    wanted = site.publish(2)
    other = device.trusted / f"{'0' * 64}.part"
    other.write_bytes(b"x" * 1000)
    device.ask(wanted)
    assert not other.exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 96 kB below the place where bundles are downloaded to."""
    if os.geteuid():
        pytest.skip("mounting a small file system takes root")
    mount = tmp_path / "state" / "tuf"
    mount.mkdir(parents=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(mount)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.decode().strip()}")
    yield mount
    subprocess.run(["umount", "--lazy", str(mount)], check=True)


def ask(device: Device, wanted: DesiredBundle) -> str:
    """Why the link failed, "" if it did not."""
    try:
        device.ask(wanted)
    except LinkError as error:
        return str(error)
    return ""


def test_wherever_the_disk_is_full_it_is_no_verdict_and_what_fills_it_is_removed(
    small_disk: Path, tmp_path: Path, site: Site
) -> None:
    """A page more is free each time, so that it runs full at each step, until there is room for all."""
    device = Device(tmp_path / "state", site)
    device.bootstrap()
    device.ask(site.publish(1))
    wanted = site.publish(2)
    before = device.kept
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(os.statvfs(small_disk).f_bavail * 4096))
    n_full = 0
    while device.active == "rig-v1":
        full = ask(device, wanted)
        if full:
            assert "No space left" in full
            assert (device.kept, device.reasons) == (before, {})
            assert not part_of(device, wanted).exists()
            n_full += 1
            os.truncate(ballast, ballast.stat().st_size - 4096)
    assert (device.active, device.reasons) == ("rig-v2", {})
    assert n_full > 5
    assert len(ranges(site, wanted)) > 1, "it never ran full during the download itself"


# --- what is trusted to begin with --------------------------------------------------------------------------------


def test_a_root_is_taken_from_the_enrolled_hub_only_and_only_once(tmp_path: Path, site: Site) -> None:
    root, key = site.files()["1.root.json"], site.hub.key
    message = root_message(root)
    directory = store.directory_of(tmp_path, key.public_bytes)
    assert not store.adopt_root(directory, root, signing_key(9).sign(message), key.public_bytes)
    assert not store.adopt_root(directory, root, key.sign(root), key.public_bytes)
    assert not store.adopt_root(directory, b"{}", key.sign(root_message(b"{}")), key.public_bytes)
    assert store.root_version(directory) == 0
    assert store.adopt_root(directory, root, key.sign(message), key.public_bytes)
    assert store.root_version(directory) == 1
    site.rotate("root")
    newer = site.files()["2.root.json"]
    assert not store.adopt_root(directory, newer, key.sign(root_message(newer)), key.public_bytes)
    assert (directory / "root.json").read_bytes() == root


def test_without_a_root_nothing_is_fetched(tmp_path: Path, site: Site) -> None:
    device = Device(tmp_path / "state", site)
    assert device.distribution.root_version() == 0
    with pytest.raises(LinkError, match="has not sent its TUF root yet"):
        device.ask(site.publish(1))
    assert site.asked == []


@pytest.mark.parametrize("content", [b"", b"{", b"\xff" * 50, b'{"signed": {"version": "x"}}'])
def test_a_root_that_is_damaged_on_the_card_is_asked_for_again(content: bytes, device: Device, site: Site) -> None:
    (device.trusted / "root.json").write_bytes(content)
    assert device.distribution.root_version() == 0
    device.bootstrap()
    device.ask(site.publish(2))
    assert device.active == "rig-v2"


@pytest.mark.parametrize("name", ["timestamp.json", "snapshot.json", "targets.json", "profile-rig.json"])
def test_metadata_that_is_damaged_on_the_card_is_fetched_again(name: str, device: Device, site: Site) -> None:
    (device.trusted / name).write_bytes(b"\0" * 100)
    device.ask(site.publish(2))
    assert (device.active, device.reasons) == ("rig-v2", {})


def test_another_hub_begins_anew(device: Device, tmp_path: Path) -> None:
    """A device that is enrolled elsewhere does not hold one hub's versions against the other."""
    (tmp_path / "other").mkdir()
    other = Site(tmp_path / "other")
    try:
        device.site = other
        device.restart()
        assert device.distribution.root_version() == 0
        device.bootstrap()
        device.ask(other.publish(5))
        assert device.active == "rig-v5"
    finally:
        other.close()


# --- TLS ----------------------------------------------------------------------------------------------------------


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hub")])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    folder.mkdir()
    (folder / "cert.pem").write_bytes(built.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return folder / "cert.pem", folder / "key.pem"


def test_over_tls_only_the_pinned_certificate_is_believed(device: Device, site: Site, tmp_path: Path) -> None:
    cert, key = certificate(tmp_path / "tls")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    site.serve_tls(context)
    device.restart()
    wanted = site.publish(2)
    before = device.kept
    other, _ = certificate(tmp_path / "other")
    for pinned in (None, other):
        if pinned is not None:
            shutil.copy(pinned, device.directory / "ca.pem")
        with pytest.raises(LinkError, match="CERTIFICATE_VERIFY_FAILED"):
            device.ask(wanted)
        assert (device.kept, device.reasons) == (before, {})
    shutil.copy(cert, device.directory / "ca.pem")
    device.ask(wanted)
    assert (device.active, device.reasons) == ("rig-v2", {})
