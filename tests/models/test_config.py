"""Configuration errors are one line that names file, key and what was expected."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import pytest
from msgspec import Meta

from models.contract.config import load_profile, read_toml
from models.contract.profile import BUILTIN_DIR, Profile, StreamingPlan
from models.errors import ConfigError


class Leaf(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    port: Annotated[int, Meta(ge=1, le=65535)] = 1
    names: tuple[str, ...] = ()


class Branch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    leaves: list[Leaf] = []
    leaf: Leaf | None = None


class Root(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    title: str = ""
    branch: Branch = Branch()
    branches: list[Branch] = []


def refused(path: Path, text: str | bytes, config_type: type = Root) -> ConfigError:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        read_toml(path, config_type)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))
    return caught.value


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        ("titel = 'x'", "titel", "unknown key; expected one of title, branch, branches"),
        ("[branch]\ntwig = 1", "branch.twig", "unknown key; expected one of leaves, leaf"),
        ("[branch.leaf]\nprot = 1", "branch.leaf.prot", "unknown key; expected one of port, names"),
        ("[[branch.leaves]]\nprot = 1", "branch.leaves[0].prot", "unknown key; expected one of port, names"),
        ("[[branches]]\n[[branches.leaves]]\nprot = 1", "branches[0].leaves[0].prot", "expected one of port, names"),
    ],
)
def test_an_unknown_key_is_named_with_its_path_and_what_may_stand_there(
    text: str, key: str, expected: str, tmp_path: Path
) -> None:
    error = refused(tmp_path / "device.toml", text)
    assert error.where == f"{tmp_path / 'device.toml'}: {key}"
    assert expected in error.expected


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        ("title = 5", "title", "Expected 'str', got 'int'"),
        ("branch = 5", "branch", "Expected 'object', got 'int'"),
        ("[branch.leaf]\nport = '80'", "branch.leaf.port", "Expected 'int', got 'str'"),
        ("[branch.leaf]\nport = 70000", "branch.leaf.port", "Expected 'int' <= 65535"),
        ("[branch.leaf]\nport = 80.5", "branch.leaf.port", "Expected 'int', got 'float'"),
        ("[branch.leaf]\nnames = ['a', 1]", "branch.leaf.names[1]", "Expected 'str', got 'int'"),
    ],
)
def test_a_wrong_type_or_value_is_named_with_what_belongs_there(text: str, key: str, expected: str, tmp_path: Path) -> None:
    error = refused(tmp_path / "device.toml", text)
    assert error.where == f"{tmp_path / 'device.toml'}: {key}"
    assert error.expected == expected


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml: no such file"):
        read_toml(tmp_path / "nowhere.toml", Root)


def test_a_directory_in_the_files_place_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        read_toml(tmp_path, Root)


@pytest.mark.parametrize("text", ["title =", "= 1", "[branch", "title = 'a'\ntitle = 'b'", b"\xff\xfe\x00", b"title = '\xff'"])
def test_what_is_not_toml_is_refused_and_says_where(text: str | bytes, tmp_path: Path) -> None:
    assert refused(tmp_path / "device.toml", text).expected.startswith("not TOML: ")


def test_an_absurdly_large_file_is_refused_unread(tmp_path: Path) -> None:
    assert "at most 1048576 bytes" in refused(tmp_path / "device.toml", "#" * 1_048_577).expected


@pytest.mark.parametrize("name", sorted(path.stem for path in BUILTIN_DIR.glob("*.toml")))
def test_every_built_in_profile_loads(name: str) -> None:
    assert load_profile(name).name == name


def test_an_own_profile_goes_before_the_built_in_one(tmp_path: Path) -> None:
    text = 'name = "pump"\n[windowing]\nrate_hz = 1\nwindow_s = 60\n[[channels]]\nname = "flow"\n'
    (tmp_path / "pump.toml").write_text(text)
    assert load_profile("pump", tmp_path).channel_names == ["flow"]
    assert load_profile("fan", tmp_path).channel_names != ["flow"]


def test_a_profile_must_be_called_as_its_file_is(tmp_path: Path) -> None:
    text = 'name = "pmup"\n[windowing]\nrate_hz = 1\nwindow_s = 60\n[[channels]]\nname = "flow"\n'
    (tmp_path / "pump.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"pump\.toml: name: 'pump', as the file is called, not 'pmup'"):
        load_profile("pump", tmp_path)


def test_an_unknown_profile_is_told_what_there_is(tmp_path: Path) -> None:
    (tmp_path / "boiler.toml").write_text("")
    with pytest.raises(ConfigError, match="profile 'pmup': one of bearing, boiler, compressor, fan, host, motor, pump, room"):
        load_profile("pmup", tmp_path)


@pytest.mark.parametrize("name", ["../pump", "/etc/passwd", "", "a" * 65, "pump\n", "."])
def test_a_profile_name_cannot_leave_its_directory(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a name of letters, digits"):
        load_profile(name, tmp_path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("rate_hz = 0\nwindow_s = 60", "windowing.rate_hz: Expected 'float' > 0.0"),
        ("rate_hz = 1", "windowing: Object missing required field 'window_s'"),
        ("rate_hz = 1\nwindow_s = 60\nhop = 5", "windowing.hop: unknown key; expected one of rate_hz"),
    ],
)
def test_a_profile_that_makes_no_sense_is_refused(text: str, says: str, tmp_path: Path) -> None:
    text = f'name = "pump"\n[windowing]\n{text}\n[[channels]]\nname = "flow"\n'
    assert says in str(refused(tmp_path / "pump.toml", text, Profile))


@pytest.mark.parametrize(
    ("streaming", "says"),
    [
        ('channels = ["flwo"]', "streaming.channels[0]: 'flwo' must be a channel of the profile, and named once"),
        ('channels = ["flow", "flow"]', "streaming.channels[0]: 'flow' must be a channel of the profile, and named once"),
        (
            'channels = ["flow", "sound"]',
            "streaming.channels[1]: 'sound' comes 8000 times a second; at most 10: leave it",
        ),
        ('channels = ["flow"]\nthreshold = 1.0', "streaming.threshold: Expected 'float' < 1.0"),
        ('channels = ["flow"]\nthreshold = 0', "streaming.threshold: Expected 'float' > 0.0"),
        ('channels = ["flow"]\ntreshold = 0.9', "streaming.treshold: unknown key; expected one of channels, threshold"),
    ],
)
def test_what_cannot_be_watched_reading_by_reading_is_refused(streaming: str, says: str, tmp_path: Path) -> None:
    channels = '[[channels]]\nname = "flow"\n[[channels]]\nname = "sound"\nrate_hz = 8000\n'
    text = f'name = "pump"\n[windowing]\nrate_hz = 1\nwindow_s = 60\n[streaming]\n{streaming}\n{channels}'
    assert says in str(refused(tmp_path / "pump.toml", text, Profile))


def test_the_rate_that_counts_is_the_channels_own_where_it_is_declared(tmp_path: Path) -> None:
    windowing, channel = "[windowing]\nrate_hz = 100\nwindow_s = 60\n", '[[channels]]\nname = "flow"\n'
    text = f'name = "pump"\n{windowing}[streaming]\nchannels = ["flow"]\n{channel}'
    assert "comes 100 times a second" in str(refused(tmp_path / "pump.toml", text, Profile))
    (tmp_path / "pump.toml").write_text(f"{text}rate_hz = 0.01\n")
    profile = load_profile("pump", tmp_path)
    assert (profile.is_rare(profile.channels[0]), profile.learns_windows, profile.period_s) == (True, False, 100.0)


def test_the_spec_hash_follows_what_shapes_the_vector_and_nothing_else() -> None:
    pump = load_profile("pump")
    replace = msgspec.structs.replace
    same = [
        replace(pump, title="another"),
        replace(pump, channels=tuple(replace(c, max=1e6, resolution=1.0) for c in pump.channels)),
        replace(pump, windowing=replace(pump.windowing, lateness_s=9.0)),
        replace(pump, streaming=StreamingPlan(channels=("flow",))),
    ]
    other = [
        replace(pump, channels=pump.channels[::-1]),
        replace(pump, windowing=replace(pump.windowing, window_s=20.0)),
        replace(pump, windowing=replace(pump.windowing, hop_s=5.0)),
        replace(pump, features=replace(pump.features, per_channel=("mean",))),
    ]
    assert {profile.spec_hash for profile in same} == {pump.spec_hash}
    assert len({profile.spec_hash for profile in [pump, *other]}) == 5
