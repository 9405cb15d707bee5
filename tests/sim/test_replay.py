"""Recorded data, played through the real command into a real serial port and a real broker."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import paho.mqtt.client as mqtt
import pytest
import serial
from paho.mqtt.enums import CallbackAPIVersion

from firmware_sim.links.broker import start_broker
from models.contract.frames import DELIMITER, decode_frame
from models.contract.table import read_table
from tests.recorded import recorded
from tests.sim.reading import read_to_hang_up
from tests.waiting import wait_until


@contextmanager
def replaying(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tocsin", "sim", "replay", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)
        assert process.stdout
        process.stdout.close()


def open_port(path: Path) -> serial.Serial:
    wait_until(path.exists)
    return serial.Serial(str(path), timeout=0.05)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "pump.csv"
    rows = [f"2024-05-01 12:00:{s:02d};{50 + s / 4:.2f};{'' if s == 3 else 3}".replace(".", ",") for s in range(60)]
    path.write_text("Zeit;Durchfluss [m3/h];Druck\n" + "\n".join(rows) + "\n")
    return path


def test_every_row_arrives_at_the_serial_port_and_the_port_is_gone_afterwards(table: Path, tmp_path: Path) -> None:
    link = tmp_path / "port"
    with replaying(table, "--link", link, "--speed", "max", "--asset", "old-pump") as process:
        with open_port(link) as port:
            lines = [msgspec.json.decode(line) for line in read_to_hang_up(port).splitlines()]
        assert process.wait(60) == 0
        assert process.stdout
        assert "played 60 rows in 60 messages" in process.stdout.read()
    assert len(lines) == 60
    assert lines[3] == {"t": 1714564803.0, "asset": "old-pump", "Durchfluss_m3_h": 50.75}
    assert lines[4]["Druck"] == 3
    assert not link.is_symlink()


def test_speed_paces_the_rows_and_retime_moves_them_to_now(table: Path, tmp_path: Path) -> None:
    with replaying(table, "--link", tmp_path / "port", "--speed", "40", "--retime", "now", "--format", "csv") as process:
        with open_port(tmp_path / "port") as port:
            lines = read_to_hang_up(port).splitlines()
        assert process.stdout
        took_s = float(process.stdout.read().split(" in ")[-1].split(" s")[0])
    times = [float(line.split(b",")[0]) for line in lines]
    assert 59 / 40 <= took_s < 45, "a minute in a second and a half, and not as slowly as it was"
    assert abs(times[0] - (tmp_path / "pump.csv").stat().st_mtime) < 60
    assert times[-1] - times[0] == pytest.approx(59, abs=0.001)


def test_recorded_pump_passes_as_binary_frames_without_losing_a_row(tmp_path: Path) -> None:
    path = recorded("skab/valve1/0.csv")
    expected = read_table(path, ignore=["anomaly", "changepoint"])
    arguments = ("--speed", "max", "--format", "cobs", "--ignore", "anomaly,changepoint")
    with replaying(path, "--link", tmp_path / "port", *arguments), open_port(tmp_path / "port") as port:
        stream = read_to_hang_up(port)
    frames = [decode_frame(stuffed) for stuffed in stream.split(DELIMITER) if stuffed]
    values = np.concatenate([frame.values for frame in frames])
    times = np.concatenate([f.t0_us + f.period_us * np.arange(len(f.values)) for f in frames])
    assert np.array_equal(values, expected.values.astype(np.float32), equal_nan=True)
    assert np.array_equal(times, expected.time_ns // 1000)


def test_rows_reach_a_broker_on_the_topics_of_the_template(table: Path) -> None:
    got: list[mqtt.MQTTMessage] = []
    ready = threading.Event()
    with start_broker() as broker:
        client = mqtt.Client(CallbackAPIVersion.VERSION2)
        client.on_message = lambda _c, _d, message: got.append(message)
        client.on_connect = lambda c, *_: c.subscribe("site/#", qos=1)
        client.on_subscribe = lambda *_: ready.set()
        client.connect(broker.host, broker.port)
        client.loop_start()
        assert ready.wait(60)
        address = f"{broker.host}:{broker.port}"
        with replaying(table, "--mqtt", address, "--topic", "site/{asset}/{channel}", "--speed", "max", "--channels", "Druck"):
            wait_until(lambda: len(got) >= 59)
        client.disconnect()
        client.loop_stop()
    assert {message.topic for message in got} == {"site/replay/Druck"}
    assert msgspec.json.decode(got[0].payload) == {"t": 1714564800.0, "value": 3}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--channels", "Druk"], "did you mean 'Druck'?"),
        (["--format", "senml"], "--format: one of jsonl, csv, cobs, not 'senml'"),
        (["--asset", "my pump"], "--asset"),
        (["--topic", "a/{channel}"], "--topic: --mqtt HOST:PORT"),
        (["--mqtt", "127.0.0.1:1883", "--topic", "a/b", "--format", "json"], "a template with {channel}"),
        (["--time-column", "Druck", "--ignore", "Zeit"], "line 5, column 'Druck': Unix seconds, not ''"),
    ],
)
def test_bad_arguments_end_with_one_line_that_says_what_was_expected(table: Path, arguments: list[str], expected: str) -> None:
    with replaying(table, *arguments) as process:
        assert process.wait(60) == 78
        assert process.stdout
        said = process.stdout.read()
    assert expected in said
    assert len(said.strip().splitlines()) == 1


def test_interrupted_replay_takes_its_port_with_it(table: Path, tmp_path: Path) -> None:
    link = tmp_path / "port"
    with replaying(table, "--link", link) as process:
        wait_until(link.is_symlink)
        process.terminate()
        wait_until(lambda: process.poll() is not None)
    assert not link.is_symlink()
