"""How long a device lasts alone and what it costs its card: rates in virtual time, the kernel's figures from its own files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.status.flash import FlashMeter
from agent.status.rate import DAY_S, DailyRate
from agent.status.survival import Survey, age_s
from agent.storage.outbox import Outbox
from models.contract.checkin import Unsent
from models.contract.clock import Stamp
from tests.agent.outboxes import open_outbox, shut
from tests.builders import T0_NS, aggregate, alert, stamp

HOUR_S = 3600.0


# --- rates --------------------------------------------------------------------------------------------------------


def test_a_rate_is_not_told_before_five_minutes_have_passed() -> None:
    rate = DailyRate()
    assert rate.per_day is None
    for now_s in (100.0, 399.0):
        rate.note(now_s, now_s)
        assert rate.per_day is None
    rate.note(400.0, 400.0)
    assert rate.per_day == pytest.approx(DAY_S)
    assert rate.span_s == 300.0


def test_after_a_day_it_is_that_of_the_last_day() -> None:
    rate = DailyRate()
    total = 0.0
    for minute in range(10 * 24 * 60):
        total += 1000.0 if minute < 9 * 24 * 60 - 60 else 10.0  # the last day is a quiet one
        rate.note(minute * 60.0, total)
    assert rate.per_day == pytest.approx(10.0 * 24 * 60, rel=0.02)
    assert DAY_S <= rate.span_s <= DAY_S + 900
    assert len(rate._samples) < 100


def test_a_total_that_stands_still_is_a_rate_of_zero() -> None:
    rate = DailyRate()
    rate.note(0.0, 5.0)
    rate.note(HOUR_S, 5.0)
    assert rate.per_day == 0.0


# --- flash --------------------------------------------------------------------------------------------------------


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    """What the kernel says of the disk under `tmp_path`: a partition of mmcblk0."""
    device = tmp_path.stat().st_dev
    disk = tmp_path / "devices" / "mmcblk0"
    (disk / "mmcblk0p2").mkdir(parents=True)
    (disk / "mmcblk0p2" / "partition").write_text("2\n")
    (disk / "mmcblk0p2" / "stat").write_text("1 1 1 1 1 1 7 1 1 1 1\n")
    (disk / "stat").write_text("    9   8  7  6  5  4  2000  2 1 0 0 0 0 0 0\n")
    (tmp_path / "block").mkdir()
    (tmp_path / "block" / f"{os.major(device)}:{os.minor(device)}").symlink_to(disk / "mmcblk0p2")
    (tmp_path / "io").write_text("rchar: 1\nwchar: 2\nread_bytes: 3\nwrite_bytes: 409600\ncancelled_write_bytes: 4096\n")
    return tmp_path


def meter(kernel: Path) -> FlashMeter:
    return FlashMeter(kernel, kernel / "io", kernel / "block")


def test_the_disk_is_asked_not_the_partition(kernel: Path) -> None:
    flash = meter(kernel)
    assert (flash.disk, flash.device_bytes(), flash.process_bytes()) == ("mmcblk0", 2000 * 512, 405_504)


def test_where_the_kernel_does_not_tell_nothing_is_made_up(tmp_path: Path) -> None:
    flash = FlashMeter(tmp_path, tmp_path / "io", tmp_path / "block")
    assert (flash.disk, flash.device_bytes(), flash.process_bytes()) == ("", None, None)


@pytest.mark.parametrize("text", ["", "garbage\n", "write_bytes: many\n"])
def test_a_file_in_another_format_is_no_figure(kernel: Path, text: str) -> None:
    flash = meter(kernel)
    (kernel / "io").write_text(text)
    (kernel / "devices" / "mmcblk0" / "stat").write_text(text)
    assert (flash.device_bytes(), flash.process_bytes()) == (None, None)


def test_what_this_process_writes_is_counted_by_the_real_kernel(tmp_path: Path) -> None:
    flash = FlashMeter(tmp_path)
    before = flash.process_bytes()
    if before is None:
        pytest.skip("this kernel keeps no account of a process's writes")
    with (tmp_path / "file").open("wb") as file:
        file.write(os.urandom(1_000_000))
        file.flush()
        os.fsync(file.fileno())
    written = (flash.process_bytes() or 0) - before
    if written == 0:
        pytest.skip("temporary files are in memory here")
    assert 1_000_000 <= written < 3_000_000


# --- the envelope -------------------------------------------------------------------------------------------------


@pytest.fixture
def outbox(outbox_path: Path) -> Iterator[Outbox]:
    box = open_outbox(outbox_path, 10**7)
    yield box
    shut(box)


def test_at_first_nothing_is_known_but_what_waits(outbox: Outbox, kernel: Path) -> None:
    outbox.append([alert(), aggregate(), aggregate(1)], stamp(0.0))
    survey = Survey(outbox, meter(kernel), kernel, None)
    assert survey.report(stamp(0.0)).oldest is None
    survey.note(0.0)
    said = survey.report(stamp(30.0))
    assert {lane: each.items for lane, each in said.lanes.items()} == {"alerts": 1, "aggregates": 2}
    assert all(each.bytes > 0 for each in said.lanes.values())
    assert said.oldest == Unsent(kind="alert", lane="alerts", age_s=30.0)
    assert (said.days, said.bytes_per_day, said.flash.years, said.flash.agent_bytes_per_day) == (None, None, None, None)


def test_the_oldest_is_the_one_that_has_waited_longest_whatever_its_lane(outbox: Outbox, kernel: Path) -> None:
    outbox.append([aggregate()], stamp(0.0))
    outbox.append([alert()], stamp(50.0))
    survey = Survey(outbox, meter(kernel), kernel, None)
    survey.note(50.0)
    said = survey.report(stamp(60.0))
    assert said.oldest == Unsent(kind="aggregate", lane="aggregates", age_s=60.0)


def test_once_all_is_confirmed_nothing_waits_any_more(outbox: Outbox, kernel: Path) -> None:
    survey = Survey(outbox, meter(kernel), kernel, None)
    outbox.append([aggregate()], stamp(0.0))
    survey.note(0.0)
    outbox.acknowledge(outbox.epoch, {"aggregates": 1})
    said = survey.report(stamp(1.0))
    assert (said.lanes, said.oldest) == ({}, None)


def test_it_lasts_as_long_as_the_free_space_at_the_rate_so_far(outbox: Outbox, kernel: Path) -> None:
    survey = Survey(outbox, meter(kernel), kernel, 30.0)
    survey.note(0.0)
    outbox.append([aggregate(n) for n in range(1000)], stamp())
    stored = outbox.stored_bytes
    (kernel / "io").write_text(f"write_bytes: {4 * 405_504}\ncancelled_write_bytes: 0\n")
    (kernel / "devices" / "mmcblk0" / "stat").write_text("0 0 0 0 0 0 12000 0 0 0 0\n")
    survey.note(HOUR_S)
    said = survey.report(stamp(HOUR_S))
    assert said.bytes_per_day == round(stored * 24)
    assert said.measured_s == HOUR_S
    assert said.days == round((10**7 - outbox.backlog_bytes) / (stored * 24), 1)
    assert said.flash.agent_bytes_per_day == 3 * 405_504 * 24
    assert said.flash.device_bytes_per_day == 10_000 * 512 * 24
    assert said.flash.years == round(30e12 / (10_000 * 512 * 24 * 365.25), 1)
    outbox.max_bytes = stored
    assert survey.report(stamp(HOUR_S)).days == 0.0


def test_what_was_written_is_known_over_restarts_and_a_damaged_file_costs_only_the_figure(outbox: Outbox, kernel: Path) -> None:
    for starts in (1, 2, 3):
        survey = Survey(outbox, meter(kernel), kernel, None)
        survey.keep()
        assert survey.report(stamp()).flash.agent_bytes == starts * 405_504
    (kernel / "flash.json").write_bytes(b"\xff\x00")
    assert Survey(outbox, meter(kernel), kernel, None).report(stamp()).flash.agent_bytes == 405_504


@pytest.mark.parametrize(
    ("then", "expected_s"),
    [
        (Stamp(T0_NS + 10**18, 10**9, "boot", synced=False), 4.0),  # the wall clock has jumped meanwhile: same boot
        (Stamp(T0_NS - 60 * 10**9, 10**15, "another", synced=True), 65.0),
        (Stamp(T0_NS + 60 * 10**9, 0, "another", synced=True), 0.0),
    ],
)
def test_an_age_goes_by_the_clock_that_does_not_jump_where_it_can(then: Stamp, expected_s: float) -> None:
    assert age_s(then, stamp(5.0)) == expected_s
