"""A tree of sensor files as the Linux kernel makes them: hwmon chips and IIO devices below a folder.

    tree = SensorTree(folder)
    chip = tree.add_hwmon("cpu_thermal", {"temp1_input": "51500", "temp1_label": "CPU"})
    adc = tree.add_iio("adxl345", {"in_accel_x_raw": "-12", "in_accel_scale": "0.5"})
    tree.write(chip, "temp1_input", "52000")
    tree.remove(chip)            # the sensor is pulled, or its driver unloaded

As in the kernel the folders of `hwmon_root` and `iio_root` are symbolic links to the devices, numbered as they come.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path


class SensorTree:
    """`hwmon_root`, `iio_root`: what an agent is told to look into."""

    def __init__(self, folder: Path) -> None:
        self.hwmon_root = folder / "class" / "hwmon"
        self.iio_root = folder / "bus" / "iio" / "devices"
        self._devices = folder / "devices"
        self._n_made = 0
        for path in (self.hwmon_root, self.iio_root, self._devices):
            path.mkdir(parents=True, exist_ok=True)

    def add_hwmon(self, chip: str, files: Mapping[str, str]) -> Path:
        """A chip with these attribute files beside its `name`; its link."""
        return self._add(self.hwmon_root, "hwmon", chip, files)

    def add_iio(self, chip: str, files: Mapping[str, str]) -> Path:
        return self._add(self.iio_root, "iio:device", chip, files)

    def write(self, link: Path, file: str, text: str) -> None:
        (link / file).write_text(f"{text}\n")

    def remove(self, link: Path) -> None:
        """The device goes, with all its files."""
        device = link.resolve()
        link.unlink()
        shutil.rmtree(device)

    def _add(self, root: Path, prefix: str, chip: str, files: Mapping[str, str]) -> Path:
        number = next(i for i in range(1000) if not (root / f"{prefix}{i}").is_symlink())
        self._n_made += 1
        device = self._devices / f"{chip}.{self._n_made}" / f"{prefix}{number}"
        device.mkdir(parents=True)
        for file, text in {"name": chip, **files}.items():
            (device / file).write_text(f"{text}\n")
        link = root / f"{prefix}{number}"
        link.symlink_to(device)
        return link
