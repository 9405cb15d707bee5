"""Which version this is. The package's metadata is made from this line, and not the other way round: to read metadata at run
time costs a device three megabytes and its start a tenth of a second."""

from __future__ import annotations

from typing import Final

VERSION: Final = "0.1.0"
