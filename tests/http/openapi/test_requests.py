"""Schemas of bodies follow the classes that are read."""

import attrs
import pytest

from atalaia.http.bodies import Interval, NewSensorBody, SensorBody
from atalaia.http.openapi.operation import Of
from atalaia.http.openapi.requests import schema


@attrs.frozen
class Body:
    name: str
    every: Interval | None = None
    days: list[int] = attrs.field(factory=list)


def test_a_class_is_told_as_it_is_read() -> None:
    """Names, types, what may be left out, and nothing beside it."""
    told = schema(Of(Body, {"name": {"maxLength": 3}, "every": {}, "days": {}}))
    assert told["required"] == ["name"]
    assert told["additionalProperties"] is False
    assert told["properties"] == {
        "name": {"type": "string", "maxLength": 3},
        "every": {
            "anyOf": [
                {"type": "string", "pattern": "^([0-9]{1,9}(ms|s|m|h|d))+$"},
                {"type": "null"},
            ]
        },
        "days": {"type": "array", "items": {"type": "integer"}},
    }


@pytest.mark.parametrize(
    "told", [{"name": {}}, {"name": {}, "every": {}, "days": {}, "hours": {}}], ids=["less", "more"]
)
def test_every_field_is_told_of_and_no_other(told: dict[str, dict[str, str]]) -> None:
    """Whoever adds a field is asked what it is."""
    with pytest.raises(AssertionError, match=r"Body: (days, every|hours)"):
        schema(Of(Body, told))


def test_a_type_that_nobody_knows_is_not_guessed() -> None:
    """It would be told wrongly."""
    with pytest.raises(AssertionError, match="nothing is said of bodies"):
        schema(Of(attrs.make_class("Odd", {"what": attrs.field(type=bytes)}), {"what": {}}))


def test_what_is_inherited_is_told_too() -> None:
    """A new sensor has what a sensor has."""
    fields = {one.name for one in attrs.fields(SensorBody)}
    told = schema(Of(NewSensorBody, {one.name: {} for one in attrs.fields(NewSensorBody)}))
    assert fields < set(told["properties"])
    assert told["required"] == ["name"]
