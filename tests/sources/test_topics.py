"""Topic templates."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sources.config import TopicRule
from agent.sources.topics import Place, compile_topics
from models.errors import ConfigError


def match(template: str | TopicRule, topic: str) -> Place | None:
    return compile_topics([template], "source plant").match(topic)


def test_a_template_asks_for_a_filter_and_reads_names_from_topics() -> None:
    matcher = compile_topics(["plant/{asset}/{channel}", "plant/{asset}", "x/+/{asset}"], "source plant")
    assert matcher.filters == ["plant/+/+", "plant/+", "x/+/+"]
    assert matcher.match("plant/pump-1/flow") == Place("pump-1", "flow")
    assert matcher.match("plant/pump-1") == Place("pump-1", None)
    assert matcher.match("x/anything at all/pump-1") == Place("pump-1", None)


@pytest.mark.parametrize(
    "topic", ["plant", "plant/pump-1/flow/x", "factory/pump-1/flow", "plant//flow", "plant/a b/flow", "plant/-a/flow"]
)
def test_other_topics_and_what_is_no_name_match_nothing(topic: str) -> None:
    assert match("plant/{asset}/{channel}", topic) is None


def test_a_fixed_topic_may_say_whose_it_is() -> None:
    assert match(TopicRule(topic="boiler/t1", asset="boiler", channel="t"), "boiler/t1") == Place("boiler", "t")
    assert match(TopicRule(topic="{asset}/t1", channel="t"), "boiler/t1") == Place("boiler", "t")


def test_the_first_template_that_matches_decides() -> None:
    matcher = compile_topics([TopicRule(topic="a/b", asset="first"), "a/{asset}"], "source plant")
    assert matcher.match("a/b") == Place("first")
    assert matcher.match("a/c") == Place("c")


def test_two_templates_of_one_filter_subscribe_once() -> None:
    assert compile_topics(["a/{asset}", "a/{channel}"], "s").filters == ["a/+"]


@pytest.mark.parametrize(
    "template",
    [
        "",
        "plant/#",
        "plant/{machine}",
        "plant/{asset}-{channel}",
        "plant/pump+",
        "plant/{asset}/{asset}",
        "$SYS/{asset}",
        "$share/g/plant/{asset}",
        "a\0b",
        "x" * 1001,
        TopicRule(topic="{asset}/t", asset="boiler"),
        TopicRule(topic="{channel}/t", channel="t"),
    ],
)
def test_a_template_that_could_never_work_is_refused_by_its_place(template: str | TopicRule) -> None:
    with pytest.raises(ConfigError) as error:
        compile_topics(["fine/{asset}", template], "source plant")
    assert error.value.where == "source plant: topics[1]"


@given(st.text(max_size=2000))
def test_any_topic_matches_or_does_not(topic: str) -> None:
    place = match("{asset}/{channel}", topic)
    assert place is None or topic == f"{place.asset}/{place.channel}"
