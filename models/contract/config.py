"""Reading TOML into typed structs, with errors that a person can act on: file, key, and what was expected."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import msgspec

from models.contract.profile import BUILTIN_DIR, Profile
from models.errors import ConfigError

T = TypeVar("T")
_MAX_CONFIG_BYTES = 1024 * 1024


def read_toml(path: Path, config_type: type[T]) -> T:
    """Raises ConfigError naming file and key: missing file, TOML syntax, unknown key, wrong type, value out of bounds."""
    try:
        if path.stat().st_size > _MAX_CONFIG_BYTES:
            raise ConfigError(str(path), f"a TOML file of at most {_MAX_CONFIG_BYTES} bytes")
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(str(path), "no such file") from None
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), f"not TOML: {error}") from None
    return convert(raw, config_type, str(path))


def convert(raw: Any, config_type: type[T], where: str) -> T:
    """`raw` as `config_type`; raises ConfigError at `where: key`."""
    try:
        return msgspec.convert(raw, type=config_type, strict=True)
    except msgspec.ValidationError as error:
        raise ConfigError(*_explain(str(error), config_type, where)) from None


def load_profile(name: str, directory: Path | None = None) -> Profile:
    """The profile `name` from `directory` if it is there, else the built-in one. Raises ConfigError listing what exists."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,63}", name):
        raise ConfigError(f"profile {name!r}", "a name of letters, digits, '_', '.', '-'")
    for folder in filter(None, (directory, BUILTIN_DIR)):
        path = folder / f"{name}.toml"
        if path.is_file():
            profile = read_toml(path, Profile)
            if profile.name != name:
                raise ConfigError(f"{path}: name", f"{name!r}, as the file is called, not {profile.name!r}")
            return profile
    known = sorted({path.stem for folder in filter(None, (directory, BUILTIN_DIR)) for path in folder.glob("*.toml")})
    raise ConfigError(f"profile {name!r}", f"one of {', '.join(known)}")


def _explain(message: str, config_type: Any, where: str) -> tuple[str, str]:
    """msgspec's sentence, `Expected `int`, got `str` - at `$.a[0].b``, as (file: key, what was expected)."""
    text, _, at = message.partition(" - at `$")
    key = at.rstrip("`").lstrip(".")
    unknown = re.fullmatch(r"Object contains unknown field `(.*)`", text)
    if unknown:
        key = f"{key}.{unknown[1]}" if key else unknown[1]
        fields = _fields_at(config_type, at.rstrip("`"))
        text = f"unknown key; expected one of {', '.join(fields)}" if fields else "unknown key"
    return (f"{where}: {key}" if key else where), text.replace("`", "'")


def _fields_at(config_type: Any, path: str) -> list[str]:
    """The keys that are allowed where `path` (`.a[0].b`) points to; [] where that cannot be told."""
    here = config_type
    for part in re.findall(r"\.(\w+)|\[(?:\d+|\.\.\.)\]", path):
        if part:
            here = get_type_hints(here, include_extras=False).get(part) if isinstance(here, type) else None
        options = [here, *get_args(here)]
        here = next((o for o in options if isinstance(o, type) and issubclass(o, msgspec.Struct)), here)
        if here is None:
            return []
    structs = [o for o in [here, *get_args(here)] if isinstance(o, type) and issubclass(o, msgspec.Struct)]
    return list(structs[0].__struct_fields__) if structs else []
