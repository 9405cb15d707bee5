"""Names and sizes that hold everywhere: what an identifier may look like, and how large things may get."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import Annotated, Final

from msgspec import Meta

NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9_.\-]{0,63}\Z"  # \Z, for $ would let a line break follow
_HASH: Final = r"^[0-9a-f]{16,64}\Z"

Name = Annotated[
    str, Meta(pattern=NAME_PATTERN, description="1-64 of letters, digits, '_', '.', '-'; starts with a letter or digit")
]
Hash = Annotated[str, Meta(pattern=_HASH, description="lower-case hexadecimal digest")]
Text = Annotated[str, Meta(max_length=500)]

MAX_CHANNELS: Final = 64
MAX_FEATURES: Final = 1024
MAX_WINDOW_VALUES: Final = 16_384  # samples times channels of a window that travels or is modelled whole
MAX_FRAME_BYTES: Final = 4096  # one serial line or COBS frame
MAX_PAYLOAD_BYTES: Final = 65536  # one MQTT message
MAX_ENVELOPE_BYTES: Final = 2 * 1024 * 1024  # sealed, as sent
MAX_UNPACKED_BYTES: Final = 16 * 1024 * 1024  # after decompression: a small bomb stays small
MAX_ITEMS: Final = 2000  # in one batch
MAX_BUNDLE_BYTES: Final = 8 * 1024 * 1024


@lru_cache(16_384)
def is_name(text: str) -> bool:
    """Whether `text` is a `Name`. Remembered: a fleet says the same few names all day, and a pattern takes its time."""
    return re.match(NAME_PATTERN, text) is not None


@lru_cache(4096)
def is_hash(text: str) -> bool:
    """Whether `text` is a `Hash`."""
    return re.match(_HASH, text) is not None


def target_path(profile: str, bundle_id: str) -> str:
    """What a bundle is called where it is signed; of two `Name`s, so that it leads nowhere else."""
    return f"{profile}/{bundle_id}.bundle"


def stable_id(prefix: str, *parts: object) -> str:
    """A `Name` made of what it names: the same event gets the same id in a replay. `prefix`: at most 40 characters are kept."""
    digest = hashlib.blake2b("\0".join(map(str, parts)).encode(), digest_size=6).hexdigest()
    return f"{prefix[:40]}-{digest}"
