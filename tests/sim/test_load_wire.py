"""The light devices' HTTP: bounds, deadlines, pauses; and the counts that are made of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_sim.load.ask import Ask
from firmware_sim.load.tally import Histogram, Tally, count, merged
from firmware_sim.load.wire import Reply, Target, Wire, WireError, pause_s

ASK = Ask("checkin", "/v1/checkin", b"body", max_bytes=100)
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def exchange(answer: bytes | None, ask: Ask = ASK, timeout_s: float = 60.0) -> Reply:
    """What comes of `ask` where the other side answers so and hangs up; None = it says nothing and stays."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if answer is not None:
            writer.write(answer)
            writer.close()

    async def run() -> Reply:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        wire = await Wire.open(Target("127.0.0.1", server.sockets[0].getsockname()[1], "", None), 60.0)
        try:
            return await wire.exchange(ask, timeout_s)
        finally:
            wire.close()
            server.close()

    return asyncio.run(run())


def test_an_answer_is_read_whole_with_its_status_and_the_pause_that_it_asks_for() -> None:
    reply = exchange(b"HTTP/1.1 429 Too Many\r\nRetry-After: 7\r\ncontent-length: 2\r\n\r\n{}")
    assert reply == Reply(429, b"{}", 7.0)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "broken off"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", "broken off"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n" + b"a" * 101, "broken off"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "broken off"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "broken off"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "broken off"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n", "an answer without end"),
    ],
)
def test_what_is_no_whole_answer_is_none(answer: bytes, why: str) -> None:
    with pytest.raises(WireError, match=why):
        exchange(answer)


def test_a_hub_that_says_nothing_is_given_up_at_the_deadline() -> None:
    with pytest.raises(WireError, match="in time"):
        exchange(None, timeout_s=0.05)


def test_nobody_there_is_told_as_such() -> None:
    with pytest.raises(WireError, match="refused"):
        asyncio.run(Wire.open(Target("127.0.0.1", 9, "", None), 60.0))


@pytest.mark.parametrize(
    ("headers", "pause"),
    [
        ({}, None),
        ({"retry-after": "12"}, 12.0),
        ({"retry-after": "99999"}, 3600.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Fri, 27 Nov 2026 04:00:30 GMT", "date": "Fri, 27 Nov 2026 04:00:00 GMT"}, 30.0),
        ({"retry-after": "Fri, 27 Nov 2026 04:00:30 GMT"}, None),
    ],
)
def test_a_pause_is_told_in_seconds_or_by_the_hub_s_own_clock(headers: dict[str, str], pause: float | None) -> None:
    assert pause_s(headers) == pause


@given(st.lists(st.floats(1e-5, 1e3), min_size=1, max_size=200), st.integers(1, 5))
def test_quantiles_over_processes_are_those_of_all_times_within_a_bucket(times: list[float], n: int) -> None:
    tallies = [Tally() for _ in range(n)]
    for i, value_s in enumerate(times):
        tallies[i % n].late_s.add(value_s)
    whole = merged(tallies).late_s
    assert whole.n == len(times)
    for share in (0.5, 0.95, 1.0):
        exact = sorted(times)[max(0, -(-len(times) * share // 1).__int__() - 1)]
        assert exact * 0.999 <= (whole.quantile(share) or 0) <= exact * 1.06
    assert Histogram().quantile(0.5) is None
    later = merged([*tallies, Tally(late_s=Histogram({7: 3}))]).late_s
    assert {bucket: n for bucket, n in later.since(whole).counts.items() if n} == {7: 3}


def test_reasons_are_bounded() -> None:
    counts: dict[str, int] = {}
    for n in range(1000):
        count(counts, f"reason {n}")
    assert len(counts) == 51
    assert counts["others"] == 950
