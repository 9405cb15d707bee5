"""Home Assistant's MQTT discovery as it documents it, as types: what may be there, what must be, which values mean something.

Sources: https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload, /integrations/sensor.mqtt/,
/integrations/binary_sensor.mqtt/, /integrations/binary_sensor/#device-class and
https://developers.home-assistant.io/docs/core/entity/sensor/#available-state-classes. A key that is not documented is
refused here; Home Assistant itself drops or refuses it, depending on where it stands.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

import msgspec
from jinja2 import Environment, StrictUndefined
from msgspec import Meta

Topic = Annotated[str, Meta(min_length=1, max_length=65535, pattern=r"^[^+#\0]+\Z")]  # what is published to has no wildcards
Text = Annotated[str, Meta(min_length=1)]
Icon = Annotated[str, Meta(pattern=r"^mdi:[a-z0-9-]+\Z")]
Url = Annotated[str, Meta(pattern=r"^(https?|homeassistant)://[^ ]+\Z")]
Qos = Literal[0, 1, 2]
Seconds = Annotated[int, Meta(ge=0)]
EntityCategory = Literal["diagnostic"]  # sensors are not for configuring
BinaryClass = Literal[
    "battery", "battery_charging", "carbon_monoxide", "cold", "connectivity", "door", "garage_door", "gas", "heat", "light",
    "lock", "moisture", "motion", "moving", "occupancy", "opening", "plug", "power", "presence", "problem", "running", "safety",
    "smoke", "sound", "tamper", "update", "vibration", "window",
]  # fmt: skip
StateClass = Literal["measurement", "measurement_angle", "total", "total_increasing"]

CONFIG_TOPIC: Final = re.compile(r"(?P<prefix>.+)/device/(?:[a-zA-Z0-9_-]+/)?(?P<object_id>[a-zA-Z0-9_-]+)/config")
UNKNOWN: Final = "None"  # a template that renders to this makes the state unknown
_TEMPLATES: Final = Environment(undefined=StrictUndefined, autoescape=False)  # it renders no HTML


class _Documented(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    pass


class Device(_Documented):
    """ "At least one of identifiers or connections must be present to identify the device.\""""

    identifiers: list[Text] = []
    connections: list[tuple[Text, Text]] = []
    name: Text | None = None
    manufacturer: Text | None = None
    model: Text | None = None
    model_id: Text | None = None
    hw_version: Text | None = None
    sw_version: Text | None = None
    serial_number: Text | None = None
    suggested_area: Text | None = None
    via_device: Text | None = None
    configuration_url: Url | None = None

    def __post_init__(self) -> None:
        if not self.identifiers and not self.connections:
            raise ValueError("identifiers or connections")


class Origin(_Documented):
    """Required for device discovery, with a name."""

    name: Text
    sw_version: Text | None = None
    support_url: Url | None = None


class Availability(_Documented):
    topic: Topic
    payload_available: str = "online"
    payload_not_available: str = "offline"
    value_template: str | None = None


class _Entity(_Documented):
    """What both platforms have. `unique_id` is what makes an entity one that can be configured, and is required of a
    component of a device."""

    unique_id: Text
    name: str | None = None
    availability: list[Availability] = []
    availability_mode: Literal["all", "any", "latest"] = "latest"
    availability_template: str | None = None
    availability_topic: Topic | None = None
    payload_available: str = "online"
    payload_not_available: str = "offline"
    default_entity_id: str | None = None
    enabled_by_default: bool = True
    encoding: str = "utf-8"
    entity_category: EntityCategory | None = None
    entity_picture: Url | None = None
    expire_after: Seconds | None = None
    force_update: bool = False
    icon: Icon | None = None
    json_attributes_template: str | None = None
    json_attributes_topic: Topic | None = None
    qos: Qos = 0
    state_topic: Topic | None = None
    value_template: str | None = None

    def __post_init__(self) -> None:
        if self.availability and self.availability_topic is not None:
            raise ValueError("availability or availability_topic, not both")


class Sensor(_Entity, tag_field="platform", tag="sensor"):
    device_class: str | None = None
    last_reset_value_template: str | None = None
    options: list[str] = []
    state_class: StateClass | None = None
    suggested_display_precision: Annotated[int, Meta(ge=0)] | None = None
    unit_of_measurement: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.options and (self.device_class != "enum" or self.state_class or self.unit_of_measurement):
            raise ValueError("options are for the device class enum, without state class and unit")
        if self.last_reset_value_template and self.state_class != "total":
            raise ValueError("last_reset_value_template is for the state class total")


class BinarySensor(_Entity, tag_field="platform", tag="binary_sensor"):
    device_class: BinaryClass | None = None
    off_delay: Seconds | None = None
    payload_on: str = "ON"
    payload_off: str = "OFF"


class Discovery(_Documented):
    """The payload of `<discovery_prefix>/device/<object_id>/config`."""

    device: Device
    origin: Origin
    components: Annotated[dict[str, Sensor | BinarySensor], Meta(min_length=1)]
    availability: list[Availability] = []
    availability_mode: Literal["all", "any", "latest"] = "latest"
    availability_template: str | None = None
    availability_topic: Topic | None = None
    payload_available: str = "online"
    payload_not_available: str = "offline"
    state_topic: Topic | None = None
    command_topic: Topic | None = None
    encoding: str = "utf-8"
    qos: Qos = 0

    def __post_init__(self) -> None:
        if self.availability and self.availability_topic is not None:
            raise ValueError("availability or availability_topic, not both")
        for name, component in self.components.items():
            if (component.state_topic or self.state_topic) is None:
                raise ValueError(f"{name}: a state topic, of its own or of the device")
        ids = [component.unique_id for component in self.components.values()]
        if len(ids) != len(set(ids)):
            raise ValueError("unique ids that are unique")


def read_discovery(topic: str, payload: bytes) -> Discovery:
    """Raises ValueError, msgspec.ValidationError where it is not as documented."""
    if CONFIG_TOPIC.fullmatch(topic) is None:
        raise ValueError(f"no topic of device discovery: {topic}")
    return msgspec.json.decode(payload, type=Discovery)


def shown_by(component: Sensor | BinarySensor, state: bytes) -> float | bool | None:
    """What Home Assistant makes of a message on the state topic; None: unknown. Raises ValueError where that is nothing."""
    value: Any = state.decode()
    if component.value_template is not None:
        value = _TEMPLATES.from_string(component.value_template).render(value_json=msgspec.json.decode(state), value=value)
    if value == UNKNOWN:
        return None
    if isinstance(component, Sensor):
        return float(value)  # a state class or a precision makes it a numeric sensor
    if value not in (component.payload_on, component.payload_off):
        raise ValueError(f"neither on nor off: {value!r}")
    return bool(value == component.payload_on)
