"""Schemas of the bodies that are read as attrs classes, derived from these very classes."""

import types
from collections.abc import Mapping
from typing import Any, Union, get_args, get_origin, get_type_hints

import attrs

from atalaia.http import bodies
from atalaia.http.openapi.operation import DURATION, Of, Schema
from atalaia.http.openapi.parameters import TIME
from atalaia.model.batch import MAX_TAG_CHARS, MAX_TAGS
from atalaia.model.views import Location
from atalaia.rules.units import MAX_UNIT_CHARS

TAGS: Schema = {
    "type": "object",
    "maxProperties": MAX_TAGS,
    "propertyNames": {"minLength": 1, "maxLength": MAX_TAG_CHARS},
    "additionalProperties": {"type": "string", "maxLength": MAX_TAG_CHARS},
}
LOCATION: Schema = {
    "type": "object",
    "properties": {
        "latitude": {"type": "number", "minimum": -bodies.MAX_LATITUDE, "maximum": 90},
        "longitude": {"type": "number", "minimum": -bodies.MAX_LONGITUDE, "maximum": 180},
    },
    "required": ["latitude", "longitude"],
    "additionalProperties": False,
}
_SCHEMAS: Mapping[Any, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
    bodies.Tags: TAGS,
    bodies.Lateness: {"type": "string", "pattern": DURATION},
    bodies.Interval: {"type": "string", "pattern": DURATION},
    bodies.TimeText: TIME,
    bodies.PlaceText: {"type": "string", "minLength": 1, "maxLength": bodies.MAX_PLACE_CHARS},
    bodies.UnitText: {"type": "string", "minLength": 1, "maxLength": MAX_UNIT_CHARS},
    Location: LOCATION,
    bodies.SweepBody: {
        "type": "object",
        "properties": {
            "for": {"type": "array", "items": {"type": "string", "pattern": DURATION}},
            "threshold": {"type": "array", "items": {"type": "number"}},
        },
        "additionalProperties": False,
    },
}
"""What `bodies` makes each kind of value of."""


def schema(of: Of) -> Schema:
    """An object with the fields of the class, none beside them. Every field is told of, and no
    other: else AssertionError.
    """
    hints = get_type_hints(of.kind)
    fields = {bodies.SHOWN.get(one.name, one.name): one for one in attrs.fields(of.kind)}
    if untold := set(fields) ^ set(of.told):
        raise AssertionError(f"{of.kind.__name__}: {', '.join(sorted(untold))}")
    return {
        "title": of.kind.__name__,
        "type": "object",
        "properties": {
            name: {**of_type(hints[one.name]), **of.told[name]} for name, one in fields.items()
        },
        "required": [name for name, one in fields.items() if one.default is attrs.NOTHING],
        "additionalProperties": False,
    } | of.whole


def of_type(kind: Any) -> Schema:
    """The schema of what is sent for a field of this type."""
    if kind in _SCHEMAS:
        return _SCHEMAS[kind]
    if get_origin(kind) in (Union, types.UnionType):
        return {"anyOf": [of_type(one) for one in get_args(kind)]}
    if get_origin(kind) is list:
        return {"type": "array", "items": of_type(get_args(kind)[0])}
    raise AssertionError(f"nothing is said of bodies with {kind}")
