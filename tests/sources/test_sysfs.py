"""Sensors of the Linux kernel, in a tree of files like the kernel's."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.backoff import Backoff
from agent.sources.config import SysfsConfig, SysfsSensor
from agent.sources.sensor_files import SensorGone, find_sensors
from agent.sources.sysfs import SysfsSource, choose
from firmware_sim.links.sysfs import SensorTree
from tests.sources.conftest import NOW_NS, Recorder
from tests.waiting import wait_until

KNOWN = {"board": ["cpu", "case", "x", "rail"]}
CPU = {"temp1_input": "51500", "temp1_label": "CPU", "temp2_input": "-4250"}
Start = Callable[..., SysfsSource]


@pytest.fixture
def tree(tmp_path: Path) -> SensorTree:
    return SensorTree(tmp_path)


def values(tree: SensorTree) -> dict[str, float]:
    """By every name that a sensor has."""
    found = find_sensors(tree.hwmon_root, tree.iio_root)
    return {address: sensor.read() for sensor in found for address in sensor.addresses}


def test_hwmon_values_are_in_everyday_units(tree: SensorTree) -> None:
    tree.add_hwmon("cpu_thermal", CPU)
    tree.add_hwmon(
        "ina226", {"in1_input": "3312", "curr1_input": "120", "power1_input": "397000", "power2_average": "5", "in1_max": "9"}
    )
    tree.add_hwmon("nct6775", {"fan1_input": "1200", "humidity1_input": "45500", "pwm1": "128"})
    assert values(tree) == {
        "cpu_thermal/temp1": 51.5,
        "cpu_thermal/CPU": 51.5,
        "cpu_thermal/temp2": -4.25,
        "ina226/in1": pytest.approx(3.312),
        "ina226/curr1": 0.12,
        "ina226/power1": pytest.approx(0.397),
        "ina226/power2": pytest.approx(5e-6),
        "nct6775/fan1": 1200.0,
        "nct6775/humidity1": 45.5,
    }


def test_iio_values_are_raw_plus_offset_times_scale(tree: SensorTree) -> None:
    tree.add_iio(
        "adxl345", {"in_accel_x_raw": "-12", "in_accel_y_raw": "8", "in_accel_scale": "0.5", "in_accel_y_scale": "0.25"}
    )
    tree.add_iio("bme280", {"in_temp_input": "23450", "in_pressure_input": "101.3", "in_humidityrelative_input": "41000"})
    tree.add_iio("hx711", {"in_voltage0_raw": "100", "in_voltage_scale": "2.5", "in_voltage_offset": "-20"})
    tree.add_iio("ads1115", {"in_voltage0-voltage1_raw": "10", "in_voltage-voltage_scale": "100", "in_voltage3_label": "rail"})
    tree.add_iio("mcp9808", {"in_temp_raw": "375", "in_temp_scale": "62.5", "in_temp_label": "case"})
    assert values(tree) == {
        "adxl345/in_accel_x": -6.0,
        "adxl345/in_accel_y": 2.0,
        "bme280/in_temp": 23.45,
        "bme280/in_pressure": 101.3,
        "bme280/in_humidityrelative": 41.0,
        "hx711/in_voltage0": pytest.approx(0.2),
        "ads1115/in_voltage0-voltage1": 1.0,
        "mcp9808/in_temp": 23.4375,
        "mcp9808/case": 23.4375,
    }


@pytest.mark.parametrize("text", ["", "none", "nan", "9" * 200 + "e999", "\0\xff"])
def test_a_sensor_without_a_number_is_absent(tree: SensorTree, text: str) -> None:
    chip = tree.add_hwmon("cpu_thermal", CPU)
    tree.write(chip, "temp1_input", text)
    assert math.isnan(values(tree)["cpu_thermal/temp1"])


def test_a_sensor_that_calls_itself_broken_is_absent(tree: SensorTree) -> None:
    chip = tree.add_hwmon("cpu_thermal", {**CPU, "temp1_fault": "0"})
    assert values(tree)["cpu_thermal/temp1"] == 51.5
    tree.write(chip, "temp1_fault", "1")
    assert math.isnan(values(tree)["cpu_thermal/temp1"])


def test_a_sensor_that_is_unplugged_is_gone(tree: SensorTree) -> None:
    chip = tree.add_hwmon("cpu_thermal", CPU)
    (sensor, _) = find_sensors(tree.hwmon_root, tree.iio_root)
    tree.remove(chip)
    tree.add_hwmon("other", {"temp1_input": "99000"})  # under the same number
    with pytest.raises(SensorGone):
        sensor.read()


def test_no_tree_means_no_sensors(tmp_path: Path) -> None:
    assert find_sensors(tmp_path / "none", tmp_path / "nothing") == []


def test_a_pattern_has_to_mean_one_sensor(tree: SensorTree) -> None:
    tree.add_hwmon("cpu_thermal", CPU)
    wanted = [
        SysfsSensor(channel="cpu", sensor="cpu*/CPU"),
        SysfsSensor(channel="case", sensor="cpu*/temp?"),
        SysfsSensor(channel="rail", sensor="ina*/in1"),
    ]
    chosen, trouble = choose(wanted, find_sensors(tree.hwmon_root, tree.iio_root))
    assert list(chosen) == ["cpu"]
    assert trouble == "case: 'cpu*/temp?' matches 2 sensors: cpu_thermal/CPU, cpu_thermal/temp2; rail: no sensor 'ina*/in1'"


@pytest.fixture
def start(tree: SensorTree) -> Iterator[Start]:
    sources: list[SysfsSource] = []

    def start(recorder: Recorder, **sensors: str) -> SysfsSource:
        config = SysfsConfig(
            name="board",
            asset="board",
            interval_s=0.02,
            hwmon_root=str(tree.hwmon_root),
            iio_root=str(tree.iio_root),
            sensors=tuple(SysfsSensor(channel=channel, sensor=sensor) for channel, sensor in sensors.items()),
        )
        source = SysfsSource(config, lambda: NOW_NS, KNOWN, Backoff(0.02, 0.1), rescan_s=0.1)
        sources.append(source)
        source.start(recorder)
        return source

    yield start
    for source in sources:
        source.stop()


def test_sensors_become_readings(tree: SensorTree, recorder: Recorder, start: Start) -> None:
    chip = tree.add_hwmon("cpu_thermal", CPU)
    tree.add_iio("adxl345", {"in_accel_x_raw": "-12", "in_accel_scale": "0.5"})
    source = start(recorder, cpu="cpu_thermal/CPU", x="adxl345/in_accel_x", unwanted="cpu_thermal/temp2")
    wait_until(lambda: len(recorder.bursts) >= 2)
    assert recorder.rows[:2] == [("board", "cpu", NOW_NS, 51.5), ("board", "x", NOW_NS, -6.0)]
    tree.write(chip, "temp1_input", "60000")
    wait_until(lambda: 60.0 in recorder.values)
    assert source.state.counters["unknown"] >= 2
    assert source.state.detail == "sensors: cpu, x, unwanted"


def test_a_sensor_that_vanishes_is_said_and_found_again_under_another_number(
    tree: SensorTree, recorder: Recorder, start: Start
) -> None:
    chip = tree.add_hwmon("cpu_thermal", CPU)
    tree.add_iio("adxl345", {"in_accel_x_raw": "-12", "in_accel_scale": "0.5"})
    source = start(recorder, cpu="cpu_thermal/CPU", x="adxl345/in_accel_x")
    wait_until(lambda: recorder.bursts)
    tree.remove(chip)
    wait_until(lambda: "cpu: no sensor 'cpu_thermal/CPU'" in source.state.detail)
    assert source.state.link == "up"
    assert source.state.counters["missing"] >= 1
    tree.add_hwmon("other", {"temp1_input": "1000"})
    tree.add_hwmon("cpu_thermal", {**CPU, "temp1_input": "70000"})
    wait_until(lambda: 70.0 in recorder.values)
    assert 1.0 not in recorder.values
    wait_until(lambda: "no sensor" not in source.state.detail)
    assert source.state.counters["reconnects"] == 0


def test_a_link_without_any_sensor_is_down(tree: SensorTree, recorder: Recorder, start: Start) -> None:
    source = start(recorder, cpu="cpu_thermal/CPU")
    wait_until(lambda: source.state.detail == "cpu: no sensor 'cpu_thermal/CPU'")
    assert source.state.link == "connecting"
    chip = tree.add_hwmon("cpu_thermal", CPU)
    wait_until(lambda: source.state.link == "up")
    tree.remove(chip)
    wait_until(lambda: source.state.link == "down")
    assert "gone" in source.state.detail or "no sensor" in source.state.detail
