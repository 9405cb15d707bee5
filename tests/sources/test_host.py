"""This machine's own sensors."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.backoff import Backoff
from agent.sources import host
from agent.sources.config import HostConfig
from agent.sources.host import HostSource, Sample, channel_values, take_sample
from models.contract.config import load_profile
from tests.sources.conftest import NOW_NS, Recorder
from tests.waiting import wait_until

BEFORE = Sample(
    taken_s=100.0,
    cpu_busy_s=50.0,
    cpu_total_s=200.0,
    memory_percent=40.0,
    disk=(1000, 5000),
    net={"eth0": (100, 200), "usb0": (900, 900)},
    temperature=51.5,
)
AFTER = Sample(
    taken_s=102.0,
    cpu_busy_s=51.0,
    cpu_total_s=204.0,
    memory_percent=41.0,
    disk=(3000, 5000),
    net={"eth0": (300, 1200), "wg0": (10**9, 10**9)},
    temperature=52.0,
)
CHANNELS = load_profile("host").channel_names


def test_loads_and_rates_are_means_since_the_previous_sample() -> None:
    assert channel_values(BEFORE, AFTER) == {
        "memory_used": 41.0,
        "temperature": 52.0,
        "cpu_load": 25.0,
        "disk_write": 1000.0,
        "disk_read": 0.0,
        "net_sent": 100.0,
        "net_received": 500.0,  # of the interface that was there both times
    }


def test_the_first_sample_gives_what_needs_no_other() -> None:
    assert channel_values(None, AFTER) == {"memory_used": 41.0, "temperature": 52.0}


def test_a_counter_that_went_back_gives_no_reading() -> None:
    values = channel_values(BEFORE, replace(AFTER, disk=(10, 6000), net={"eth0": (0, 1200)}, cpu_total_s=10.0))
    assert set(values) == {"memory_used", "temperature", "disk_read", "net_received"}


def test_sensors_that_this_machine_does_not_have_give_no_reading() -> None:
    bare = replace(AFTER, temperature=None, disk=None, net={})
    assert set(channel_values(replace(BEFORE, disk=None), bare)) == {"memory_used", "cpu_load"}


def test_an_idle_processor_whose_io_wait_ran_backwards_is_not_below_zero() -> None:
    assert channel_values(BEFORE, replace(AFTER, cpu_busy_s=49.99))["cpu_load"] == 0.0


def test_two_samples_of_no_time_between_them_give_no_rates() -> None:
    assert set(channel_values(BEFORE, replace(AFTER, taken_s=100.0))) == {"memory_used", "temperature"}


def test_this_machine_gives_values_within_the_profiles_ranges(recorder: Recorder) -> None:
    source = HostSource(HostConfig(interval_s=0.1), lambda: NOW_NS, {"host": CHANNELS})
    source.start(recorder)
    wait_until(lambda: len(recorder.bursts) >= 4)
    source.stop()
    by_channel = {channel: value for _, channel, _, value in recorder.rows}
    assert {"cpu_load", "memory_used"} <= set(by_channel) <= set(CHANNELS)
    for channel in load_profile("host").channels:
        if channel.name in by_channel:
            assert (channel.min if channel.min is not None else -1e99) <= by_channel[channel.name] <= (channel.max or 1e99)
    assert source.state.counters["readings"] == len(recorder.rows)
    assert source.state.counters["unknown"] == 0


def test_channels_that_are_not_known_are_counted_and_left_out(recorder: Recorder) -> None:
    source = HostSource(HostConfig(interval_s=0.1), lambda: NOW_NS, {"host": ["memory_used"]})
    source.start(recorder)
    wait_until(lambda: len(recorder.bursts) >= 2)
    source.stop()
    assert {channel for _, channel, _, _ in recorder.rows} == {"memory_used"}
    assert source.state.counters["unknown"] > 0


def test_counters_that_cannot_be_read_are_a_link_that_is_down_and_tried_again(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    working = [True]

    def sample() -> Sample:
        if not working[0]:
            raise PermissionError(13, "Permission denied", "/proc/stat")
        return take_sample()

    monkeypatch.setattr(host, "take_sample", sample)
    source = HostSource(HostConfig(interval_s=0.1), lambda: NOW_NS, {"host": CHANNELS}, Backoff(0.01, 0.05))
    source.start(recorder)
    wait_until(lambda: source.state.link == "up")
    working[0] = False
    wait_until(lambda: source.state.link == "down")
    assert "/proc/stat" in source.state.detail
    working[0] = True
    wait_until(lambda: source.state.link == "up")
    source.stop()
