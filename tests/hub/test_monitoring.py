"""The Grafana dashboard and the alert rules ask only for what a real hub tells, and say what they should when it happens."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from hub.settings import init_hub
from tests.hub.conftest import FAST, HubClient, running
from tests.hub.monitoring import (
    ALERTS,
    DASHBOARD,
    NO_PROMETHEUS,
    PROMETHEUS,
    PROMTOOL,
    ROOT,
    RULES,
    asked,
    dashboard,
    dashboard_expressions,
    replaced,
)
from tests.hub.operating import token_in
from tests.hub.simulated_device import aggregate, alert, eviction, fault, item, poison
from tests.waiting import PATIENCE_S, wait_until

GIVEN_BY_PROMETHEUS = {"instance", "job"}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubClient]:
    """A hub that has met everything once: a device, windows, an alert, a sensor fault, an eviction, garbage, a gap."""
    with running(init_hub(tmp_path_factory.mktemp("monitoring") / "hub", FAST)) as client:
        device = client.enrolled()
        client.http.post("/v1/checkin", content=device.checkin())
        windows = [item(aggregate(n), n) for n in (1, 2, 9)]
        windows += [poison(10), item(eviction(3), 13, first_seq=11, lane="aggregates")]
        client.ingest(device.batch([*windows, item(alert(), 1), item(fault(), 2)]))
        client.http.post("/v1/ingest", content=b"garbage")
        wait_until(lambda: not any(client.get("/v1/summary")["ingest_pending"].values()), what="all is consumed")
        wait_until(lambda: client.get("/v1/ledger")["lake_pending"] == 0, what="the lake")
        yield client


@pytest.fixture(scope="module")
def told(fleet: HubClient) -> dict[str, list[dict[str, str]]]:
    """The labels of every sample, by its name."""
    found: dict[str, list[dict[str, str]]] = defaultdict(list)
    text = fleet.http.get("/metrics", headers=fleet.auth).text
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name].append(sample.labels)
    found["up"] = [{}]  # Prometheus's own
    return found


def wrong_with(expression: str, told: dict[str, list[dict[str, str]]]) -> list[str]:
    """What `expression` asks for that a hub does not tell."""
    wrong = []
    for each in asked(expression):
        samples = told.get(each.metric)
        if not samples:
            wrong.append(f"no metric {each.metric}")
            continue
        known = {label for labels in samples for label in labels} | GIVEN_BY_PROMETHEUS
        wrong += [f"{each.metric} has no label {label}" for label in (each.labels | each.grouped) - known]
        wrong += [
            f"{each.metric}: {label} is never {value}"
            for label, value in each.equal.items()
            if label in known - GIVEN_BY_PROMETHEUS and value not in {labels.get(label) for labels in samples}
        ]
    return wrong


# --- what is asked for --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("where", "expression"), dashboard_expressions(), ids=[where for where, _ in dashboard_expressions()])
def test_every_panel_asks_for_what_a_hub_tells(where: str, expression: str, told: dict[str, list[dict[str, str]]]) -> None:
    assert asked(expression)
    assert wrong_with(expression, told) == []


@pytest.mark.parametrize("name", ALERTS)
def test_every_rule_asks_for_what_a_hub_tells(name: str, told: dict[str, list[dict[str, str]]]) -> None:
    assert wrong_with(ALERTS[name]["expr"], told) == []


def test_what_is_not_told_would_be_noticed(told: dict[str, list[dict[str, str]]]) -> None:
    assert wrong_with("rate(tocsin_nothing_total[5m])", told) == ["no metric tocsin_nothing_total"]
    assert wrong_with("sum by (device) (tocsin_assets)", told) == ["tocsin_assets has no label device"]
    assert wrong_with('tocsin_rollouts{state="lost"} > 1', told) == ["tocsin_rollouts: state is never lost"]
    with pytest.raises(ValueError, match="unclosed"):
        asked("sum by (tocsin_assets")


def test_every_metric_of_tocsin_is_on_the_dashboard(told: dict[str, list[dict[str, str]]]) -> None:
    shown = {each.metric for _, expression in dashboard_expressions() for each in asked(expression)}
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}
    of_ours = {re.sub(r"_(bucket|sum|count)$", "", name) for name in told if name.startswith("tocsin_")}
    assert of_ours - families - {name for name in of_ours if name.endswith("_created")} == set()


def test_every_metric_has_help_a_type_and_a_unit_in_its_name(fleet: HubClient) -> None:
    text = fleet.http.get("/metrics", headers=fleet.auth).text
    units = r"_(seconds|bytes|total|info|items|records|rows|files|envelopes)$"
    of_what = "devices|devices_online|assets|rollouts|sessions|failing|alerts_open|sensor_faults_open|training_runs"
    for family in text_string_to_metric_families(text):
        assert family.documentation.endswith("."), family.name
        assert family.type in ("counter", "gauge", "histogram"), family.name
        if family.name.startswith("tocsin_") and not family.name.endswith("_created"):  # the client's own, of each counter
            name = f"{family.name}_total" if family.type == "counter" else family.name
            assert re.search(rf"{units}|^tocsin_({of_what})$", name), f"{name}: of what, in which unit?"


def test_what_is_missing_and_given_up_is_counted(fleet: HubClient) -> None:
    text = fleet.http.get("/metrics", headers=fleet.auth).text
    for account, n in (("received", 4), ("missing", 6), ("evicted", 3), ("merged", 0)):
        assert f'tocsin_ledger_items{{account="{account}",lane="aggregates"}} {n}.0' in text
    for name in ('rollouts{state="halted"}', 'training_runs{state="failed"}', 'alerts_open{severity="critical"}'):
        assert f"tocsin_{name} 0.0" in text, "what has not happened yet is told as 0"


# --- the dashboard ------------------------------------------------------------------------------------------------


def test_the_dashboard_can_be_imported() -> None:
    found = dashboard()
    assert found["title"]
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,40}", found["uid"])
    assert "id" not in found, "a dashboard's own number is Grafana's to give"
    assert 36 <= found["schemaVersion"] <= 41
    ids = [panel["id"] for panel in found["panels"]]
    assert len(ids) == len(set(ids))
    assert {panel["type"] for panel in found["panels"]} <= {"row", "stat", "timeseries"}
    variables = {each["name"]: each for each in found["templating"]["list"]}
    assert (variables["datasource"]["type"], variables["datasource"]["query"]) == ("datasource", "prometheus")
    text = DASHBOARD.read_text()
    assert set(re.findall(r"\$\{?(\w+)", text)) <= {*variables, "__rate_interval"}


def test_every_panel_takes_the_data_source_that_is_chosen() -> None:
    for panel in dashboard()["panels"]:
        if panel["type"] == "row":
            continue
        chosen = {"type": "prometheus", "uid": "${datasource}"}
        assert panel["datasource"] == chosen
        assert [target["datasource"] for target in panel["targets"]] == [chosen] * len(panel["targets"])
        names = [target["refId"] for target in panel["targets"]]
        assert len(names) == len(set(names)) > 0
        assert panel["fieldConfig"]["defaults"]["unit"]


def test_panels_fill_the_grid_and_none_covers_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + dx, at["y"] + dy) for dx in range(at["w"]) for dy in range(at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


# --- Prometheus itself --------------------------------------------------------------------------------------------


@pytest.mark.skipif(PROMTOOL is None, reason=NO_PROMETHEUS.format("promtool"))
def test_promtool_finds_nothing_wrong_with_the_metrics(fleet: HubClient) -> None:
    text = fleet.http.get("/metrics", headers=fleet.auth).text
    done = subprocess.run(
        [str(PROMTOOL), "check", "metrics"], input=text, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(PROMETHEUS is None, reason=NO_PROMETHEUS.format("prometheus"))
def test_a_real_prometheus_scrapes_a_real_hub_and_answers_every_panel(fleet: HubClient, tmp_path: Path) -> None:
    """By the scrape configuration of the documentation, with a token of that scope alone."""
    token = token_in(fleet.hub.state_url, "prometheus", "metrics", now_ns=time.time_ns())
    (tmp_path / "tocsin.token").write_text(token)
    page = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    config = yaml.safe_load(page.partition("```yaml\n")[2].partition("```")[0])
    [job] = config["scrape_configs"]
    job["authorization"]["credentials_file"] = str(tmp_path / "tocsin.token")
    job["static_configs"][0]["targets"] = [f"127.0.0.1:{fleet.http.base_url.port}"]
    job.pop("scheme")
    job.pop("tls_config")
    config |= {
        "rule_files": [str(RULES)],
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
    }
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    command = [str(PROMETHEUS), f"--config.file={tmp_path / 'prometheus.yml'}", f"--storage.tsdb.path={tmp_path / 'data'}",
               "--web.listen-address=127.0.0.1:0"]  # fmt: skip
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            told = wait_until(
                lambda: re.search(r"Listening on.* address=(\S+)", (tmp_path / "log").read_text()), what="Prometheus"
            )
            ask = httpx.Client(base_url=f"http://{told[1]}", timeout=PATIENCE_S)
            wait_until(lambda: values(ask, 'up{job="tocsin"}') == [1.0], what="a scrape")
            wait_until(lambda: sum(values(ask, 'count_over_time(up{job="tocsin"}[1m])')) >= 3, what="three scrapes")
            # A rate needs growth of what was there; the annotation shows a start, and there was none.
            never = {"The hub started", "Envelopes in a group commit A"}
            # Where a scrape has just failed, nothing is current until the next: it is asked again.
            wait_until(lambda: not unanswered(ask) - never, what=f"an answer of every panel but {never}")
            groups = wait_until(lambda: judged(ask), what="every rule to be evaluated")
            assert {rule["name"]: rule["health"] for group in groups for rule in group["rules"]} == dict.fromkeys(ALERTS, "ok")
        finally:
            process.terminate()


def unanswered(ask: httpx.Client) -> set[str]:
    return {where for where, expression in dashboard_expressions() if not values(ask, expression)}


def values(ask: httpx.Client, expression: str) -> list[float]:
    """What Prometheus makes of it now; [] also while it does not answer yet."""
    try:
        reply = ask.get("/api/v1/query", params={"query": replaced(expression)})
    except httpx.TransportError:
        return []
    if reply.status_code == 503:
        return []
    found = reply.json()
    assert found["status"] == "success", (expression, found)
    return [float(each["value"][1]) for each in found.get("data", {}).get("result", [])]


def judged(ask: httpx.Client) -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = json.loads(ask.get("/api/v1/rules").text)["data"]["groups"]
    return groups if all(rule["health"] != "unknown" for group in groups for rule in group["rules"]) else []
