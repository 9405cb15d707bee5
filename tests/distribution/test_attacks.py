"""The attacks of TUF's specification (1.0.34, section 1.5.2), one by one, on a device that runs rig-v1 and is asked for rig-v2.

After each: rig-v1 serves, slots and bundles on disk are as they were, nothing is left lying about, the reason stands in the
next check-in, and the hub is not asked again before an hour is over. Where the attack ends, the device goes on.

"Extraneous dependencies" has no counterpart: a bundle depends on no other.
"""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from tuf.api.metadata import DelegatedRole, Metadata, MetaFile, Root, TargetFile

from hub.distribution.metadata import SIGNED_AT, at, signed_by
from models.contract.checkin import CheckInReply, DesiredBundle, DesiredSlots
from models.contract.names import MAX_BUNDLE_BYTES
from models.errors import LinkError
from tests.builders import BundleParts, desired
from tests.distribution.site import DAY_NS, LINK_TIMEOUT_S, Device, Handler, Site
from tests.waiting import PATIENCE_S

EVIL = BundleParts("rig-v2", changes={"version": 2, "description": "not what the hub published"}).pack()


def refused(device: Device, wanted: DesiredBundle, reason: str) -> None:
    """The whole of what a failed attack must leave behind."""
    before = device.kept
    device.ask(wanted)
    assert device.kept == before
    assert device.active == "rig-v1"
    assert wanted.bundle_id in device.reasons
    assert reason in device.reasons[wanted.bundle_id], device.reasons
    asked = list(device.site.asked)
    device.ask(wanted)
    assert device.site.asked == asked, "asked again in a loop"


def recovers(device: Device, wanted: DesiredBundle) -> None:
    """Once the attack is over, an hour later at most."""
    device.site.answers.clear()
    device.site.frozen = None
    device.an_hour_later()
    device.ask(wanted)
    assert (device.active, device.reasons) == (wanted.bundle_id, {})


def served_metadata(site: Site, role: str) -> str:
    """The name under which the newest metadata of `role` is served."""
    return f"{site.signed(role).version}.{role}.json"


# --- arbitrary software ---------------------------------------------------------------------------------------------


def test_arbitrary_software_other_bytes_under_a_signed_name(device: Device, site: Site) -> None:
    wanted = site.publish(2)
    site.answers[f"/v1/tuf/targets/rig/{wanted.sha256}.rig-v2.bundle"] = EVIL[: wanted.size].ljust(wanted.size, b"\0")
    refused(device, wanted, "untrusted: rig-v2: ")
    recovers(device, wanted)


def test_arbitrary_software_by_a_hub_that_asks_for_what_was_never_signed(device: Device, site: Site) -> None:
    evil = desired(EVIL, "rig-v2")
    site.answers[f"/v1/tuf/targets/rig/{evil.sha256}.rig-v2.bundle"] = EVIL
    refused(device, evil, "untrusted: no role that may sign for rig lists rig-v2")


def test_arbitrary_software_by_a_hub_that_gives_a_signed_name_another_digest(device: Device, site: Site) -> None:
    site.publish(2)
    refused(device, desired(EVIL, "rig-v2"), "untrusted: another archive was signed as rig/rig-v2.bundle")


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "profile-rig"])
@pytest.mark.parametrize("how", ["unsigned", "signed by another key", "changed after it was signed"])
def test_arbitrary_software_metadata_that_its_key_did_not_sign(role: str, how: str, device: Device, site: Site) -> None:
    wanted = site.publish(2)
    signed = site.signed(role)
    signed.version += 1
    if how == "changed after it was signed":
        metadata = Metadata.from_bytes(site.files()["timestamp.json" if role == "timestamp" else served_metadata(site, role)])
        metadata.signed.unrecognized_fields["x"] = 1
        forged = metadata.to_bytes()
    else:
        other = {"timestamp": "snapshot"}.get(role, "timestamp")
        forged = site.sign_as(signed, *([other] if how == "signed by another key" else []))
    site.answer("timestamp.json" if role == "timestamp" else served_metadata(site, role), forged)
    device.distribution.directory.joinpath("targets.json").unlink()  # so that it is fetched
    refused(device, wanted, "untrusted: ")
    recovers(device, wanted)


