"""The hub's directory: made once, completed, read strictly."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub.settings import init_hub, load_hub
from models.errors import ConfigError, StorageError


def test_init_makes_secrets_that_only_the_owner_can_read(tmp_path: Path) -> None:
    hub = init_hub(tmp_path / "hub")
    for path in (hub.paths.admin_token, hub.paths.join_token, hub.paths.key):
        assert path.stat().st_mode & 0o777 == 0o600
    assert hub.admin_token != hub.join_token
    assert hub.admin_token not in hub.paths.config.read_text()


def test_init_again_keeps_everything_and_completes_what_is_missing(tmp_path: Path) -> None:
    hub = init_hub(tmp_path / "hub")
    hub.paths.join_token.unlink()
    again = init_hub(tmp_path / "hub")
    assert again.admin_token == hub.admin_token
    assert again.key.public_bytes == hub.key.public_bytes
    assert again.join_token != hub.join_token


def test_what_init_writes_is_all_defaults(tmp_path: Path) -> None:
    text = init_hub(tmp_path / "hub").paths.config.read_text()
    shown = "\n".join(line.removeprefix("# ") for line in text.splitlines() if " = " in line)
    defaults = init_hub(tmp_path / "defaults", "").config
    assert init_hub(tmp_path / "shown", shown).config == defaults == load_hub(tmp_path / "hub").config


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("prot = 1", "hub.toml: prot: unknown key; expected one of hub_id"),
        ('port = "x"', "hub.toml: port: Expected 'int'"),
        ("port = 70000", "hub.toml: port"),
        ("checkin_s = 0", "hub.toml: checkin_s"),
        ("port = ", "hub.toml: not TOML"),
    ],
)
def test_a_bad_setting_names_file_and_key(tmp_path: Path, text: str, says: str) -> None:
    init_hub(tmp_path)
    (tmp_path / "hub.toml").write_text(text)
    with pytest.raises(ConfigError) as refused:
        load_hub(tmp_path)
    assert says in str(refused.value)


def test_a_directory_without_a_hub_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="tocsin hub init --data"):
        load_hub(tmp_path / "nowhere")


def test_a_lost_key_is_not_silently_replaced(tmp_path: Path) -> None:
    hub = init_hub(tmp_path)
    hub.paths.key.unlink()
    with pytest.raises(ConfigError, match=r"hub\.key: no such file; restore it"):
        load_hub(tmp_path)
    hub.paths.key.write_bytes(b"damaged")
    with pytest.raises(StorageError, match="Ed25519"):
        load_hub(tmp_path)


def test_an_emptied_token_is_refused(tmp_path: Path) -> None:
    init_hub(tmp_path).paths.admin_token.write_text("\n")
    with pytest.raises(ConfigError, match=r"admin\.token: a token of at least"):
        load_hub(tmp_path)


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="can be written"):
        init_hub(tmp_path / "file" / "hub")


def test_relative_places_are_taken_from_the_hubs_directory(tmp_path: Path) -> None:
    hub = init_hub(tmp_path / "hub", 'lake_url = "cold/lake"\nprofiles_dir = "profiles"\n')
    assert hub.lake_url == str(tmp_path / "hub" / "cold" / "lake")
    assert hub.profiles_dir == tmp_path / "hub" / "profiles"
    assert init_hub(tmp_path / "s3", 'lake_url = "s3://bucket/lake"').lake_url == "s3://bucket/lake"
