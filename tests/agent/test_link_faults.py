"""Torn frames, told once as a fault of their link, and closed after a calm spell."""

from __future__ import annotations

import pytest

from agent.link_faults import CALM_S, LinkMonitor
from agent.sources.source import Burst
from models.contract.clock import Stamp
from models.contract.items import decode_body, encode_body
from tests.builders import stamp


def at(seconds: float) -> Stamp:
    return stamp(seconds)


def torn(source: str = "line", n: int = 1, error: str = "wrong CRC") -> Burst:
    return Burst(source=source, frame_errors=n, last_error=error)


def test_a_fault_opens_with_the_first_torn_frame_and_only_with_that() -> None:
    monitor = LinkMonitor()
    assert monitor.heard(Burst(source="line"), at(0)) == []
    (opened,) = monitor.heard(torn(n=3), at(1))
    assert (opened.source, opened.fault, opened.asset, opened.channel) == ("line", "link", "", "")
    assert (opened.opened_ns, opened.closed_ns, opened.detail) == (at(1).wall_ns, None, "wrong CRC")
    assert monitor.heard(torn(n=2), at(2)) == []
    assert monitor.open == [opened]
    assert monitor.frame_errors == 5


def test_it_closes_once_nothing_bad_has_come_for_a_while() -> None:
    monitor = LinkMonitor()
    (opened,) = monitor.heard(torn(), at(0))
    monitor.heard(torn(), at(6))
    monitor.heard(Burst(source="line"), at(15))
    assert monitor.tick(at(6 + CALM_S)) == []
    (closed,) = monitor.tick(at(6.1 + CALM_S))
    assert (closed.fault_id, closed.closed_ns) == (opened.fault_id, at(6.1 + CALM_S).wall_ns)
    assert monitor.open == []
    assert monitor.tick(at(100)) == []


def test_a_restart_goes_on_with_a_fault_that_is_open() -> None:
    before, after = LinkMonitor(), LinkMonitor()
    (opened,) = before.heard(torn(), at(0))
    after.resume(before.open, at(100).mono_ns)
    assert after.heard(torn(), at(105)) == []
    assert after.tick(at(105 + CALM_S)) == []
    (closed,) = after.tick(at(105.1 + CALM_S))
    assert (closed.fault_id, closed.closed_ns) == (opened.fault_id, at(105.1 + CALM_S).wall_ns)


def test_each_source_has_a_fault_of_its_own_and_the_next_one_is_another() -> None:
    monitor = LinkMonitor()
    (first,), (other,) = monitor.heard(torn("line"), at(0)), monitor.heard(torn("bus"), at(0))
    monitor.tick(at(60))
    (again,) = monitor.heard(torn("line"), at(100))
    assert len({first.fault_id, other.fault_id, again.fault_id}) == 3


@pytest.mark.parametrize("error", ["x" * 5000, "\n\0ü", ""])
def test_whatever_the_frame_said_the_item_can_be_read(error: str) -> None:
    (opened,) = LinkMonitor().heard(torn(error=error), at(0))
    assert decode_body("sensor_fault", encode_body(opened)) == opened