# --- rollback -------------------------------------------------------------------------------------------------------


def test_rollback_to_everything_as_it_was(device: Device, site: Site) -> None:
    old = site.files()
    device.ask(site.publish(2))
    device.ask(site.publish(1))
    assert (device.active, device.reasons) == ("rig-v1", {})  # a hub may ask for an older bundle that it still vouches for
    third = site.publish(3)
    site.frozen = old
    versions = device.versions()
    refused(device, third, "untrusted: rig-v3: New timestamp version 2 must be >= 3")
    assert device.versions() == versions
    recovers(device, third)


def test_rollback_of_snapshot_by_a_newer_timestamp(device: Device, site: Site) -> None:
    wanted = site.publish(2)
    device.ask(site.publish(1))
    old = site.signed("snapshot").version - 1
    content = site.files()[f"{old}.snapshot.json"]
    timestamp = site.signed("timestamp")
    device.ask(wanted)
    device.ask(site.publish(1))
    timestamp.version += 1
    timestamp.snapshot_meta = MetaFile.from_data(old, content, ["sha256"])
    site.answer("timestamp.json", site.sign_as(timestamp, "timestamp"))
    refused(device, site.publish(3), "New snapshot version must be >= ")


def test_rollback_of_a_profile_by_a_newer_snapshot(device: Device, site: Site) -> None:
    device.ask(site.publish(2))
    device.ask(site.publish(1))
    wanted = site.publish(3)
    stale = site.files()["1.profile-rig.json"]
    newer_snapshot(site, {"profile-rig.json": MetaFile.from_data(1, stale, ["sha256"])})
    refused(device, wanted, "Expected profile-rig.json version 1, got 2")


def test_rollback_by_a_snapshot_that_leaves_a_profile_out(device: Device, site: Site) -> None:
    wanted = site.publish(2)
    newer_snapshot(site, {"profile-rig.json": None})
    refused(device, wanted, "New snapshot is missing info for 'profile-rig.json'")


def newer_snapshot(site: Site, changes: dict[str, MetaFile | None], expires: timedelta = timedelta(days=1)) -> None:
    """What whoever holds the online keys can say."""
    snapshot, timestamp = site.signed("snapshot"), site.signed("timestamp")
    snapshot.version, timestamp.version = snapshot.version + 1, timestamp.version + 1
    snapshot.meta = {name: meta for name, meta in (snapshot.meta | changes).items() if meta is not None}
    snapshot.expires = timestamp.expires = at(site.now_ns) + expires
    content = site.sign_as(snapshot, "snapshot")
    timestamp.snapshot_meta = MetaFile.from_data(snapshot.version, content, ["sha256"])
    site.answer(f"{snapshot.version}.snapshot.json", content)
    site.answer("timestamp.json", site.sign_as(timestamp, "timestamp"))


# --- freeze, and the clock ------------------------------------------------------------------------------------------


def frozen(device: Device, site: Site) -> DesiredBundle:
    """Somebody in the way keeps the device at what it has seen; the hub has published since."""
    site.frozen = site.files()
    return site.publish(2)


def test_indefinite_freeze_ends_with_the_timestamp_s_expiry(device: Device, site: Site) -> None:
    wanted = frozen(device, site)
    refused(device, wanted, "untrusted: no role that may sign for rig lists rig-v2")
    device.now_ns += 3 * DAY_NS + 1_000_000_000
    device.an_hour_later()
    refused(device, wanted, "untrusted: rig-v2: timestamp.json is expired")
    site.now_ns = device.now_ns
    site.tend()
    recovers(device, wanted)


