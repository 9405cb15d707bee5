"""One agent at a time on a state directory, and a status that finds it without checking the rest."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from agent.state_dir import hold
from agent.state_path import state_dir_of
from models.errors import ConfigError, StorageError


def test_the_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    os.close(hold(tmp_path / "a" / "b"))
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700


def test_a_second_holder_is_refused_until_the_first_lets_go(tmp_path: Path) -> None:
    held = hold(tmp_path)
    with pytest.raises(StorageError, match="another agent runs on this state directory"):
        hold(tmp_path)
    os.close(held)
    os.close(hold(tmp_path))


def test_a_file_in_the_directorys_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(StorageError, match="state: File exists"):
        hold(tmp_path / "state")


def test_the_state_directory_is_relative_to_the_configuration(tmp_path: Path) -> None:
    config = tmp_path / "tocsin.toml"
    config.write_text('[device]\nstate_dir = "state"\nnonsense = 5\n[whatever]\n')
    assert state_dir_of(config) == tmp_path / "state"
    config.write_text('[device]\nstate_dir = "/var/lib/tocsin"\n')
    assert state_dir_of(config) == Path("/var/lib/tocsin")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[device]\n", "device.state_dir: the agent's state directory"),
        ("", "device.state_dir: the agent's state directory"),
        ('device = "x"\n', "device.state_dir: the agent's state directory"),
        ("[device\n", "cannot be read: "),
        ("\udcff", "cannot be read: "),
    ],
)
def test_a_configuration_that_does_not_tell_it_is_refused(text: str, says: str, tmp_path: Path) -> None:
    config = tmp_path / "tocsin.toml"
    config.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError, match=says) as caught:
        state_dir_of(config)
    assert str(config) in str(caught.value)


def test_a_missing_configuration_says_how_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml: no such file; --config says where yours is"):
        state_dir_of(tmp_path / "nowhere.toml")
