"""The serial source on a real pseudo-terminal."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from agent.backoff import Backoff
from agent.sources.config import SerialConfig
from agent.sources.serial_port import SerialSource
from models.contract.frames import Frame, encode_frame
from tests.sources.conftest import KNOWN, NOW_NS, Port, Recorder
from tests.waiting import wait_until

Start = Callable[..., SerialSource]


@pytest.fixture
def start(port: Port, recorder: Recorder) -> Iterator[Start]:
    sources = []

    def start(**changes: object) -> SerialSource:
        config = SerialConfig(**{"name": "line", "port": str(port.path), "asset": "pump-1", **changes})
        source = SerialSource(config, lambda: NOW_NS, KNOWN, Backoff(0.02, 0.1))
        sources.append(source)
        source.start(recorder)
        return source

    yield start
    for source in sources:
        source.stop()


def is_up(source: SerialSource) -> bool:
    return source.state.link == "up"


def test_json_lines_come_as_readings_and_are_counted(port: Port, recorder: Recorder, start: Start) -> None:
    source = start()
    wait_until(lambda: is_up(source))
    data = b'{"t": 1700000000.5, "flow": 1.5, "pressure": null, "mode": 3}\nboot noise\n'
    port.write(data)
    wait_until(lambda: recorder.frame_errors == 1)
    assert recorder.rows[0] == ("pump-1", "flow", 1_700_000_000_500_000_000, 1.5)
    assert recorder.bursts[-1].last_error.startswith("not JSON")
    assert source.state.counters == {
        "readings": 2,
        "bytes": len(data),
        "frame_errors": 1,
        "unknown": 1,
        "reconnects": 0,
        "lost_frames": 0,
    }
    assert sum(burst.n_bytes for burst in recorder.bursts) == len(data)


def test_csv_lines_come_as_readings_after_the_first_line_break(port: Port, recorder: Recorder, start: Start) -> None:
    source = start(format="csv", columns=("flow", "pressure"))
    wait_until(lambda: is_up(source))
    port.write(b"5,2\n1,2\n3,4\n")
    wait_until(lambda: len(recorder.values) == 4)
    assert recorder.values == [1, 2, 3, 4]
    assert {at for *_, at, _ in recorder.rows} == {NOW_NS}


def test_cobs_frames_come_as_blocks_and_missing_ones_are_counted(port: Port, recorder: Recorder, start: Start) -> None:
    source = start(format="cobs", columns=("flow", "pressure"))
    wait_until(lambda: is_up(source))
    values = np.arange(8, dtype=np.float32).reshape(4, 2)
    for seq in (7, 8, 11):
        port.write(encode_frame(Frame(seq, 1_700_000_000_000_000, 1000, values)))
    wait_until(lambda: len(recorder.values) == 24)
    assert source.state.counters["lost_frames"] == 2
    assert source.state.counters["frame_errors"] == 0


def test_bytes_are_read_in_blocks_and_not_one_by_one(port: Port, recorder: Recorder, start: Start) -> None:
    source = start()
    wait_until(lambda: is_up(source))
    line = b'{"t": 1700000000.5, "flow": 1.5}\n'
    for _ in range(50):
        port.write(line * 50)
    wait_until(lambda: len(recorder.values) == 2500)
    assert len(recorder.bursts) < 250


def test_a_port_that_is_not_there_yet_is_tried_until_it_is(port: Port, recorder: Recorder, start: Start) -> None:
    port.unplug()
    source = start()
    wait_until(lambda: "No such file" in source.state.detail)
    assert source.state.link == "connecting"
    port.plug_in()
    wait_until(lambda: is_up(source))
    port.write(b'{"flow": 1}\n')
    wait_until(lambda: recorder.values == [1])
    assert source.state.counters["reconnects"] == 0


def test_a_port_that_vanishes_and_returns_is_read_again(port: Port, recorder: Recorder, start: Start) -> None:
    source = start()
    for round_ in range(3):
        wait_until(lambda: is_up(source))
        port.write(b'{"flow": %d}\n{"flow": 9' % round_)
        wait_until(lambda seen=round_ + 1: len(recorder.values) == seen)
        port.unplug()
        wait_until(lambda: source.state.link == "down")
        assert str(port.path) in source.state.detail
        port.plug_in()
    wait_until(lambda: is_up(source))
    assert source.state.counters["reconnects"] == 3
    assert recorder.values == [0, 1, 2]  # a line torn by the loss is not glued to what comes after it
    assert recorder.frame_errors == 0


def test_a_stable_link_is_followed_to_the_port_that_it_leads_to_now(port: Port, recorder: Recorder, start: Start) -> None:
    """As udev keeps /dev/serial/by-id: the adapter comes back as another ttyUSB, and something else may have the old one."""
    source = start()
    wait_until(lambda: is_up(source))
    port.write(b'{"flow": 1}\n')
    wait_until(lambda: recorder.values == [1])
    before = port.path.readlink()
    port.unplug()
    wait_until(lambda: source.state.link == "down")
    others = [os.openpty()]
    while not before.exists():  # until one of them has the number that has become free, or somebody else has
        others.append(os.openpty())
    port.plug_in()
    assert port.path.readlink() != before
    wait_until(lambda: is_up(source))
    port.write(b'{"flow": 2}\n')
    wait_until(lambda: recorder.values == [1, 2])
    assert source.state.counters["reconnects"] == 1
    for descriptor in (end for pair in others for end in pair):
        os.close(descriptor)


def test_a_pattern_finds_an_adapter_that_came_back_under_another_name(recorder: Recorder, start: Start, tmp_path: Path) -> None:
    first = Port(tmp_path / "ttyUSB0")
    source = start(port=str(tmp_path / "ttyUSB*"))
    wait_until(lambda: is_up(source))
    assert source.state.detail == f"{first.path} open"
    first.write(b'{"flow": 1}\n')
    wait_until(lambda: recorder.values == [1])
    first.unplug()
    wait_until(lambda: "ttyUSB*: one port; there is none" in source.state.detail)
    second = Port(tmp_path / "ttyUSB1")
    wait_until(lambda: is_up(source))
    assert source.state.detail == f"{second.path} open"
    second.write(b'{"flow": 2}\n')
    wait_until(lambda: recorder.values == [1, 2])
    second.unplug()


def test_of_several_ports_that_match_none_is_opened(start: Start, tmp_path: Path) -> None:
    """To read another machine's sensors in its place would be worse than to read nothing."""
    ports = [Port(tmp_path / f"ttyUSB{n}") for n in range(2)]
    source = start(port=str(tmp_path / "ttyUSB*"))
    wait_until(lambda: "there are 2: " in source.state.detail)
    assert str(ports[1].path) in source.state.detail
    ports[0].unplug()
    wait_until(lambda: is_up(source))
    ports[1].unplug()


def test_a_port_held_by_another_reader_is_said_to_be(port: Port, start: Start) -> None:
    first = start()
    wait_until(lambda: is_up(first))
    second = start(name="second")
    wait_until(lambda: "lock" in second.state.detail)
    assert second.state.link == "connecting"


def test_a_file_that_is_no_port_is_a_link_that_does_not_come_up(port: Port, start: Start, tmp_path: os.PathLike[str]) -> None:
    source = start(port=str(tmp_path))
    wait_until(lambda: "directory" in source.state.detail)
    assert source.state.link == "connecting"


def test_lines_that_come_while_the_pipeline_is_busy_are_read_after_it(port: Port, start: Start, recorder: Recorder) -> None:
    recorder.gate.clear()
    source = start()
    wait_until(lambda: is_up(source))
    port.write(b'{"flow": 0}\n')
    wait_until(lambda: len(recorder.bursts) == 1)
    for i in range(1, 20):
        port.write(b'{"flow": %d}\n' % i)
    assert len(recorder.bursts) == 1
    recorder.gate.set()
    wait_until(lambda: len(recorder.values) == 20)
    assert recorder.values == list(range(20))