def test_freeze_of_a_device_whose_clock_was_set_back_does_not_bring_back_what_expired_before_it_last_looked(
    device: Device, site: Site
) -> None:
    old = site.files()
    site.now_ns += 10 * DAY_NS
    site.tend()
    device.now_ns = site.now_ns
    wanted = site.publish(2)
    device.ask(wanted)
    assert device.active == "rig-v2"
    device.ask(site.publish(1))
    (device.trusted / "snapshot.json").unlink()
    device.now_ns = 0  # a Pi without a battery, and whoever tells it the time lies
    site.answer("timestamp.json", old["timestamp.json"])
    refused(device, site.publish(3), "New timestamp version 2 must be >= ")


@pytest.mark.parametrize("role", ["snapshot", "targets", "profile-rig", "root"])
def test_expired_metadata_is_refused_whichever_it_is(role: str, device: Device, site: Site) -> None:
    wanted = site.publish(2)
    years = 6 if role != "snapshot" else 0
    device.now_ns += years * 365 * DAY_NS + 31 * DAY_NS
    expires = at(device.now_ns) + timedelta(days=1)
    snapshot, timestamp = site.signed("snapshot"), site.signed("timestamp")
    timestamp.version, timestamp.expires = timestamp.version + 1, expires
    if role != "snapshot":
        snapshot.version, snapshot.expires = snapshot.version + 1, expires
    for each in [each for each in ("targets", "profile-rig") if role in ("root", "profile-rig") and each != role]:
        renewed = site.signed(each)
        renewed.version, renewed.expires = renewed.version + 1, expires
        content = site.sign_as(renewed, each)
        snapshot.meta[f"{each}.json"] = MetaFile.from_data(renewed.version, content, ["sha256"])
        site.answer(f"{renewed.version}.{each}.json", content)
    if role != "root":
        root = site.signed("root")
        root.version, root.expires = root.version + 1, expires
        site.answer(f"{root.version}.root.json", site.sign_as(root, "root"))
    content = site.sign_as(snapshot, "snapshot")
    timestamp.snapshot_meta = MetaFile.from_data(snapshot.version, content, ["sha256"])
    site.answer(f"{snapshot.version}.snapshot.json", content)
    site.answer("timestamp.json", site.sign_as(timestamp, "timestamp"))
    refused(device, wanted, "is expired")
    assert role in device.reasons["rig-v2"]


@pytest.mark.parametrize("now_ns", [0, 86_400 * 10**9 * 365])
def test_a_clock_that_stands_in_the_past_is_no_obstacle(now_ns: int, device: Device, site: Site) -> None:
    device.now_ns = now_ns
    device.ask(site.publish(2))
    assert (device.active, device.reasons) == ("rig-v2", {})


def test_the_time_of_the_newest_timestamp_counts_where_the_clock_is_behind_it(device: Device, site: Site) -> None:
    """A profile's metadata that has expired is not revived by telling the device that it is 2026 again."""
    site.now_ns += 4 * 365 * DAY_NS
    site.repository.renew(site.engine, actor="cli:test", now_ns=site.now_ns)
    device.now_ns = site.now_ns
    wanted = site.publish(2)
    device.ask(wanted)
    assert device.active == "rig-v2"
    device.ask(site.publish(1))
    device.now_ns = 0
    newer_snapshot(site, {}, expires=timedelta(days=-1))
    refused(device, site.publish(3), "is expired")


def test_a_clock_ahead_of_its_time_refuses_and_recovers_when_it_is_right_again(device: Device, site: Site) -> None:
    wanted = site.publish(2)
    device.now_ns += 100 * 365 * DAY_NS
    refused(device, wanted, "is expired")
    device.now_ns = site.now_ns
    recovers(device, wanted)


# --- endless data, slow retrieval -----------------------------------------------------------------------------------


def endless(handler: Handler) -> None:
    """Says no length, and never ends."""
    handler.send_response(200)
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(b" " * 65536)
    except OSError:
        pass


