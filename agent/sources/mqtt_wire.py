"""A socket for paho that keeps the PUBLISH packets for itself: paho runs the session, the flood of readings goes by it.

paho reads a packet by at least three calls of `recv` and builds half a dozen objects for each; twenty thousand messages a
second are more than one core has for that. So its socket is wrapped: what came is cut into packets here, in bulk. PUBLISH
packets become `Message`s; everything else (CONNACK, SUBACK, pings, DISCONNECT) is handed to paho byte for byte, and so is
the end of the connection. What paho sends and what acknowledges messages goes out through one buffer, packet after packet.

Invariants:
1. Bytes leave in the order in which packets were given; a packet is never split by another.
2. At most `max_bytes` of one message are held. The payload of a larger one is read past: `Message.payload` is None.
3. One `fill` reads at most FILL_BYTES, and what the last packet lacks is waited for in the next.

MQTT 3.1.1 section 3.3 and 3.4, MQTT 5.0 section 3.3 and 3.4. QoS 2 is never asked for, so it never comes. Topic aliases are not
offered, so none come.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable
from typing import Final

import msgspec

from models.errors import LinkError

FILL_BYTES: Final = 256 * 1024
_PUBLISH: Final = 0x30
_PUBACK_HEAD: Final = b"\x40\x02"
_MAX_HEAD: Final = 65_536 + 16  # of a PUBLISH: its topic and what is around it


class Message(msgspec.Struct, frozen=True, gc=False):
    """A PUBLISH. `mid`: to acknowledge it by; 0 at QoS 0, which asks for nothing. `dup`: the broker sends it again.

    `payload`: None where it was larger than is read; `size` is what it was.
    """

    topic: bytes
    payload: bytes | None
    size: int
    mid: int
    dup: bool
    retain: bool


class Wire:
    """What paho takes for its socket (`recv`, `send` and the like), and what the connection reads messages from."""

    def __init__(self, sock: socket.socket, is_5: bool, max_bytes: int) -> None:
        self._sock = sock
        self._is_5 = is_5
        self._max_bytes = max_bytes
        self._rest = b""  # of a packet that is not whole yet
        self._skip = 0  # bytes of a payload that is read past
        self._others = bytearray()  # packets for paho
        self._out = bytearray()
        self._messages: list[Message] = []
        self.ended = False

    # --- for the connection --------------------------------------------------------------------------------------

    def fill(self) -> None:
        """Read what has come, without waiting. Raises LinkError for what is not MQTT."""
        n_bytes = 0
        while n_bytes < FILL_BYTES and not self.ended:
            try:
                data = self._sock.recv(FILL_BYTES - n_bytes)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            except OSError:
                data = b""
            n_bytes += len(data)
            self.ended = not data
            self._cut(data)
            if len(data) < 16_384 and not self.pending():
                return

    def take(self) -> list[Message]:
        """The messages that have come since the last call."""
        messages, self._messages = self._messages, []
        return messages

    def acknowledge(self, mids: Iterable[int]) -> None:
        """Put a PUBACK for each into the buffer."""
        self._out += b"".join([_PUBACK_HEAD + mid.to_bytes(2, "big") for mid in mids])

    def flush(self) -> None:
        """Send what the socket takes. What a broken connection does not take is gone; `fill` tells that it is broken."""
        try:
            while self._out:
                del self._out[: self._sock.send(self._out)]
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return
        except OSError:
            self._out.clear()

    @property
    def wants_write(self) -> bool:
        return bool(self._out)

    @property
    def has_others(self) -> bool:
        """Whether there is something for paho: a packet, or the end."""
        return bool(self._others) or self.ended

    def pending(self) -> int:
        """Bytes that TLS has read already, and of which `select` knows nothing."""
        return self._sock.pending() if isinstance(self._sock, ssl.SSLSocket) else 0

    # --- for paho ------------------------------------------------------------------------------------------------

    def recv(self, n: int) -> bytes:
        if not self._others:
            if self.ended:
                return b""
            raise BlockingIOError
        data = bytes(self._others[:n])
        del self._others[:n]
        return data

    def send(self, data: bytes | bytearray) -> int:
        self._out += data
        return len(data)

    def fileno(self) -> int:
        return self._sock.fileno()

    def setblocking(self, flag: bool) -> None:
        self._sock.setblocking(flag)

    def close(self) -> None:
        self._sock.close()

    # --- cutting -------------------------------------------------------------------------------------------------

    def _cut(self, data: bytes) -> None:
        """Take `data` apart into packets; keep what is not whole."""
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            data = data[skipped:]
        buffer = self._rest + data if self._rest else data
        position, end = 0, len(buffer)
        while position + 2 <= end:
            first, length, body = buffer[position], buffer[position + 1], position + 2
            if length & 0x80:
                length, body = _long_length(buffer, position + 1)
                if not body:
                    break  # the length itself is not whole
            is_publish = first & 0xF0 == _PUBLISH
            if body + length > end:
                if is_publish and length > self._max_bytes + _MAX_HEAD and end - body >= _MAX_HEAD:
                    self._messages.append(self._message(first, buffer[body:end], length))
                    self._skip = body + length - end
                    position = end
                elif not is_publish and length > self._max_bytes:
                    raise LinkError(f"a packet of {length} bytes that is no message")
                break
            if is_publish:
                self._messages.append(self._message(first, buffer[body : body + length], length))
            else:
                self._others += buffer[position : body + length]
            position = body + length
        self._rest = buffer[position:]

    def _message(self, first: int, packet: bytes, length: int) -> Message:
        """`packet`: what follows the fixed header, or the head of it. Raises LinkError."""
        at = 2 + (packet[0] << 8 | packet[1]) if length >= 2 else length + 1
        topic = packet[2:at]
        mid = 0
        if first & 0x06:
            at += 2
            if at > length or first & 0x04:
                raise LinkError("a malformed message")
            mid = packet[at - 2] << 8 | packet[at - 1]
        if self._is_5 and at < length:
            size = packet[at]
            if size & 0x80:
                size, start = _long_length(packet, at)
                at = (start or length + 1) + size
            else:
                at += 1 + size
        if at > length:
            raise LinkError("a malformed message")
        size = length - at
        payload = packet[at:] if size <= self._max_bytes else None
        return Message(topic, payload, size, mid, bool(first & 0x08), bool(first & 0x01))


def _long_length(buffer: bytes, position: int) -> tuple[int, int]:
    """A variable byte integer (MQTT 5.0, 1.5.5) at `position`: (its value, where it ends), or (0, 0) where it is not whole.

    Raises LinkError where it is longer than four bytes.
    """
    value = 0
    for i in range(4):
        if position + i >= len(buffer):
            return 0, 0
        byte = buffer[position + i]
        value |= (byte & 0x7F) << 7 * i
        if not byte & 0x80:
            return value, position + i + 1
    raise LinkError("a packet length of more than four bytes")
