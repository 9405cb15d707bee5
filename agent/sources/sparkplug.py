"""Sparkplug B (Eclipse Sparkplug 3.0): the sessions of edge nodes, from their births to their deaths. Pure.

    spBv1.0/{group}/NBIRTH|NDATA|NDEATH/{node}              the node, and metrics of its own
    spBv1.0/{group}/DBIRTH|DDATA|DDEATH/{node}/{device}     a device behind it
    spBv1.0/{group}/NCMD/{node}                             what is sent to it: a request to be born again

    unborn --NBIRTH--> born --a message is missing--> born, aliases in doubt --NBIRTH--> born
      ^                 | NDEATH (of the same bdSeq)
      \\-----------------/

Invariants:
1. All messages of a node share one sequence number, 0 to 255; one that is not the next shows that messages are missing.
   They are counted as lost, and nothing is read by alias until the births have come again; so it is after each reconnection.
   (What Sparkplug itself cannot tell: a birth that got lost within a connection, where the next number happens to fit.)
2. A node is asked for its births at each connection, after a gap, and for data that no birth explains, at most once in
   `REBIRTH_EVERY_S`. With `rebirth` off it is never asked, and aliases are believed after a gap too: whoever only listens
   would else be deaf from the first lost message on.
3. A death makes every channel that was heard NaN, at the node's own time: no reading is missing silently. A death with the
   bdSeq of an earlier session is late and changes nothing.
4. Only configured nodes and devices are kept; whatever is published, memory is bounded by the configuration.

The agent is no primary host application: it publishes no STATE, and nothing waits for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from agent.sources.config import SparkplugAsset
from agent.sources.decode import MAX_TIME_NS, Channels, Decoded, checked_time
from agent.sources.sparkplug_metrics import Metrics
from agent.sources.sparkplug_wire import Payload, read_payload, rebirth_command
from models.contract.clock import NS_PER_S
from models.contract.reading import Readings
from models.errors import FrameError

MAX_BIRTH_BYTES: Final = 1024 * 1024
REBIRTH_EVERY_S: Final = 10
COUNTERS: Final = ("births", "deaths", "lost_messages", "rebirths", "stale", "historical", "left_out")
_NAMESPACE: Final = "spBv1.0"
_KINDS: Final = frozenset(("NBIRTH", "NDATA", "NDEATH", "DBIRTH", "DDATA", "DDEATH"))
_OWN: Final = ""  # the node's own metrics, among its devices


class SparkplugDecoder:
    """Messages of the configured nodes to readings; `counters` are totals since start."""

    def __init__(
        self, assets: Sequence[SparkplugAsset], channels: Channels, device_time: bool, rebirth: bool, hold: bool
    ) -> None:
        self.counters: Counter[str] = Counter(dict.fromkeys(COUNTERS, 0))
        self._device_time = device_time
        self._rebirth = rebirth
        self._nodes: dict[str, _Node] = {}
        for each in assets:
            group, node, device = (*each.id.split("/"), _OWN)[:3]
            metrics = Metrics(each.asset, each.metrics, channels.get(each.asset, frozenset()), device_time, hold)
            self._nodes.setdefault(f"{group}/{node}", _Node()).devices[device] = metrics

    @property
    def filters(self) -> list[str]:
        """What the broker is asked for: all of each node, for its messages share one sequence number."""
        return ["{}/{}/+/{}/#".format(_NAMESPACE, *name.split("/")) for name in self._nodes]

    @property
    def detail(self) -> str:
        """What is not as it should be, for people; may be asked from any thread."""
        said = [f"{name} {node.trouble}" for name, node in self._nodes.items() if node.trouble]
        for name, node in self._nodes.items():
            said += [f"{name}: ambiguous metrics {m.ambiguous}" for m in node.devices.values() if m.ambiguous]
        return "; ".join(said)

    def connected(self) -> None:
        """A new connection: whatever was published while there was none is lost."""
        for node in self._nodes.values():
            node.wants_rebirth = True
            if self._rebirth and node.born:
                node.doubt()

    def commands(self, now_ns: int) -> list[tuple[str, bytes]]:
        """(topic, payload) of the requests that are due, to be sent at QoS 0, not retained."""
        due = []
        for name, node in self._nodes.items():
            if self._rebirth and node.wants_rebirth and not 0 <= now_ns - node.asked_ns < REBIRTH_EVERY_S * NS_PER_S:
                node.wants_rebirth, node.asked_ns = False, now_ns
                group, edge = name.split("/")
                due.append((f"{_NAMESPACE}/{group}/NCMD/{edge}", rebirth_command(now_ns // 1_000_000)))
        self.counters["rebirths"] += len(due)
        return due

    def decode(self, topic: str, data: bytes, now_ns: int) -> Decoded:
        """Raises FrameError. `now_ns`: its arrival, Unix ns."""
        _, group, kind, edge, *rest = (*topic.split("/"), "", "", "")[: max(4, topic.count("/") + 1)]
        node = self._nodes.get(f"{group}/{edge}")
        if node is None or kind in ("NCMD", "DCMD"):
            return Decoded()
        device = rest[0] if rest else _OWN
        if kind not in _KINDS or len(rest) != (kind[0] == "D"):
            raise FrameError(f"no Sparkplug message type: {kind[:20]!r} with {len(rest)} levels after the node")
        if len(data) > MAX_BIRTH_BYTES:
            raise FrameError(f"payload of {len(data)} bytes; at most {MAX_BIRTH_BYTES}")
        try:
            payload = read_payload(data)
        except FrameError:
            if kind.endswith("BIRTH"):  # what was known may no longer hold
                node.end_session()
                node.wants_rebirth = True
            raise
        return self._session(node, device, kind[1:], payload, now_ns)

    def _session(self, node: _Node, device: str, what: str, payload: Payload, now_ns: int) -> Decoded:
        if device == _OWN and what == "DEATH":
            readings = node.death(payload, self._death_time(node, now_ns))
            self.counters["deaths"] += readings is not None
            return Decoded(readings or (), timed=True)
        if device == _OWN and what == "BIRTH":
            node.birth(payload)
        n_lost = node.lost_before(payload.seq)
        self.counters["lost_messages"] += n_lost
        if n_lost and self._rebirth:
            node.doubt()
        node.wants_rebirth |= not node.born
        metrics = node.devices.get(device)
        if what != "DATA" and node.born:
            self.counters["births" if what == "BIRTH" else "deaths"] += 1
        if metrics is None:
            return Decoded(n_lost=n_lost)
        if what == "DEATH":
            return Decoded(metrics.death(self._death_time(node, now_ns)), timed=True, n_lost=n_lost)
        return self._read(node, metrics, what, payload, now_ns, n_lost)

    def _read(self, node: _Node, metrics: Metrics, what: str, payload: Payload, now_ns: int, n_lost: int) -> Decoded:
        sent_ns = checked_time((payload.timestamp_ms or 0) * 1_000_000, "timestamp")
        born = what == "BIRTH" and node.born
        readings, taken = (metrics.birth if born else metrics.data)(payload, now_ns)
        self.counters.update(taken.counts)
        node.wants_rebirth |= taken.unborn > 0
        if taken.live and sent_ns:
            node.ahead_ns = sent_ns - now_ns
        return Decoded(readings, taken.n_unknown, timed=True, n_lost=n_lost)

    def _death_time(self, node: _Node, now_ns: int) -> int:
        """A death's own time says when the will was made. What counts is now, by the node's clock."""
        return min(max(0, now_ns + node.ahead_ns), MAX_TIME_NS) if self._device_time else now_ns


class _Node:
    """An edge node's session. `ahead_ns`: how far its clock is ahead of arrivals here. `trouble`: "" = none."""

    def __init__(self) -> None:
        self.devices: dict[str, Metrics] = {}
        self.born = False
        self.wants_rebirth = False
        self.asked_ns = -REBIRTH_EVERY_S * NS_PER_S
        self.ahead_ns = 0
        self.trouble = "not born yet"
        self._next_seq = 0
        self._bd_seq: int | None = None

    def birth(self, payload: Payload) -> None:
        """A new session; its devices are to be born anew."""
        self.end_session()
        self.born, self.wants_rebirth, self.trouble = True, False, ""
        self._bd_seq = _bd_seq(payload)
        self._next_seq = (payload.seq or 0) & 0xFF

    def death(self, payload: Payload, at_ns: int) -> list[Readings] | None:
        """What the node's end means for its channels; None where it ended a session that is over already."""
        said = _bd_seq(payload)
        if not self.born or (said is not None and self._bd_seq is not None and said != self._bd_seq):
            return None
        readings = [reading for metrics in self.devices.values() for reading in metrics.death(at_ns)]
        self.end_session()
        self.trouble = "dead"
        return readings

    def lost_before(self, seq: int | None) -> int:
        """How many messages are missing before the one with `seq`; 0 where the node is not born and nothing is known."""
        if seq is None or not self.born:
            return 0
        n_lost = (seq - self._next_seq) & 0xFF
        self._next_seq = (seq + 1) & 0xFF
        return n_lost

    def doubt(self) -> None:
        self.wants_rebirth, self.trouble = True, "waits for its births"
        for metrics in self.devices.values():
            metrics.doubt()

    def end_session(self) -> None:
        self.born, self.trouble = False, "not born yet"
        for metrics in self.devices.values():
            metrics.forget()


def _bd_seq(payload: Payload) -> int | None:
    for metric in payload.metrics:
        if metric.name == "bdSeq" and isinstance(metric.value, int):
            return metric.value
    return None