@pytest.mark.parametrize("name", ["timestamp.json", "snapshot.json", "profile-rig.json", "2.root.json"])
def test_endless_metadata_is_given_up_at_its_limit(name: str, device: Device, site: Site) -> None:
    wanted = site.publish(2)
    role = name.removesuffix(".json")
    site.answer(name if role == "timestamp" or "root" in role else served_metadata(site, role), endless)
    refused(device, wanted, "exceeding the maximum allowed length")
    recovers(device, wanted)


def test_an_endless_bundle_is_given_up_at_its_size_and_nothing_of_it_is_kept(device: Device, site: Site) -> None:
    wanted = site.publish(2)
    site.answers[f"/v1/tuf/targets/rig/{wanted.sha256}.rig-v2.bundle"] = endless
    refused(device, wanted, f"more than {wanted.size} bytes")
    (part,) = device.trusted.glob("*.part")
    assert part.stat().st_size <= wanted.size
    recovers(device, wanted)


@pytest.mark.parametrize("size", [0, -1, MAX_BUNDLE_BYTES + 1])
def test_a_bundle_of_an_impossible_size_is_not_even_asked_for(size: int, device: Device, site: Site) -> None:
    asked = list(site.asked)
    refused(device, DesiredBundle("rig-v2", "a" * 64, size), "a bundle has at most")
    assert site.asked == asked


@pytest.mark.parametrize("where", ["metadata/timestamp.json", "targets"])
def test_slow_retrieval_is_a_failed_link_and_no_verdict(where: str, device: Device, site: Site) -> None:
    wanted = site.publish(2)
    path = f"targets/rig/{wanted.sha256}.rig-v2.bundle" if where == "targets" else where
    device.distribution._timeout_s = 0.1
    over = []

    def silent(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(wanted.size))
        handler.end_headers()
        handler.wfile.write(b"x")
        handler.connection.settimeout(PATIENCE_S)
        over.append(handler.connection.recv(1))  # until the device hangs up

    site.answers[f"/v1/tuf/{path}"] = silent
    before = device.kept
    with pytest.raises(LinkError):
        device.ask(wanted)
    assert (device.kept, device.reasons) == (before, {})
    site.answers.clear()
    device.distribution._timeout_s = LINK_TIMEOUT_S
    device.ask(wanted)
    assert device.active == "rig-v2"


# --- mix and match --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["snapshot", "targets", "profile-rig"])
def test_mix_and_match_metadata_of_another_time_is_refused(role: str, device: Device, site: Site) -> None:
    site.repository.renew(site.engine, actor="cli:test", now_ns=site.now_ns)
    site.publish(2)
    wanted = site.publish(3)
    newest = site.signed(role).version
    site.answer(f"{newest}.{role}.json", site.files()[f"{newest - 1}.{role}.json"])
    refused(device, wanted, "untrusted: rig-v3: ")
    recovers(device, wanted)


# --- keys that were taken -------------------------------------------------------------------------------------------


def test_with_the_online_keys_alone_nothing_new_can_be_signed(device: Device, site: Site) -> None:
    """Snapshot and timestamp vouch for what is newest, not for what it is."""
    evil = desired(EVIL, "rig-v2")
    listed = site.signed("profile-rig")
    listed.version += 1
    listed.targets["rig/rig-v2.bundle"] = TargetFile(evil.size, {"sha256": evil.sha256}, "rig/rig-v2.bundle")
    content = site.sign_as(listed, "timestamp", "snapshot")
    newer_snapshot(site, {"profile-rig.json": MetaFile.from_data(listed.version, content, ["sha256"])})
    site.answer(f"{listed.version}.profile-rig.json", content)
    refused(device, evil, "profile-rig was signed by 0/1 keys")


