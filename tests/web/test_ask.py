"""The page on which people ask: over a real socket, and without scripts."""

from __future__ import annotations

import re

import httpx
import pytest
from sqlalchemy import Engine

from hub.ask.answer import EXAMPLES
from tests.web.seeding import add_alert, add_asset, add_device

HOSTILE = '"><script>alert(1)</script>'


def ask(operator: httpx.Client, question: str) -> httpx.Response:
    return operator.get("/ask", params={"q": question})


def edit(operator: httpx.Client, sql: str, origin: str | None = None) -> httpx.Response:
    headers = {"Origin": origin or str(operator.base_url).rstrip("/")}
    return operator.post("/ask", data={"sql": sql, "q": "alerts per site"}, headers=headers)


def test_strangers_are_sent_to_sign_in_and_may_run_nothing(stranger: httpx.Client) -> None:
    assert ask(stranger, "alerts").headers["location"] == "/signin"
    assert edit(stranger, "SELECT 1").status_code == 401


def test_the_navigation_leads_to_it_and_examples_are_links(operator: httpx.Client, fleet: Engine) -> None:
    assert '<a href="/ask">Ask</a>' in operator.get("/").text
    page = operator.get("/ask").text
    links = re.findall(r'href="(/ask\?q=[^"]+)"', page)
    assert len(links) == sum(map(len, EXAMPLES.values()))
    for link in (links[0], links[-1]):
        assert operator.get(link).status_code == 200


def test_an_answer_has_its_sentence_chips_table_plot_and_query(operator: httpx.Client, fleet: Engine) -> None:
    page = ask(operator, "alerts per site").text
    assert "2 sites: lyon (2), brest (1)." in page
    assert '<span class="words">alerts</span>' in page
    assert '<ul class="bars"' in page
    assert re.search(r"<textarea[^>]*>SELECT site, count\(\*\) AS n", page)
    assert "<polyline" in edit(operator, "SELECT to_timestamp(range * 3600) AS hour, range AS n FROM range(5)").text


def test_assets_lead_to_their_pages(operator: httpx.Client, fleet: Engine) -> None:
    assert '<a href="/assets/gw-lyon-01/pump-2">pump-2</a>' in ask(operator, "which pumps alarmed?").text


def test_what_was_not_understood_is_marked_and_french_is_answered_in_french(operator: httpx.Client, fleet: Engine) -> None:
    assert "<mark>purple</mark>" in ask(operator, "purple pumps").text
    page = ask(operator, "combien d'alertes violettes ?").text
    assert "Pas compris, et laissé de côté" in page
    assert 'aria-labelledby="answer-title" lang="fr"' in page
    assert "<mark>violettes</mark>" in page


def test_an_edited_query_is_run_and_kept(operator: httpx.Client, fleet: Engine) -> None:
    sql = "SELECT site, count(*) AS n\r\nFROM devices GROUP BY site ORDER BY n DESC"
    page = edit(operator, sql).text
    assert "3 rows" in page
    assert "SELECT site, count(*) AS n\nFROM devices" in page
    assert 'value="alerts per site"' in page


@pytest.mark.parametrize("sql", ["DELETE FROM alerts", "SELECT * FROM users", "SELECT nothing FROM alerts", "", "x" * 9000])
def test_a_query_that_is_refused_says_why_and_stays_in_the_form(sql: str, operator: httpx.Client, fleet: Engine) -> None:
    response = edit(operator, sql)
    assert response.status_code == 400
    assert '<p class="refusal" role="alert">' in response.text
    assert not sql or f"{sql}</textarea>" in response.text


def test_another_site_cannot_run_a_query_in_somebody_s_name(operator: httpx.Client, fleet: Engine) -> None:
    assert edit(operator, "SELECT 1", origin="https://elsewhere.example").status_code == 401


def test_a_form_or_question_beyond_its_size_is_refused(operator: httpx.Client, fleet: Engine) -> None:
    assert edit(operator, "x" * 70_000).status_code == 413
    assert ask(operator, "x" * 501).status_code == 400


def test_nothing_that_is_asked_or_answered_becomes_markup(operator: httpx.Client, engine: Engine, now_ns: int) -> None:
    with engine.begin() as connection:
        add_device(connection, HOSTILE, HOSTILE, now_ns)
        add_asset(connection, HOSTILE, HOSTILE, HOSTILE, "alarm", 1e-7, now_ns)
        add_alert(connection, HOSTILE, HOSTILE, HOSTILE, now_ns, top=[[HOSTILE, 1.0]])
    pages = [ask(operator, HOSTILE), ask(operator, "which assets alarmed?"), ask(operator, f"alerts {HOSTILE} per site")]
    pages += [edit(operator, f"SELECT '{HOSTILE}' AS x, 1 AS n UNION SELECT 'b', 2"), edit(operator, HOSTILE)]
    for page in pages:
        assert "<script>alert" not in page.text
        assert "style=" not in page.text
        assert "'unsafe" not in page.headers["content-security-policy"]
    assert "&lt;script&gt;" in pages[1].text


def test_the_page_needs_no_script(operator: httpx.Client, fleet: Engine) -> None:
    assert "<script" not in ask(operator, "alerts per site").text
