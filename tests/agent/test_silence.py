"""An asset that falls silent is named; one that was never heard is not accused."""

from __future__ import annotations

from agent.asset import AssetWatch
from agent.silence import SilenceMonitor, is_silent, silent_after_ns
from models.contract.clock import NS_PER_S, Stamp
from models.contract.config import load_profile

_T0 = 1_800_000_000 * NS_PER_S
_HOUR_NS = 3600 * NS_PER_S


def _at(mono_ns: int) -> Stamp:
    """Monotonic time as given; the wall clock is an hour ahead of it."""
    return Stamp(wall_ns=mono_ns + _HOUR_NS, mono_ns=mono_ns, boot_id="boot", synced=True)


def _watch(heard_ns: int | None = None) -> AssetWatch:
    watch = AssetWatch("pump-1", load_profile("pump"))
    if heard_ns is not None:
        watch.windower.add(0, _T0, 5.0, now_ns=heard_ns)
    return watch


def test_silence_opens_one_fault_and_the_next_reading_closes_it() -> None:
    watch, monitor = _watch(heard_ns=_T0), SilenceMonitor()
    after_ns = _T0 + silent_after_ns(watch)
    assert monitor.tick([watch], _at(after_ns)) == []
    (opened,) = monitor.tick([watch], _at(after_ns + 1))
    assert (opened.asset, opened.channel, opened.fault, opened.opened_ns) == ("pump-1", "", "missing", _T0 + _HOUR_NS)
    assert monitor.tick([watch], _at(after_ns + NS_PER_S)) == []
    assert monitor.open == [opened]
    watch.windower.add(0, _T0 + NS_PER_S, 5.0, now_ns=after_ns + 2 * NS_PER_S)
    (closed,) = monitor.tick([watch], _at(after_ns + 3 * NS_PER_S))
    assert (closed.fault_id, closed.closed_ns) == (opened.fault_id, after_ns + 3 * NS_PER_S + _HOUR_NS)
    assert monitor.open == []


def test_a_restart_goes_on_with_a_fault_that_is_open_until_the_next_reading() -> None:
    before = SilenceMonitor()
    (opened,) = before.tick([_watch(heard_ns=_T0)], _at(_T0 + _HOUR_NS))
    watch, monitor, started_ns = _watch(), SilenceMonitor(), _T0 + 2 * _HOUR_NS
    watch.windower.resume(_T0, started_ns)
    monitor.resume(before.open, {"pump-1": watch})
    for after_s in (0, 1, 3600):
        assert monitor.tick([watch], _at(started_ns + after_s * NS_PER_S)) == []
    assert monitor.open == [opened]
    watch.windower.add(0, _T0 + NS_PER_S, 5.0, now_ns=started_ns + _HOUR_NS + 1)
    (closed,) = monitor.tick([watch], _at(started_ns + _HOUR_NS + 2))
    assert closed.fault_id == opened.fault_id
    assert closed.closed_ns is not None


def test_a_fault_of_an_asset_that_is_watched_no_more_closes() -> None:
    before, after = SilenceMonitor(), SilenceMonitor()
    (opened,) = before.tick([_watch(heard_ns=_T0)], _at(_T0 + _HOUR_NS))
    after.resume(before.open, {})
    (closed,) = after.tick([], _at(_T0 + 2 * _HOUR_NS))
    assert (closed.fault_id, after.open) == (opened.fault_id, [])


def test_an_asset_that_was_never_heard_is_silent_but_no_fault() -> None:
    watch = _watch()
    assert is_silent(watch, _T0)
    assert SilenceMonitor().tick([watch], _at(_T0 + 10**15)) == []


def test_silence_is_judged_by_arrival_not_by_event_time() -> None:
    watch = _watch(heard_ns=_T0 + 86_400 * NS_PER_S)
    assert not is_silent(watch, _T0 + 86_400 * NS_PER_S + NS_PER_S)
