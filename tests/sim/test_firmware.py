"""What the firmware puts on the wire, read back by the formats' own rules and by the agent's decoders."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest

from agent.sources.blocks import CobsFrames as CobsDecoder
from agent.sources.decode import Decoded, channels_by_asset
from agent.sources.lines import CsvLines as CsvDecoder
from agent.sources.lines import JsonLines as JsonDecoder
from agent.sources.payload import PayloadDecoder
from agent.sources.topics import compile_topics
from firmware_sim.firmware.binary import CobsFrames
from firmware_sim.firmware.catalog import FORMATS, make_encoder
from firmware_sim.firmware.encoder import Samples, number, unix_s
from models.contract.frames import decode_frame
from models.contract.reading import Reading

CHANNELS = ("flow", "pressure")
T0_NS = 1_700_000_000_000_000_000
SAMPLES = Samples(
    "pump-1",
    CHANNELS,
    T0_NS + np.arange(23, dtype=np.int64) * 200_000_000,
    np.stack([50 + np.arange(23) / 4, np.where(np.arange(23) == 5, np.nan, 3.0)], axis=1),
)


@pytest.mark.parametrize("form", [*FORMATS["serial"], *FORMATS["mqtt"]])
def test_the_agent_reads_what_the_firmware_writes(form: str) -> None:
    known = channels_by_asset({"pump-1": CHANNELS})
    readings = {}
    messages = make_encoder(form, len(CHANNELS)).encode(SAMPLES)
    serial = {
        "jsonl": JsonDecoder(known, None, True),
        "csv": CsvDecoder(known, "pump-1", ("t", *CHANNELS), ",", True),
        "cobs": CobsDecoder(known, "pump-1", CHANNELS, True),
    }
    payloads = PayloadDecoder("auto", known, True)
    topics = compile_topics(["plant/{asset}/{channel}", "plant/{asset}"], "test")
    for message in messages:
        if form in serial:
            decoded = serial[form](message.payload[:-1], 0)
        else:
            place = topics.match(message.topic)
            assert place is not None
            decoded = payloads.decode(message.payload, place, message.at_ns)
        readings.update(_by_time(decoded))
    expected = {
        (channel, int(at_ns)): value
        for i, channel in enumerate(CHANNELS)
        for at_ns, value in zip(SAMPLES.time_ns, SAMPLES.values[:, i], strict=True)
        if math.isfinite(value)
    }
    assert readings == expected


def test_time_is_written_to_the_microsecond() -> None:
    assert unix_s(T0_NS + 200_000_000) == "1700000000.200000"
    assert unix_s(1_000) == "0.000001"


def test_numbers_are_written_short_and_exactly() -> None:
    assert [number(x) for x in (51.0, 3.214, -0.5, 1e300)] == ["51", "3.214", "-0.5", "1e+300"]


def test_json_line_leaves_absent_channels_out() -> None:
    lines = [msgspec.json.decode(m.payload) for m in make_encoder("jsonl", 2).encode(SAMPLES)]
    assert lines[5] == {"t": 1700000001.0, "asset": "pump-1", "flow": 51.25}


def test_cobs_frame_ends_where_the_rhythm_of_the_samples_changes() -> None:
    gaps = np.array([0, 1, 2, 3, 10, 11, 12, 12, 20], dtype=np.int64) * 10**9
    encoder = CobsFrames(1, samples_per_message=50)
    messages = encoder.encode(Samples("a", ("x",), T0_NS + gaps, np.arange(9.0)[:, None]))
    frames = [decode_frame(m.payload[:-1]) for m in messages]
    times = [f.t0_us * 1000 + i * f.period_us * 1000 for f in frames for i in range(len(f.values))]
    assert times == (T0_NS + gaps).tolist()
    assert [f.seq for f in frames] == list(range(len(frames)))
    assert np.concatenate([f.values[:, 0] for f in frames]).tolist() == list(range(9))


def test_cobs_frame_of_many_channels_stays_within_the_limit() -> None:
    encoder = make_encoder("cobs", 64, samples_per_message=500)
    messages = encoder.encode(Samples("a", tuple(f"c{i}" for i in range(64)), SAMPLES.time_ns, np.ones((23, 64))))
    assert sum(len(decode_frame(m.payload[:-1]).values) for m in messages) == 23


def test_senml_pack_is_a_base_and_offsets_from_it() -> None:
    first = msgspec.json.decode(make_encoder("senml", 2).encode(SAMPLES)[0].payload)
    assert first[0] == {"bn": "pump-1/", "bt": 1_700_000_000.0, "n": "flow", "v": 50}
    assert first[3] == {"t": 0.2, "n": "pressure", "v": 3}
    assert len(first) == 19, "ten samples of two channels, one of them absent"


def _by_time(decoded: Decoded) -> dict[tuple[str, int], float]:
    """(channel, time to the µs) -> value."""
    assert decoded.n_unknown == 0
    found = {}
    for reading in decoded.readings:
        assert reading.asset == "pump-1"
        if isinstance(reading, Reading):
            pairs = [(reading.captured_at_ns, reading.value)]
        else:
            pairs = list(zip(reading.captured_at_ns.tolist(), reading.values.tolist(), strict=True))
        found.update({(reading.channel, round(at / 1000) * 1000): v for at, v in pairs if math.isfinite(v)})
    return found