def test_a_profile_s_key_signs_for_its_own_profile_only(device: Device, site: Site) -> None:
    site.publish(1, profile="fan")
    evil = desired(EVIL, "rig-v2")
    listed = site.signed("profile-fan")
    listed.version += 1
    listed.targets["rig/rig-v2.bundle"] = TargetFile(evil.size, {"sha256": evil.sha256}, "rig/rig-v2.bundle")
    content = site.sign_as(listed, "profile-fan")
    newer_snapshot(site, {"profile-fan.json": MetaFile.from_data(listed.version, content, ["sha256"])})
    site.answer(f"{listed.version}.profile-fan.json", content)
    site.answers[f"/v1/tuf/targets/rig/{evil.sha256}.rig-v2.bundle"] = EVIL
    refused(device, evil, "untrusted: no role that may sign for rig lists rig-v2")


def test_a_profile_s_key_cannot_hand_its_paths_on(device: Device, site: Site) -> None:
    """Also whoever holds a profile's key and the online keys gets nothing signed for another profile."""
    evil = desired(EVIL, "rig-v2")
    site.publish(1, profile="fan")
    targets = site.signed("targets")
    targets.version += 1
    targets.delegations.roles = {
        "profile-fan": DelegatedRole("profile-fan", site.keyids("profile-fan"), 1, terminating=False, paths=["*/*"]),
        **targets.delegations.roles,
    }
    content = site.sign_as(targets, "profile-fan")
    newer_snapshot(site, {"targets.json": MetaFile.from_data(targets.version, content, ["sha256"])})
    site.answer(f"{targets.version}.targets.json", content)
    refused(device, evil, "targets was signed by 0/1 keys")


@pytest.mark.parametrize("role", ["root", "targets", "snapshot", "timestamp", "profile-rig"])
def test_after_a_key_was_changed_devices_follow_and_the_old_key_is_worth_nothing(role: str, device: Device, site: Site) -> None:
    old = site.repository.keys.find(role, site.keyids(role))
    assert old is not None
    site.rotate(role)
    wanted = site.publish(2)
    device.ask(wanted)
    assert (device.active, device.reasons) == ("rig-v2", {})
    device.ask(site.publish(1))
    signed = site.signed(role)
    signed.version += 1
    content = signed_by(signed, old)
    if role in ("targets", "profile-rig"):
        newer_snapshot(site, {f"{role}.json": MetaFile.from_data(signed.version, content, ["sha256"])})
    if role == "snapshot":
        timestamp = site.signed("timestamp")
        timestamp.version += 1
        timestamp.snapshot_meta = MetaFile.from_data(signed.version, content, ["sha256"])
        site.answer("timestamp.json", site.sign_as(timestamp, "timestamp"))
    site.answer("timestamp.json" if role == "timestamp" else f"{signed.version}.{role}.json", content)
    refused(device, site.publish(3), "was signed by 0/1 keys")


def test_a_new_root_must_be_signed_by_the_old_one(device: Device, site: Site) -> None:
    """Whoever has the hub but not the root key cannot become the root."""
    other = site.hub.repository().keys.create("timestamp")
    root: Root = site.signed("root")
    (mine,) = root.roles["root"].keyids
    root.version += 1
    root.revoke_key(mine, "root")
    root.add_key(other.public_key, "root")
    site.answer("2.root.json", signed_by(root, other))
    refused(device, site.publish(2), "root was signed by 0/1 keys")


# --- fast-forward ---------------------------------------------------------------------------------------------------


