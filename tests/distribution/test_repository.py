"""The hub's repository: what it signs by itself, what waits for a key, and that it is whole whatever happens to the hub."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine, event
from tuf.api.metadata import Metadata

from hub.audit.log import cli_actor, read_entries, verify
from hub.cli import hub as hub_command
from hub.distribution import ceremony, edit, keys, metadata
from hub.registry import registry as registry_module
from hub.registry.registry import Registry
from hub.rollout.service import RolloutService
from hub.state.database import open_state
from models.errors import RolloutError, SigningError, StorageError, TocsinError
from tests.builders import BundleParts, desired
from tests.distribution.site import DAY_NS, NOW_NS, Device, Site
from tests.killing import die, killed


def new_device(site: Site, tmp_path: Path, name: str = "new") -> Device:
    device = Device(tmp_path / name, site)
    device.bootstrap()
    return device


def run(site: Site, *arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(hub_command, [*arguments, "--data", str(site.hub.paths.root)])
    if isinstance(result.exception, TocsinError):  # which the command's entry point turns into a line and a code
        assert code == 1, result.exception
        return result
    assert result.exit_code == code, result.output
    return result


def actions(site: Site) -> list[tuple[str, str, str]]:
    with site.engine.begin() as connection:
        verify(connection)
        return [(entry.action, entry.subject, entry.actor) for entry in reversed(read_entries(connection))]


def stick(site: Site, tmp_path: Path, *folders: str) -> Path:
    """Move keys off the hub, as its operator is told to."""
    place = tmp_path / "stick"
    place.mkdir(exist_ok=True)
    for folder in folders:
        for path in (site.hub.paths.keys / folder).glob("*.key"):
            shutil.move(path, place / path.name)
    return place


# --- keys, and where they are -------------------------------------------------------------------------------------


def test_every_key_is_a_file_of_its_own_that_nobody_else_reads(site: Site) -> None:
    folders = {path.parent.name: path.stat().st_mode & 0o777 for path in site.hub.paths.keys.rglob("*.key")}
    assert folders == {"keys": 0o600, "offline": 0o600, "online": 0o600, "profiles": 0o600}
    assert {path.name.partition(".")[0] for path in site.hub.paths.keys.glob("offline/*")} == {"root", "targets"}


def test_without_the_offline_keys_a_hub_publishes_for_its_profiles_and_stays_fresh(
    site: Site, tmp_path: Path, device: Device
) -> None:
    stick(site, tmp_path, "offline")
    site.now_ns += 100 * DAY_NS
    site.tend()
    device.now_ns = site.now_ns
    device.ask(site.publish(2))
    assert (device.active, device.reasons) == ("rig-v2", {})


def test_a_new_profile_waits_for_the_targets_key(site: Site, tmp_path: Path) -> None:
    place = stick(site, tmp_path, "offline")
    wanted = site.publish(1, profile="fan")
    assert site.registry.get("fan-v1")["signed_ns"] is None
    with pytest.raises(RolloutError, match="waits for its profile's key"):
        RolloutService(site.engine).start("fan-v1", now_ns=site.now_ns)
    result = run(site, "sign", "--yes", "--keys", str(place))
    assert f"fan: fan-v1, {wanted.size} bytes, SHA-256 {wanted.sha256}" in result.output
    assert site.registry.get("fan-v1")["signed_ns"] is not None
    assert len(list((site.hub.paths.keys / "profiles").glob("profile-fan.*.key"))) == 1
    device = new_device(site, tmp_path)
    device.ask(wanted, "fan")
    held = device.slots.of("fan").active
    assert held is not None
    assert held.bundle_id == "fan-v1"
    assert actions(site)[-2:] == [("bundle.publish", "fan-v1", "hub"), ("bundle.sign", "fan-v1", cli_actor())]


def test_with_a_profile_s_key_elsewhere_publishing_waits_and_devices_are_told_nothing(
    site: Site, tmp_path: Path, device: Device
) -> None:
    place = stick(site, tmp_path, "offline", "profiles")
    versions = site.files()
    wanted = site.publish(2)
    site.tend()
    assert site.files() == versions
    result = run(site, "bundles", "list")
    assert "rig-v2" in result.output
    assert result.output.count("waits for its signature") == 1
    listed = {each["role"]: each for each in json.loads(run(site, "keys", "list", "--json").output)}
    assert (listed["profile-rig"]["key"], listed["profile-rig"]["waiting"]) == (None, 1)
    assert listed["timestamp"]["key"] is not None
    failed = run(site, "sign", "--yes", code=1)
    assert "no key at hand for rig-v2" in failed.output
    assert site.files() == versions
    run(site, "sign", "--yes", "--keys", str(place))
    device.ask(wanted)
    assert (device.active, device.reasons) == ("rig-v2", {})
    assert not list((site.hub.paths.keys / "profiles").iterdir())
    assert "nothing waits" in run(site, "sign").output


def test_what_needs_an_absent_key_changes_nothing_and_names_it(site: Site, tmp_path: Path) -> None:
    place = stick(site, tmp_path, "offline")
    files, key_files = site.files(), sorted(site.hub.paths.keys.rglob("*"))
    for role in ("root", "targets", "snapshot", "timestamp"):
        with pytest.raises(SigningError, match=r"this needs root\.[0-9a-f]{8}\.key"):
            site.rotate(role)
    with pytest.raises(SigningError, match=r"this needs targets\.[0-9a-f]{8}\.key"):
        site.rotate("profile-rig")
    with pytest.raises(SigningError, match="no role 'profile-nowhere'"):
        site.rotate("profile-nowhere")
    assert (site.files(), sorted(site.hub.paths.keys.rglob("*"))) == (files, key_files)
    run(site, "keys", "rotate", "rig", "--keys", str(place))
    assert site.files() != files


def test_a_key_file_that_is_another_key_is_not_signed_with(site: Site) -> None:
    (path,) = (site.hub.paths.keys / "profiles").glob("profile-rig.*")
    path.write_bytes(bytes(32))
    files = site.files()
    with pytest.raises(StorageError, match="not the key"):
        site.publish(2)
    path.write_bytes(b"short")
    with pytest.raises(StorageError, match="not a 32-byte Ed25519 key"):
        site.publish(2)
    assert site.files() == files
    assert [entry["bundle_id"] for entry in site.registry.list()] == ["rig-v1"]


@pytest.mark.parametrize("role", ["root", "targets", "snapshot", "timestamp", "online", "rig"])
def test_a_key_is_changed_by_a_command_and_its_old_file_is_gone(role: str, site: Site, tmp_path: Path, device: Device) -> None:
    place = stick(site, tmp_path, "offline")
    before = {path.name for folder in (place, site.hub.paths.keys) for path in folder.rglob("*.key")}
    run(site, "keys", "rotate", role, "--keys", str(place))
    after = {path.name for folder in (place, site.hub.paths.keys) for path in folder.rglob("*.key")}
    assert len(after) == len(before)
    changed = {"online": {"snapshot", "timestamp"}, "rig": {"profile-rig"}}.get(role, {role})
    assert {name.partition(".")[0] for name in after - before} == changed
    assert {name.partition(".")[0] for name in before - after} == changed
    assert {path.name.partition(".")[0] for path in place.iterdir()} == {"root", "targets"}
    assert {each for each in actions(site) if each[0] == "keys.rotate"} == {
        ("keys.rotate", each, cli_actor()) for each in changed
    }
    device.ask(site.publish(2))
    assert (device.active, device.reasons) == ("rig-v2", {})
    fresh = new_device(site, tmp_path)
    fresh.ask(site.publish(3))
    assert fresh.active == "rig-v3"


def test_a_device_that_was_away_follows_many_roots(site: Site, device: Device) -> None:
    for _ in range(6):
        site.rotate("root", "timestamp")
    device.ask(site.publish(2))
    assert (device.active, device.distribution.root_version()) == ("rig-v2", 13)


def test_a_hub_without_its_online_keys_does_all_else_and_says_so(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    shutil.rmtree(site.hub.paths.keys / "online")
    site.now_ns += 2 * DAY_NS
    site.tend()
    assert "cannot be signed: this needs snapshot." in caplog.text
    files = site.files()
    with pytest.raises(SigningError):
        site.publish(2)
    assert (site.files(), [entry["bundle_id"] for entry in site.registry.list()]) == (files, ["rig-v1"])


# --- signing elsewhere --------------------------------------------------------------------------------------------


@pytest.fixture
def exported(site: Site, tmp_path: Path) -> tuple[Path, Path]:
    """The stick, and a file with what waits: rig-v2 and rig-v3."""
    place = stick(site, tmp_path, "offline", "profiles")
    site.publish(2)
    site.publish(3)
    file = tmp_path / "to-sign.json"
    run(site, "sign", "--export", str(file))
    return place, file


def countersign(place: Path, file: Path) -> str:
    return (
        CliRunner()
        .invoke(hub_command, ["countersign", str(file), "--keys", str(place), "--yes"], catch_exceptions=False)
        .output
    )


def test_what_was_signed_on_another_machine_is_published_here(site: Site, device: Device, exported: tuple[Path, Path]) -> None:
    place, file = exported
    said = countersign(place, file)
    assert [f"rig/rig-v{n}.bundle" in said for n in (1, 2, 3)] == [True, True, True]
    assert "signed: rig-v2, rig-v3" in run(site, "sign", "--import", str(file)).output
    device.ask(desired(site.registry.read("rig-v3"), "rig-v3"))
    assert (device.active, device.reasons) == ("rig-v3", {})
    assert [action for action in actions(site) if action[0] == "bundle.sign"][-2:] == [
        ("bundle.sign", "rig-v2", cli_actor()),
        ("bundle.sign", "rig-v3", cli_actor()),
    ]


def test_what_comes_back_unsigned_changed_or_late_is_refused_and_changes_nothing(
    site: Site, tmp_path: Path, exported: tuple[Path, Path]
) -> None:
    place, file = exported
    unsigned = file.read_bytes()
    countersign(place, file)
    signed = file.read_bytes()
    files = site.files()
    bad = {"unsigned": unsigned, "changed": signed.replace(b"rig-v2", b"rig-v9"), "garbage": b"{}garbage", "list": b"[1]"}
    bad["of another role"] = signed.replace(b"profile-rig", b"profile-fan")
    for name, content in bad.items():
        file.write_bytes(content)
        run(site, "sign", "--import", str(file), code=1)
        assert site.files() == files, name
    file.write_bytes(signed)
    run(site, "sign", "--import", str(file))
    site.publish(4)
    files = site.files()
    run(site, "sign", "--import", str(file), code=1)
    assert site.files() == files
    assert site.registry.get("rig-v4")["signed_ns"] is None


def test_a_signed_list_of_what_is_not_in_the_registry_is_refused(site: Site, exported: tuple[Path, Path]) -> None:
    """Whoever may sign may still not bring in what this hub has never checked."""
    place, file = exported
    request = ceremony.read_request(file.read_bytes())
    requested = request["profile-rig"]
    listed: Any = Metadata.from_bytes(bytes(requested.metadata))
    listed.signed.targets["rig/rig-v2.bundle"].hashes["sha256"] = "0" * 64
    request["profile-rig"] = msgspec.structs.replace(requested, metadata=msgspec.Raw(listed.to_bytes()))
    file.write_bytes(msgspec.json.encode(request))
    countersign(place, file)
    files = site.files()
    run(site, "sign", "--import", str(file), code=1)
    assert site.files() == files
    assert site.registry.get("rig-v2")["signed_ns"] is None


# --- the course of time -------------------------------------------------------------------------------------------


def test_a_running_hub_renews_what_would_expire_and_nothing_else(site: Site) -> None:
    files = site.files()
    site.now_ns = NOW_NS + DAY_NS
    site.tend()
    assert site.files() == files
    site.now_ns += DAY_NS
    site.tend()
    assert site.signed("timestamp").expires > metadata.at(site.now_ns + 2 * DAY_NS)
    assert {name for name in site.files().keys() - files.keys() if "snapshot" not in name} == set()


def test_with_all_keys_at_hand_nothing_ever_expires(site: Site, device: Device) -> None:
    for _ in range(25):
        site.now_ns += 365 * DAY_NS
        site.tend()
    device.now_ns = site.now_ns
    device.ask(site.publish(2))
    assert (device.active, device.reasons) == ("rig-v2", {})


def test_long_lived_metadata_is_warned_of_and_renewed_with_its_key(
    site: Site, device: Device, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = stick(site, tmp_path, "offline")
    site.now_ns += 4 * 365 * DAY_NS
    site.tend()
    site.tend()
    assert caplog.text.count("the TUF metadata of root expires soon") == 1
    repository = site.hub.repository(place)
    assert "root" in repository.renew(site.engine, actor="cli:test", now_ns=site.now_ns)
    caplog.clear()
    site.now_ns += 2 * 365 * DAY_NS
    site.tend()
    assert "expires soon" not in caplog.text
    device.now_ns = site.now_ns
    device.ask(site.publish(2))
    assert (device.active, device.reasons) == ("rig-v2", {})


def test_a_hub_whose_clock_is_set_back_signs_nothing_that_looks_older(site: Site, device: Device) -> None:
    site.now_ns += 30 * DAY_NS
    site.tend()
    device.now_ns = site.now_ns
    device.ask(site.publish(2))
    site.now_ns = device.now_ns = NOW_NS - 300 * DAY_NS
    device.ask(site.publish(3))
    assert (device.active, device.reasons) == ("rig-v3", {})


def test_a_hub_restored_from_a_backup_is_believed_again_once_its_online_keys_are_changed(
    site: Site, device: Device, tmp_path: Path
) -> None:
    site.engine.dispose()
    shutil.copytree(site.hub.paths.root, tmp_path / "backup")
    device.ask(site.publish(2))
    device.ask(site.publish(1))
    site.engine.dispose()
    for path in site.hub.paths.root.glob("hub.db*"):
        path.unlink()
    shutil.copy(tmp_path / "backup" / "hub.db", site.hub.paths.state)
    wanted = site.publish(3)
    device.ask(wanted)
    assert "untrusted: " in device.reasons["rig-v3"]
    site.rotate("snapshot", "timestamp")
    device.an_hour_later()
    device.ask(wanted)
    assert (device.active, device.reasons) == ("rig-v3", {})


def test_old_versions_of_what_changes_often_are_dropped_and_every_root_is_kept(site: Site) -> None:
    for _ in range(12):
        site.repository.renew(site.engine, actor="cli:test", now_ns=site.now_ns)
    names = site.files()
    assert sum("snapshot" in name for name in names) == sum("profile-rig" in name for name in names) == 8
    assert sum("root" in name for name in names) == site.signed("root").version == 13


def test_bundles_from_before_tuf_are_signed_when_the_hub_starts(site: Site, tmp_path: Path) -> None:
    wanted = site.publish(2)
    with site.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE bundles SET signed_ns = NULL")
        connection.exec_driver_sql("DELETE FROM tuf_metadata")
    shutil.rmtree(site.hub.paths.keys / "online")
    site.tend()
    device = new_device(site, tmp_path)
    device.ask(wanted)
    assert (device.active, device.reasons) == ("rig-v2", {})


# --- kill -9 at each step of publishing -----------------------------------------------------------------------------


def before(module: Any, name: str, nth: int = 1) -> Callable[[Engine], None]:
    """Be killed just before the nth call of that function."""

    def arm(_engine: Engine) -> None:
        right, calls = getattr(module, name), []

        def wrong(*args: Any, **how: Any) -> Any:
            calls.append(1)
            if len(calls) == nth:
                die()
            return right(*args, **how)

        setattr(module, name, wrong)

    return arm


def at_commit(engine: Engine) -> None:
    """Not at the first one, that of looking."""
    writes = []

    def on_execute(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        writes.append(statement)

    event.listen(engine, "before_cursor_execute", on_execute)
    event.listen(engine, "commit", lambda _: die() if any("INSERT" in each for each in writes) else None)


KILLS: dict[str, Callable[[Engine], None]] = {
    "before the archive is stored": before(registry_module, "write_durably"),
    "before its row": before(registry_module, "insert"),
    "before the new profile's key": before(keys, "write_durably"),
    "before targets": before(metadata, "store", 1),
    "before the profile's metadata": before(metadata, "store", 2),
    "before snapshot": before(metadata, "store", 3),
    "before timestamp": before(metadata, "store", 4),
    "before the commit": at_commit,
}


@pytest.mark.parametrize("step", KILLS)
def test_killed_while_publishing_the_repository_is_the_old_one_whole_and_publishing_again_works(
    step: str, site: Site, tmp_path: Path, device: Device
) -> None:
    """The first bundle of a new profile: every step there is."""
    archive = BundleParts("fan-v1", changes={"version": 1, "profile": "fan"}).pack()
    files = site.files()

    def publish() -> None:
        registry = Registry(open_state(site.hub.state_url), site.hub.paths.bundles, site.hub.repository())
        KILLS[step](registry._engine)
        registry.publish(archive, now_ns=NOW_NS)

    site.engine.dispose()
    assert killed(publish)
    assert site.files() == files
    assert [entry["bundle_id"] for entry in site.registry.list()] == ["rig-v1"]
    fresh = new_device(site, tmp_path)
    fresh.ask(site.publish(2))
    assert fresh.active == "rig-v2"
    assert site.registry.publish(archive, now_ns=NOW_NS) == "fan-v1"
    device.ask(site.publish(3))
    assert (device.active, device.reasons) == ("rig-v3", {})
    listed = Metadata.from_bytes(site.files()["1.profile-fan.json"]).signed.targets
    assert list(listed) == ["fan/fan-v1.bundle"]
    assert edit.target_path("fan", "fan-v1") in listed


@pytest.mark.parametrize("role", ["root", "targets", "timestamp", "profile-rig"])
@pytest.mark.parametrize("step", ["before the commit", "before the old key is removed"])
def test_killed_while_a_key_is_changed_it_is_the_old_one_or_the_new_one(
    role: str, step: str, site: Site, device: Device
) -> None:
    files, before_keys = site.files(), site.keyids(role)

    def rotate() -> None:
        engine = open_state(site.hub.state_url)
        arm = at_commit if step == "before the commit" else before(keys.KeyRing, "forget")
        arm(engine)
        site.hub.repository().rotate(engine, role, actor="cli:test", now_ns=NOW_NS)

    site.engine.dispose()
    assert killed(rotate)
    assert (site.files() == files) == (step == "before the commit")
    assert (site.keyids(role) == before_keys) == (step == "before the commit")
    device.ask(site.publish(2))
    assert (device.active, device.reasons) == ("rig-v2", {})
    site.rotate(role)
    device.ask(site.publish(3))
    assert (device.active, device.reasons) == ("rig-v3", {})
