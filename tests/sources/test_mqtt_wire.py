"""What a broker sends, cut at any place, is the packets that it sent; and paho itself reads what is left for it."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sources.mqtt_wire import Message, Wire
from models.errors import LinkError

TOPICS = st.binary(min_size=1, max_size=300)
MESSAGES = st.builds(
    lambda topic, payload, mid, dup, retain: Message(topic, payload, len(payload), mid, dup and mid > 0, retain),
    TOPICS,
    st.binary(max_size=400),
    st.integers(0, 65_535),
    st.booleans(),
    st.booleans(),
)
OTHERS = st.sampled_from([b"\xd0\x00", b"\x20\x02\x00\x00", b"\x90\x03\x00\x01\x01", b"\xe0\x02\x8e\x00"])
MAX_BYTES = 200


def length_of(n: int) -> bytes:
    """MQTT 5.0, 1.5.5."""
    encoded = bytearray()
    while True:
        n, low = divmod(n, 128)
        encoded.append(low | 0x80 if n else low)
        if not n:
            return bytes(encoded)


def packet(message: Message, properties: bytes | None) -> bytes:
    assert message.payload is not None
    first = 0x30 | (0x08 if message.dup else 0) | (0x02 if message.mid else 0) | (0x01 if message.retain else 0)
    body = len(message.topic).to_bytes(2, "big") + message.topic
    body += message.mid.to_bytes(2, "big") if message.mid else b""
    body += b"" if properties is None else length_of(len(properties)) + properties
    body += message.payload
    return bytes([first]) + length_of(len(body)) + body


def as_read(message: Message, max_bytes: int) -> Message:
    return message if message.size <= max_bytes else Message(
        message.topic, None, message.size, message.mid, message.dup, message.retain
    )  # fmt: skip


class Ends:
    """A wire, and the broker's end of it."""

    def __init__(self, is_5: bool = False, max_bytes: int = MAX_BYTES) -> None:
        near, self.broker = socket.socketpair()
        near.setblocking(False)
        self.wire = Wire(near, is_5, max_bytes)

    def close(self) -> None:
        self.broker.close()
        self.wire.close()

    def others(self) -> bytes:
        data = b""
        while True:
            try:
                data += self.wire.recv(3)
            except BlockingIOError:
                return data


@pytest.fixture
def ends() -> Iterator[Ends]:
    ends = Ends()
    yield ends
    ends.close()


@given(
    sent=st.lists(st.one_of(MESSAGES, OTHERS), max_size=12),
    properties=st.one_of(st.none(), st.binary(max_size=150)),
    cuts=st.lists(st.integers(1, 500), max_size=30),
)
def test_however_the_stream_is_cut_the_packets_are_those_that_were_sent(
    sent: list[Message | bytes], properties: bytes | None, cuts: list[int]
) -> None:
    ends = Ends(is_5=properties is not None)
    stream = b"".join(packet(each, properties) if isinstance(each, Message) else each for each in sent)
    got: list[Message] = []
    while stream:
        n = cuts.pop() if cuts else len(stream)
        ends.broker.sendall(stream[:n])
        stream = stream[n:]
        ends.wire.fill()
        got += ends.wire.take()
    others = ends.others()
    ends.close()
    assert got == [as_read(each, MAX_BYTES) for each in sent if isinstance(each, Message)]
    assert others == b"".join(each for each in sent if isinstance(each, bytes))


def test_a_payload_beyond_the_bound_is_read_past_and_not_held(ends: Ends) -> None:
    huge = Message(b"a/b", bytes(5_000_000), 5_000_000, 7, False, False)
    stream = packet(huge, None) + packet(Message(b"a/c", b"1", 1, 8, False, False), None)
    got: list[Message] = []
    while stream:
        stream = stream[ends.broker.send(stream[:100_000]) :]
        ends.wire.fill()
        got += ends.wire.take()
        assert len(ends.wire._rest) < 200_000
    assert got == [Message(b"a/b", None, 5_000_000, 7, False, False), Message(b"a/c", b"1", 1, 8, False, False)]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\x30\xff\xff\xff\xff\x01", "packet length of more than four bytes"),
        (b"\x30\x02\x00\x09", "malformed message"),
        (b"\x30\x01\x00", "malformed message"),
        (b"\x32\x04\x00\x02ab", "malformed message"),  # no room for its id
        (b"\x34\x06\x00\x02ab\x00\x01", "malformed message"),  # QoS 2, which was not asked for
        (b"\x90\x80\x80\x80\x01", "no message"),
    ],
)
def test_what_is_not_mqtt_ends_the_connection(ends: Ends, data: bytes, says: str) -> None:
    ends.broker.sendall(data)
    with pytest.raises(LinkError, match=says):
        ends.wire.fill()
    assert ends.wire.take() == []


@given(st.binary(max_size=200))
def test_garbage_is_refused_or_waited_for_and_never_anything_else(data: bytes) -> None:
    ends = Ends(is_5=True)
    ends.broker.sendall(data)
    try:
        ends.wire.fill()
    except LinkError:
        pass
    finally:
        ends.close()


def test_acknowledgements_and_what_paho_sends_never_split_each_other(ends: Ends) -> None:
    """Also where the socket takes only a part of it."""
    expected = b""
    for i in range(3000):
        ping = b"\xc0\x00" * 40
        assert ends.wire.send(ping) == len(ping)
        ends.wire.acknowledge([i + 1, i + 2])
        expected += ping + b"\x40\x02" + (i + 1).to_bytes(2, "big") + b"\x40\x02" + (i + 2).to_bytes(2, "big")
    got = b""
    while len(got) < len(expected):
        ends.wire.flush()
        got += ends.broker.recv(65_536)
    assert got == expected
    assert not ends.wire.wants_write


def test_the_end_of_the_connection_is_told_to_paho(ends: Ends) -> None:
    ends.broker.sendall(b"\xd0\x00")
    ends.broker.close()
    ends.wire.fill()
    assert ends.wire.has_others
    assert ends.wire.recv(2) == b"\xd0\x00"
    assert not ends.wire.has_others
    ends.wire.fill()
    assert ends.wire.has_others
    assert ends.wire.recv(1) == b""
    ends.wire.acknowledge([1])
    ends.wire.flush()  # goes nowhere, and harms nobody
