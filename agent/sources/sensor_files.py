"""Sensors as the Linux kernel shows them in sysfs: hwmon (temperatures, fans, voltages, ...) and IIO (ADCs, accelerometers,
humidity, pressure, ...). See the kernel's Documentation/hwmon/sysfs-interface and ABI/testing/sysfs-bus-iio.

    <hwmon root>/hwmon0/name               cpu_thermal
                        temp1_input        51500             millidegrees
                        temp1_label        CPU               optional
                        temp1_fault        0                 optional; 1 = the sensor is broken
    <IIO root>/iio:device0/name            adxl345
                           in_accel_x_raw  -12               value = (raw + offset) * scale
                           in_accel_scale  0.038             of all axes, or in_accel_x_scale of this one

A sensor is called `chip/label` and `chip/attribute`: `cpu_thermal/CPU`, `cpu_thermal/temp1`, `adxl345/in_accel_x`. Numbers such
as hwmon0 are given by the order of discovery and mean nothing: they are no part of a name.

Values are in °C, V, A, W, J, Hz, rpm, % (humidity), and for IIO's other kinds in the kernel's own unit (m/s², rad/s, gauss,
kPa, lux, ohm, ...).
"""

from __future__ import annotations

import errno
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_MAX_BYTES: Final = 128
_GONE: Final = (errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.ENOTDIR)
_HWMON: Final = re.compile(r"((temp|in|curr|power|energy|humidity|fan|freq)\d+)_(?:input|average)\Z")
_HWMON_UNITS: Final = {"temp": 1e-3, "in": 1e-3, "curr": 1e-3, "power": 1e-6, "energy": 1e-6, "humidity": 1e-3}
_IIO: Final = re.compile(r"in_(([a-z]+).*)_(raw|input)\Z")
_IIO_UNITS: Final = {"temp": 1e-3, "voltage": 1e-3, "current": 1e-3, "power": 1e-3, "humidityrelative": 1e-3}


class SensorGone(Exception):
    """Its file is no longer there: unplugged, or its driver was unloaded."""


@dataclass(frozen=True, slots=True)
class SensorFile:
    """Where a value is and how it is read: `(number + offset) * scale`. `names`: without the chip's."""

    chip: str
    names: tuple[str, ...]
    path: Path
    scale: float = 1.0
    offset: float = 0.0
    fault: Path | None = None

    @property
    def addresses(self) -> list[str]:
        return [f"{self.chip}/{name}" for name in self.names]

    def read(self) -> float:
        """The value now; NaN where the sensor has none to give. Raises SensorGone."""
        try:
            if self.fault is not None and _text(self.fault) == "1":
                return math.nan
            value = (float(_text(self.path)) + self.offset) * self.scale
        except OSError as error:
            if error.errno in _GONE:
                raise SensorGone(str(self.path)) from None
            return math.nan  # EIO, ENODATA, EAGAIN, ...: it is there, and did not answer
        except ValueError:
            return math.nan
        return value if math.isfinite(value) else math.nan


def find_sensors(hwmon_root: Path, iio_root: Path) -> list[SensorFile]:
    """All that is there now; none where a root does not exist."""
    found = [sensor for folder in _folders(hwmon_root) for sensor in _hwmon_sensors(folder)]
    return found + [sensor for folder in _folders(iio_root) for sensor in _iio_sensors(folder)]


def _folders(root: Path) -> list[Path]:
    try:
        # Resolved, for hwmon0 may be another chip tomorrow; below /sys/devices a path stays with its device.
        return sorted(path.resolve() for path in root.iterdir() if (path / "name").is_file())
    except OSError:
        return []


def _attributes(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir())
    except OSError:  # it left while we looked
        return []


def _hwmon_sensors(folder: Path) -> Iterator[SensorFile]:
    chip = _text_or(folder / "name", "")
    files = _attributes(folder)
    for file in files:
        match = _HWMON.match(file)
        if match is None or (file.endswith("_average") and f"{match[1]}_input" in files):
            continue
        fault = folder / f"{match[1]}_fault" if f"{match[1]}_fault" in files else None
        names = _names(match[1], _text_or(folder / f"{match[1]}_label", ""))
        yield SensorFile(chip, names, folder / file, _HWMON_UNITS.get(match[2], 1.0), fault=fault)


def _iio_sensors(folder: Path) -> Iterator[SensorFile]:
    chip = _text_or(folder / "name", "")
    files = _attributes(folder)
    for file in files:
        match = _IIO.match(file)
        if match is None or (match[3] == "raw" and f"in_{match[1]}_input" in files):
            continue
        names = _names(f"in_{match[1]}", _text_or(folder / f"in_{match[1]}_label", ""))
        unit = _IIO_UNITS.get(match[2], 1.0)
        if match[3] == "input":
            yield SensorFile(chip, names, folder / file, unit)
            continue
        scale, offset = (
            _shared(folder, match[1], match[2], what, default) for what, default in (("scale", 1.0), ("offset", 0.0))
        )
        yield SensorFile(chip, names, folder / file, unit * scale, offset)


def _shared(folder: Path, channel: str, kind: str, what: str, default: float) -> float:
    """A channel's own scale or offset, else that of its kind: in_voltage3_scale, in_voltage-voltage_scale, in_voltage_scale."""
    for stem in (channel, re.sub(r"\d+", "", channel), kind):
        try:
            return float(_text(folder / f"in_{stem}_{what}"))
        except (OSError, ValueError):
            continue
    return default


def _names(attribute: str, label: str) -> tuple[str, ...]:
    return (attribute, label) if label and label != attribute else (attribute,)


def _text(path: Path) -> str:
    """Raises OSError, and ValueError for more than a value or a name could be."""
    with path.open("rb") as file:
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise ValueError(f"{path}: more than {_MAX_BYTES} bytes")
    return data.decode("utf-8", "replace").strip()


def _text_or(path: Path, default: str) -> str:
    try:
        return _text(path)
    except (OSError, ValueError):
        return default
