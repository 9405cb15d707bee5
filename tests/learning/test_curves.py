"""What an evaluation's pictures are drawn from: bounded, and true to the scores."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.training.curves import ASKED, FALSE_ALARM_SHARES, alarm_rate, curves, detected
from hub.training.evaluate import auc

SCORES = st.lists(st.integers(0, 12), min_size=1, max_size=60).map(lambda values: np.array(values, dtype=float))


@settings(deadline=None, max_examples=60)
@given(SCORES, SCORES)
def test_no_threshold_lets_through_more_normal_windows_than_it_says_and_none_sees_more_faults(
    normal: np.ndarray, faulty: np.ndarray
) -> None:
    """By trying every threshold there is."""
    thresholds = [-np.inf, *np.unique(np.concatenate([normal, faulty]))]
    for share, seen in zip(FALSE_ALARM_SHARES, detected(normal, faulty), strict=True):
        allowed = [float((faulty > t).mean()) for t in thresholds if (normal > t).mean() <= share + 1e-9]
        assert seen == pytest.approx(max(allowed), abs=1e-5)


def test_the_curve_s_area_is_about_the_auc() -> None:
    rng = np.random.default_rng(0)
    normal, faulty = rng.normal(0, 1, 4000), rng.normal(1.5, 1, 4000)
    area = float(np.trapezoid(detected(normal, faulty), FALSE_ALARM_SHARES))
    assert area == pytest.approx(auc(normal, faulty), abs=0.01)


def test_alarm_rates_are_what_calibrated_p_values_ask_for() -> None:
    assert alarm_rate([]) is None
    assert alarm_rate(((np.arange(10_000) + 0.5) / 10_000).tolist()) == pytest.approx(list(ASKED))


def test_curves_are_bounded_whatever_the_number_of_windows_and_tell_int8_from_float() -> None:
    rng = np.random.default_rng(1)
    normal, faulty = rng.gamma(2, 1, 5000), {kind: rng.gamma(6, 1, 5000) for kind in ("shift", "variance", "correlation")}
    worse = {kind: scores * 0.5 for kind, scores in faulty.items()}
    found = curves({"int8": (normal, worse), "float": (normal, faulty)}, {"int8": rng.random(5000).tolist()})
    assert len(json.dumps(found)) < 6000
    assert found["quantiles"]["int8"][-1] < found["quantiles"]["float"][-1]
    assert found["detected"]["int8"]["all"][5] < found["detected"]["float"]["all"][5]
    assert set(found["detected"]["int8"]) == {"all", "shift", "variance", "correlation"}
