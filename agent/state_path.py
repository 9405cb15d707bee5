"""Where a configuration keeps its state, told without checking the rest of it: `status` must answer at once."""

from __future__ import annotations

import tomllib
from pathlib import Path

from models.errors import ConfigError


def state_dir_of(config_path: Path) -> Path:
    """`device.state_dir` of the file, relative to it. Raises ConfigError where that cannot be told."""
    try:
        with config_path.open("rb") as file:
            return config_path.parent / str(tomllib.load(file)["device"]["state_dir"])
    except FileNotFoundError:
        raise ConfigError(str(config_path), "no such file; --config says where yours is") from None
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(str(config_path), f"cannot be read: {error}") from None
    except (KeyError, TypeError):
        raise ConfigError(f"{config_path}: device.state_dir", "the agent's state directory") from None
