"""The alert rules, judged by Prometheus's own tool: each fires on its bad day, no other does, and none on an ordinary one."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.hub.monitoring import ALERTS, NO_PROMETHEUS, PROMTOOL, ROOT, RULES, asked, rules


def test_every_rule_says_how_urgent_it_is_and_what_to_do() -> None:
    assert len(ALERTS) == len(rules())
    for name, rule in ALERTS.items():
        assert re.fullmatch(r"Tocsin[A-Z][A-Za-z]+", name)
        assert rule["labels"] in ({"severity": "critical"}, {"severity": "warning"})
        assert set(rule["annotations"]) == {"summary", "description"}
        results = {label for each in asked(rule["expr"]) for label in (each.grouped or each.labels)} | {
            "instance",
            "part",
            "consumer",
        }
        used = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
        assert used <= results, name


def test_the_documentation_tells_of_every_rule() -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(Tocsin\w+)` \|", page, re.MULTILINE) == list(ALERTS)


# What makes each alert fire, as Prometheus's own tests write series; and the same hub on an ordinary day.
BAD = {
    "TocsinHubDown": {'up{job="tocsin"}': "0x60"},
    "TocsinHubPartFails": {'tocsin_failing{part="lake"}': "1x60"},
    "TocsinBacklogGrows": {'tocsin_backlog_records{consumer="lake"}': "9000+500x60"},
    "TocsinCommitsSlow": {
        'tocsin_ingest_commit_seconds_bucket{le="1"}': "0x60",
        'tocsin_ingest_commit_seconds_bucket{le="2.5"}': "0+10x60",
        'tocsin_ingest_commit_seconds_bucket{le="+Inf"}': "0+10x60",
    },
    "TocsinTurnsDevicesAway": {'tocsin_http_requests_total{area="ingest", status="503"}': "0+60x60"},
    "TocsinHubRestarts": {'process_start_time_seconds{job="tocsin"}': "1 2 3 4x57"},
    "TocsinFilesRunOut": {'process_open_fds{job="tocsin"}': "900x60", 'process_max_fds{job="tocsin"}': "1024x60"},
    "TocsinMachineCritical": {'tocsin_alerts_open{severity="critical"}': "0x30 1x30"},
    "TocsinDevicesOffline": {
        'tocsin_devices{job="tocsin", online="true"}': "80x60", 'tocsin_devices{job="tocsin", online="false"}': "20x60"
    },
    "TocsinItemsMissing": {'tocsin_ledger_items{lane="alerts", account="missing"}': "1x400"},
    "TocsinItemsEvicted": {'tocsin_ledger_items{lane="evidence", account="evicted"}': "7x50 12x10"},
    "TocsinItemsRefused": {"tocsin_ingest_rejected_items_total": "0x50 3x10"},
    "TocsinManySensorFaults": {
        'tocsin_sensor_faults_open{fault="stuck"}': "2x60", 'tocsin_sensor_faults_open{fault="missing"}': "1x60",
        'tocsin_assets{state="normal"}': "10x60",
    },
    "TocsinAssetsSilent": {
        'tocsin_assets{job="tocsin", state="normal"}': "8x60", 'tocsin_assets{job="tocsin", state="silent"}': "2x60"
    },
    "TocsinRolloutHalted": {
        'tocsin_rollouts{state="halted"}': "0x60", 'tocsin_rollouts{state="rolled_back"}': "2x50 3x10",
    },
    "TocsinTrainingFailed": {'tocsin_training_runs{state="failed"}': "0x50 1x10"},
    "TocsinTrainingHangs": {'tocsin_training_runs{state="running"}': "1x400"},
}  # fmt: skip
GOOD = {
    'up{job="tocsin"}': "1x400",
    'tocsin_failing{part="lake"}': "0x400",
    'tocsin_backlog_records{consumer="lake"}': "0 20000 300x30 0x370",
    'tocsin_ingest_commit_seconds_bucket{le="1"}': "0+10x400",
    'tocsin_ingest_commit_seconds_bucket{le="2.5"}': "0+10x400",
    'tocsin_ingest_commit_seconds_bucket{le="+Inf"}': "0+10x400",
    'tocsin_http_requests_total{area="ingest", status="200"}': "0+600x400",
    'tocsin_http_requests_total{area="ingest", status="503"}': "0+1x400",
    'process_start_time_seconds{job="tocsin"}': "1 2x400",
    'process_open_fds{job="tocsin"}': "40x400",
    'process_max_fds{job="tocsin"}': "1024x400",
    'tocsin_alerts_open{severity="critical"}': "0x400",
    'tocsin_alerts_open{severity="warning"}': "2x400",
    'tocsin_devices{job="tocsin", online="true"}': "98x400",
    'tocsin_devices{job="tocsin", online="false"}': "2x400",
    'tocsin_ledger_items{lane="alerts", account="missing"}': "0x100 5x50 0x250",
    'tocsin_ledger_items{lane="alerts", account="received"}': "0+5x400",
    'tocsin_ledger_items{lane="evidence", account="evicted"}': "7x400",
    "tocsin_ingest_rejected_items_total": "3x400",
    'tocsin_sensor_faults_open{fault="stuck"}': "1x400",
    'tocsin_assets{job="tocsin", state="normal"}': "10x400",
    'tocsin_assets{job="tocsin", state="silent"}': "1x10 0x390",
    'tocsin_rollouts{state="halted"}': "0x400",
    'tocsin_rollouts{state="rolled_back"}': "2x400",
    'tocsin_training_runs{state="failed"}': "1x400",
    'tocsin_training_runs{state="running"}': "0x10 1x100 0x290",
}


def scenario(name: str, series: dict[str, str], firing: list[str], *eval_times: str) -> dict[str, Any]:
    """A test of promtool: of all alerts, only `firing` fire, at each of `eval_times`."""
    inputs = [{"series": _on("hub-1:8700", series_name), "values": values} for series_name, values in series.items()]
    expected = [{"labels": f'{{alertname="{alertname}"}}', "value": 1} for alertname in firing]
    counted = 'count by (alertname) (ALERTS{alertstate="firing"}) / count by (alertname) (ALERTS{alertstate="firing"})'
    checks = [{"expr": counted, "eval_time": eval_time, "exp_samples": expected} for eval_time in eval_times]
    return {"name": name, "interval": "1m", "input_series": inputs, "promql_expr_test": checks}


def _on(instance: str, series: str) -> str:
    name, _, labels = series.rstrip("}").partition("{")
    separator = ", " if labels else ""
    return f'{name}{{{labels}{separator}instance="{instance}"}}'


def test_there_is_a_bad_day_for_every_alert() -> None:
    assert list(BAD) == list(ALERTS)


@pytest.mark.skipif(PROMTOOL is None, reason=NO_PROMETHEUS.format("promtool"))
def test_each_alert_fires_when_it_should_and_no_other_does(tmp_path: Path) -> None:
    late = {"TocsinItemsMissing": "361m", "TocsinTrainingHangs": "361m"}
    scenarios = [scenario(name, series, [name], late.get(name, "60m")) for name, series in BAD.items()]
    scenarios.append(scenario("an ordinary day", GOOD, [], "2m", "12m", "25m", "60m", "110m", "149m", "390m"))
    scenarios.append(scenario("before anything was told", {}, [], "60m"))
    (tmp_path / "test.yml").write_text(
        yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": scenarios})
    )
    for command in (["check", "rules", str(RULES)], ["test", "rules", str(tmp_path / "test.yml")]):
        done = subprocess.run([str(PROMTOOL), *command], capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
