"""Topic templates: which topics to subscribe to, and what a topic says about whose value it carries.

    plant/{asset}/{channel}      the topic says both
    plant/{asset}                the payload names the channels
    site/+/{asset}/state         `+` is any one level

A placeholder or a `+` is a whole level. Two levels that are not names (see `contract.names`) match nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import msgspec

from agent.sources.config import TopicRule
from models.contract.names import Name
from models.errors import ConfigError

_PLACEHOLDERS = {"{asset}": "asset", "{channel}": "channel"}


@dataclass(frozen=True, slots=True)
class Place:
    """What is known of a value before its payload is read; None where the payload has to say it."""

    asset: str | None = None
    channel: str | None = None


@dataclass(frozen=True, slots=True)
class Template:
    """One template, compiled. `filter`: what the broker is asked for."""

    filter: str
    levels: tuple[str, ...]
    fixed: Place

    def match(self, topic: str) -> Place | None:
        """Whose value `topic` carries, None where it is not of this template."""
        parts = topic.split("/")
        if len(parts) != len(self.levels):
            return None
        found = {"asset": self.fixed.asset, "channel": self.fixed.channel}
        for level, part in zip(self.levels, parts, strict=True):
            if level in _PLACEHOLDERS:
                if not _is_name(part):
                    return None
                found[_PLACEHOLDERS[level]] = part
            elif level not in ("+", part):
                return None
        return Place(found["asset"], found["channel"])


class TopicMatcher:
    """Several templates; the first that matches decides. What it found for a topic is remembered, within bounds."""

    def __init__(self, templates: Sequence[Template]) -> None:
        self._templates = templates
        self._remembered = lru_cache(maxsize=4096)(self._match)

    @property
    def filters(self) -> list[str]:
        """Each once, in the order of the templates."""
        return list(dict.fromkeys(template.filter for template in self._templates))

    def match(self, topic: str) -> Place | None:
        """Whose value `topic` carries, None where no template matches."""
        return self._remembered(topic) if len(topic) <= 256 else self._match(topic)

    def _match(self, topic: str) -> Place | None:
        return next((place for t in self._templates if (place := t.match(topic)) is not None), None)


def compile_topics(rules: Sequence[str | TopicRule], where: str) -> TopicMatcher:
    """Raises ConfigError at `where: topics[i]` for a template that could never work."""
    return TopicMatcher([_compile(rule, f"{where}: topics[{i}]") for i, rule in enumerate(rules)])


def _compile(rule: str | TopicRule, where: str) -> Template:
    rule = rule if isinstance(rule, TopicRule) else TopicRule(topic=rule)
    levels = tuple(rule.topic.split("/"))
    if not rule.topic or len(rule.topic.encode()) > 1000 or "\0" in rule.topic:
        raise ConfigError(where, "a topic of 1 to 1000 bytes, such as 'plant/{asset}/{channel}'")
    if rule.topic.startswith("$"):
        raise ConfigError(where, f"a topic of values; {levels[0]!r} belongs to the broker")
    for level in levels:
        if level not in _PLACEHOLDERS and level != "+" and re.search(r"[{}+#]", level):
            raise ConfigError(
                where, f"{level!r}: a level is plain text, '+', '{{asset}}' or '{{channel}}', and '#' is not supported"
            )
    for placeholder, key in _PLACEHOLDERS.items():
        if levels.count(placeholder) + (getattr(rule, key) is not None) > 1:
            raise ConfigError(where, f"{key} said once, by {placeholder} or by the key {key}")
    return Template(
        "/".join("+" if level in _PLACEHOLDERS else level for level in levels), levels, Place(rule.asset, rule.channel)
    )


def _is_name(text: str) -> bool:
    try:
        msgspec.convert(text, type=Name)
    except msgspec.ValidationError:
        return False
    return True
