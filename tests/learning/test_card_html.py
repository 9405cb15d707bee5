"""The model card for people: one file, nothing in it that is not from the card, nothing that runs."""

from __future__ import annotations

import re
from typing import Any

from hub.training.card_html import card_html

ENTRY: dict[str, Any] = {
    "bundle_id": "pump-v2-0badcafe",
    "created_ns": 1_700_000_000_000_000_000,
    "sha256": "ab" * 32,
    "card": {
        "title": "Whitening for <script>alert(1)</script>",
        "limits": "Knows its profile only.",
        "evaluation": {
            "auc": {"int8": {"shift": 0.9, "all": 0.8}, "baseline": {"shift": 0.7}},
            "champion": {"bundle_id": "pump-v1", "auc": {"shift": 0.85}},
            "bias": {
                "axes": {
                    "site": {
                        "slices": {
                            "<img src=x>": {"share": 0.3, "windows": 90, "limit": 0.08, "verdict": "fails"},
                            "north": {"share": 0.01, "windows": 9, "limit": 0.08, "verdict": "too small"},
                        }
                    }
                }
            },
            "labelled": {"confirm": {"windows": 10, "share_low_p": 0.9, "enough": True}},
        },
        "data": {
            "usable": 100,
            "left_out": {"alarm": 3, "sensor fault": 0},
            "splits": {"train": 90},
            "rules": {"trim_share": 0.01},
        },
        "lineage": {"run_id": "pump-1", "lake_version": 7},
    },
}


def test_it_escapes_what_a_card_says_and_loads_and_runs_nothing() -> None:
    page = card_html(ENTRY)
    assert "<script" not in page
    assert "<img" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert not re.search(r"https?://|\ssrc=|\shref=|url\(|@import|\son\w+=", page.replace("&lt;img src=x&gt;", ""))


def test_it_tells_groups_that_fail_those_too_small_and_both_models() -> None:
    page = card_html(ENTRY)
    assert "30.0% of 90, fails" in page
    assert "1.0% of 9, too small" in page
    assert "shift, champion<" in page
    assert "<td>pump-v1</td>" in page
    assert "90.0% of 10 windows" in page
    assert "3 alarm" in page


def test_it_tells_who_approved_it_or_that_nobody_has() -> None:
    assert "Nobody has approved it" in card_html(ENTRY)
    page = card_html(ENTRY, {"approver": "A & B", "at_ns": 1, "actor": "user:a", "note": "seen"}, 5)
    assert "Approved by A &amp; B on 1970-01-01 00:00 UTC: seen" in page
    assert "<th>devices that hold it</th><td>5</td>" in page


def test_an_empty_card_is_a_page_all_the_same() -> None:
    assert "pump-v2-0badcafe" in card_html({**ENTRY, "card": {}})
