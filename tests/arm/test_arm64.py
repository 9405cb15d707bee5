"""The agent on a 64-bit Raspberry Pi's processor: installed from its wheel, playing a golden case as this machine does.

Floats differ: NEON and AVX add and fuse in another order, and a feature on the border between two int8 codes then takes the
other one. Scores by the model may differ by what its bundle tolerates; all else is held to a hundred-thousandth.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from models.bundle.archive import read_bundle
from models.contract.items import Alert, SensorFault
from tests.arm.board import PROCESSORS, Board, Processor
from tests.arm.conftest import Bench
from tests.arm.golden import Played, play
from tests.arm.installed import SYSTEMS, System
from tests.debian.locked import locked_install

pytestmark = [pytest.mark.arm, pytest.mark.slow, pytest.mark.timeout(3000)]

_TOCSIN = "/opt/tocsin/bin/tocsin"
_FLOATS = 1e-5  # relative, of features and of the baseline's scores
_SELF_TEST = """
import json, platform
from pathlib import Path

from models.bundle.archive import read_bundle
from models.bundle.selftest import load_detector, self_test

bundle = read_bundle(Path("/srv/pump.bundle").read_bytes())
tested = self_test(bundle, load_detector(bundle, bundle.manifest.spec_hash))
print(json.dumps({"runtime": tested.runtime, "worst": tested.worst, "machine": platform.machine()}))
"""


@pytest.fixture(params=SYSTEMS, ids=lambda system: system.suite)
def system(request: pytest.FixtureRequest) -> System:
    found: System = request.param
    return found


@pytest.fixture(params=PROCESSORS, ids=lambda processor: processor.name)
def processor(request: pytest.FixtureRequest) -> Processor:
    found: Processor = request.param
    return found


@pytest.fixture
def board(bench: Bench, system: System, processor: Processor) -> Board:
    return Board(bench.roots[system.suite], processor)


@pytest.fixture
def played(bench: Bench, board: Board) -> Played:
    """The golden case, played to the agent there."""
    name = f"srv/{board.processor.name}"
    return play(bench.case, board.root / name, lambda *it: board.command(_TOCSIN, *it), Path("/") / name)


def test_every_dependency_has_a_wheel_but_one_of_pure_python(system: System, note: Callable[[str, str], None]) -> None:
    locked = locked_install(system.target)
    assert locked.without_wheel == ["cobs"]  # its own installation does without its C code where there is no compiler
    assert locked.needs_glibc <= 34, "docs/raspberry-pi.md says so"
    names = ("ai-edge-litert", "numpy", "cryptography")
    note(f"{system.suite}, Python {system.python}", ", ".join(f"{name} {locked.versions[name]}" for name in names))


def test_the_bundle_passes_its_self_test_on_the_kernels_of_that_processor(
    bench: Bench, board: Board, system: System, note: Callable[[str, str], None]
) -> None:
    shutil.copy2(bench.case.folder / "pump.bundle", board.root / "srv")
    told = board.run("/opt/tocsin/bin/python", "-c", _SELF_TEST)
    tested = json.loads(told.stdout)
    assert (tested["runtime"], tested["machine"]) == ("litert", "aarch64")
    assert "XNNPACK delegate" in told.stderr, "it fell back to kernels that are not those of a Raspberry Pi"
    note(f"{system.suite}, {board.processor.name}: self-test, worst golden score", f"{tested['worst']:.2e}")


def test_a_recording_through_a_serial_line_gives_the_same_alerts_and_scores(
    bench: Bench, played: Played, system: System, processor: Processor, note: Callable[[str, str], None]
) -> None:
    here = bench.here
    assert [alert.closed_ns is None for alert in here.alerts] == [True, False], "a golden case has an alert"
    assert [_told(alert) for alert in played.alerts] == [_told(alert) for alert in here.alerts]
    assert [_where(fault) for fault in played.faults] == [_where(fault) for fault in here.faults]
    assert {fault.fault for fault in here.faults} == {"stuck"}
    assert [_window(played, at) for at in range(len(played.windows))] == [_window(here, at) for at in range(len(here.windows))]
    assert played.status["frame_errors"] == 0
    assert {name: source["link"] for name, source in played.status["sources"].items()} == {"line": "up", "host": "up"}
    tolerance = read_bundle((bench.case.folder / "pump.bundle").read_bytes()).manifest.score_tolerance
    off = {"features": _features_off(played, here), "baseline": _off(played, here, 1), "model": _off(played, here, 0)}
    note(f"{system.suite}, {processor.name}: scores differ from x86-64 by", ", ".join(f"{k} {v:.1e}" for k, v in off.items()))
    assert off["features"] <= _FLOATS
    assert off["baseline"] <= _FLOATS
    assert off["model"] <= tolerance


def _told(alert: Alert) -> tuple[object, ...]:
    channels = [channel for channel, _ in alert.top]
    return alert.asset, alert.detector, alert.severity, alert.opened_ns, alert.closed_ns, channels


def _where(fault: SensorFault) -> tuple[object, ...]:
    return fault.asset, fault.channel, fault.fault, fault.opened_ns, fault.closed_ns


def _window(played: Played, at: int) -> tuple[object, ...]:
    """Everything of a window that is no float."""
    w = played.windows[at]
    detectors = [score.detector for score in w.scores]
    return w.start_ns, w.end_ns, w.n_readings, w.n_late, w.faulty, w.commissioning, w.alarm, detectors


def _off(played: Played, here: Played, at: int) -> float:
    """The largest difference of a score, relative to the largest score here: as a bundle's tolerance is meant."""
    return float(np.abs(played.scores(at) - here.scores(at)).max() / here.scores(at).max())


def _features_off(played: Played, here: Played) -> float:
    """The largest difference of a feature, relative to the largest of its column here; NaN only where there is one here."""
    theirs, ours = played.features(), here.features()
    assert (np.isnan(theirs) == np.isnan(ours)).all()
    return float(np.nanmax(np.abs(theirs - ours) / np.nanmax(np.abs(ours), axis=0)))
