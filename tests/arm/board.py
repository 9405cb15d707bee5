"""A Raspberry Pi's processor and system, as far as qemu-user emulates them: its instructions, not its speed or its hardware.

Programs run in a Debian root for arm64, each in a mount namespace of its own, so that nothing stays mounted. They see this
machine's /dev, with its pseudo-terminals, its network, and a /proc/cpuinfo and /sys/devices/system/cpu as that Raspberry Pi
has them: LiteRT chooses its kernels by these. Without them it falls back to others, and what was checked would not be what
runs there.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.debian.root import Unavailable

_BINFMT = Path("/proc/sys/fs/binfmt_misc")
_ENTER = (
    'mount --rbind /dev "$1/dev"; mount -t proc proc "$1/proc"; mount --bind "$2" "$1/proc/cpuinfo"; '
    'root=$1; shift 2; exec chroot "$root" "$@"'
)
_ARMV8_0 = "fp asimd evtstrm crc32 cpuid"
_ARMV8_2 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"


@dataclass(frozen=True)
class Processor:
    """`name` as qemu knows it; `part`, `features`: as the kernel tells them in /proc/cpuinfo."""

    name: str
    boards: str
    part: int
    features: str

    @property
    def cpuinfo(self) -> str:
        lines = (
            f"Features\t: {self.features}",
            "CPU implementer\t: 0x41",
            "CPU architecture: 8",
            "CPU variant\t: 0x0",
            f"CPU part\t: {self.part:#x}",
            "CPU revision\t: 4",
        )
        return "".join("\n".join((f"processor\t: {core}", *lines, "", "")) for core in range(4))


PROCESSORS = (
    Processor("cortex-a53", "Raspberry Pi 3, Zero 2 W", 0xD03, _ARMV8_0),
    Processor("cortex-a72", "Raspberry Pi 4, 400", 0xD08, _ARMV8_0),
    Processor("cortex-a76", "Raspberry Pi 5, 500", 0xD0B, _ARMV8_2),
)


def register_emulator() -> None:
    """Have the kernel run foreign programs by qemu, as its package does when it is installed, until the next boot.

    Raises Unavailable where the kernel or its owner does not allow it.
    """
    try:
        if not (_BINFMT / "register").exists():
            subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", str(_BINFMT)], check=True, capture_output=True)
        if any(_BINFMT.glob("qemu-aarch64*")):
            return
        entry = next(Path("/usr/lib/binfmt.d").glob("qemu-aarch64*.conf"))
        (_BINFMT / "register").write_text(entry.read_text())
    except (OSError, subprocess.CalledProcessError, StopIteration) as error:
        raise Unavailable(f"programs for arm64 cannot be run here: {error!r}; apt-get install qemu-user-static") from None


class Board:
    """A root folder, which is changed by what runs in it, on one processor."""

    def __init__(self, root: Path, processor: Processor) -> None:
        self.root = root
        self.processor = processor
        self._cpuinfo = root.parent / f"cpuinfo-{processor.name}"
        self._cpuinfo.write_text(processor.cpuinfo)
        cores = root / "sys/devices/system/cpu"
        cores.mkdir(parents=True, exist_ok=True)
        for name in ("possible", "present"):
            (cores / name).write_text("0-3\n")

    def command(self, *command: str) -> list[str]:
        """What runs `command` there; its process is the one that is started, so signals reach it."""
        enter = ["unshare", "--mount", "--propagation=private", "sh", "-euc", _ENTER, "sh", str(self.root), str(self._cpuinfo)]
        clean = ["env", "--ignore-environment", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", f"QEMU_CPU={self.processor.name}"]
        return [*clean, *enter, *command]

    def run(self, *command: str, timeout_s: float = 600.0) -> subprocess.CompletedProcess[str]:
        """Run `command` as root there, to its end."""
        done = subprocess.run(self.command(*command), capture_output=True, text=True, check=False, timeout=timeout_s)
        assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done