def test_fast_forward_with_taken_online_keys_is_undone_by_changing_them(device: Device, site: Site) -> None:
    snapshot, timestamp = site.signed("snapshot"), site.signed("timestamp")
    snapshot.version = timestamp.version = 2**31 - 1
    timestamp.unrecognized_fields[SIGNED_AT] = site.now_ns + 1000 * 365 * DAY_NS  # and of the time as well
    timestamp.expires = snapshot.expires = at(site.now_ns) + timedelta(days=1001 * 365)
    for name in snapshot.meta:
        snapshot.meta[name].version = 2**31 - 1
    content = site.sign_as(snapshot, "snapshot")
    timestamp.snapshot_meta = MetaFile.from_data(snapshot.version, content, ["sha256"])
    site.answer("timestamp.json", site.sign_as(timestamp, "timestamp"))
    site.answer(f"{snapshot.version}.snapshot.json", content)
    wanted = site.publish(2)
    with pytest.raises(LinkError, match=r"2147483647\.targets\.json: 404"):  # which he could not sign
        device.ask(wanted)
    assert device.versions()["timestamp"] == 2**31 - 1
    site.answers.clear()
    refused(device, wanted, "untrusted: rig-v2: ")  # the hub's word alone does not undo it
    site.rotate("snapshot", "timestamp")
    recovers(device, wanted)
    assert device.versions()["timestamp"] == site.signed("timestamp").version


# --- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../rig-v2", "..%2f..%2fx", "/etc/passwd", "a/b", "x\0y", "", "." * 3, "a" * 65])
def test_a_name_that_leads_elsewhere_does_not_get_past_the_check_in(name: str) -> None:
    reply = CheckInReply(
        hub_time_ns=1, next_checkin_s=1.0, slots=[DesiredSlots(profile="rig", active=DesiredBundle(name, "a" * 64, 5))]
    )
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode(reply), type=CheckInReply)


@pytest.mark.parametrize("path", ["../../slots.json", "/etc/cron.d/x", "rig/../../x.bundle", "rig/..%2f..%2fslots.json"])
def test_an_arbitrary_target_that_is_signed_is_written_nowhere(path: str, device: Device, site: Site) -> None:
    """A taken profile's key may list what it likes; the device asks for one name, and knows itself where that goes."""
    evil = desired(EVIL, "rig-v2")
    listed = site.signed("profile-rig")
    listed.version += 1
    listed.targets[path] = TargetFile(evil.size, {"sha256": evil.sha256}, path)
    content = site.sign_as(listed, "profile-rig")
    newer_snapshot(site, {"profile-rig.json": MetaFile.from_data(listed.version, content, ["sha256"])})
    site.answer(f"{listed.version}.profile-rig.json", content)
    files = sorted(device.directory.parent.rglob("*"))
    refused(device, evil, "no role that may sign for rig lists rig-v2")
    assert not [each for each in sorted(device.directory.parent.rglob("*")) if each not in files and "tuf" not in str(each)]


# --- whatever else --------------------------------------------------------------------------------------------------

GARBAGE = [b"", b"{}", b"<html>", b"\xff" * 100, b'{"signed": ' + b"[" * 5000]
GARBAGE += [b'{"signed": {"_type": "timestamp"}, "signatures": []}']


@pytest.mark.parametrize("content", GARBAGE, ids=range(len(GARBAGE)))
@pytest.mark.parametrize("role", ["timestamp", "snapshot"])
def test_what_is_no_metadata_is_refused(content: bytes, role: str, device: Device, site: Site) -> None:
    wanted = site.publish(2)
    site.answer("timestamp.json" if role == "timestamp" else served_metadata(site, role), content)
    refused(device, wanted, "untrusted: ")
    recovers(device, wanted)


@pytest.mark.parametrize("status", [403, 404, 429, 500, 503, 302])
def test_a_hub_that_does_not_answer_is_a_failed_link_and_no_verdict(status: int, device: Device, site: Site) -> None:
    wanted = site.publish(2)
    site.answer("timestamp.json", status)
    before = device.kept
    with pytest.raises(LinkError):
        device.ask(wanted)
    assert (device.kept, device.reasons) == (before, {})


def test_metadata_in_another_role_s_place_is_refused(device: Device, site: Site) -> None:
    wanted = site.publish(2)
    site.answer("timestamp.json", site.files()[served_metadata(site, "snapshot")])
    refused(device, wanted, "Expected 'timestamp', got 'snapshot'")
