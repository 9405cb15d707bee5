"""What has happened of late: rates over ten seconds, ages by the clock that does not jump, the last windows."""

from __future__ import annotations

import msgspec
import pytest

from agent.status.recent import HISTORY_WINDOWS, Recent
from models.contract.items import Aggregate
from tests import builders


def window(p_value: float | None, asset: str = "rig-1") -> Aggregate:
    plain = builders.aggregate()
    scores = [] if p_value is None else [msgspec.structs.replace(plain.scores[0], p_value=p_value)]
    made: Aggregate = msgspec.structs.replace(plain, asset=asset, scores=scores, top=["flow"])
    return made


def test_a_source_s_rate_is_that_of_the_last_ten_seconds() -> None:
    recent = Recent()
    for second in range(60):
        recent.note(float(second), 0.0, {"line": 100 * second if second < 30 else 3000 + 10 * (second - 30)})
    assert recent.flow("line", 59.0).per_s == pytest.approx(10.0)
    for second in range(60, 120):
        recent.note(float(second), 0.0, {"line": 3290})
    flow = recent.flow("line", 119.5)
    assert (flow.per_s, flow.age_s) == (0.0, 60.5)


def test_what_is_not_known_yet_is_not_told() -> None:
    recent = Recent()
    assert (recent.cpu_share(), recent.flow("line", 5.0), recent.windows("rig-1", 5.0).p_values) == (
        None,
        recent.flow("x", 0),
        (),
    )
    recent.note(1.0, 0.5, {"line": 0})
    flow = recent.flow("line", 5.0)
    assert (recent.cpu_share(), flow.per_s, flow.age_s) == (None, None, None)
    recent.note(2.0, 0.75, {"line": 0})
    assert (recent.cpu_share(), recent.flow("line", 5.0).per_s) == (0.25, 0.0)


def test_it_looks_once_a_second() -> None:
    recent = Recent()
    assert recent.due(0.0)
    recent.note(10.0, 0.0, {})
    assert not recent.due(10.9)
    assert recent.due(11.0)


def test_an_asset_s_last_windows_are_kept_and_no_more() -> None:
    recent = Recent()
    recent.hear(1.0, [builders.health(), window(None)])
    assert recent.windows("rig-1", 1.0).p_values == (None,)
    for n in range(3 * HISTORY_WINDOWS):
        recent.hear(float(n), [window(0.123456), window(0.5, "rig-2")])
    windows = recent.windows("rig-1", 3 * HISTORY_WINDOWS + 1.0)
    assert windows.p_values == (0.12,) * HISTORY_WINDOWS
    assert (windows.age_s, windows.top) == (2.0, ("flow",))
    assert set(recent.windows("rig-2", 0.0).p_values) == {0.5}
    assert recent.windows("rig-2", 0.0).age_s == 0.0
