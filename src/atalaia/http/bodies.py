"""Bodies of management requests: attrs classes, every problem at once, no coercion."""

import math
import re
from collections.abc import Mapping, Set
from typing import Any, NewType, TypeVar

import attrs
import cattrs
import trio
from cattrs.gen import make_dict_structure_fn, override
from cattrs.v import format_exception, transform_error
from quart import request

from atalaia.http.bounded_json import AT_ONCE_BYTES, decode
from atalaia.model.batch import MAX_TAG_CHARS, MAX_TAGS
from atalaia.model.errors import FieldProblem, Invalid
from atalaia.model.ids import DAY_US
from atalaia.model.views import MAX_INTERVAL_US, Location
from atalaia.rules.syntax import parse_duration
from atalaia.rules.units import MAX_UNIT_CHARS

T = TypeVar("T")

MAX_ITEMS = 10_000  # of a list

MAX_LATITUDE, MAX_LONGITUDE = 90, 180
MAX_FAULT_CHARS = 200  # a fault repeats what was sent

Tags = NewType("Tags", dict[str, str])


UnitText = NewType("UnitText", str)


@attrs.frozen
class RuleBody:
    """`{"text": "rule ..."}`: one rule in the rule language."""

    text: str


TimeText = NewType("TimeText", str)
"""RFC 3339, or epoch milliseconds as text or number: what `params.time` reads."""


@attrs.frozen
class SweepBody:
    """What to try: durations of `for`, and numbers that `when` compares with."""

    holds: list[str] = attrs.field(factory=list)
    threshold: list[float] = attrs.field(factory=list)


@attrs.frozen
class BacktestBody:
    """`{"text": "rule ...", "rule_id": ..., "from": ..., "to": ..., "order": "event",
    "sweep": {"for": ["1m"], "threshold": [30]}}`, all but one of the first two optional.
    """

    text: str | None = None
    rule_id: str | None = None
    since: TimeText | None = None
    until: TimeText | None = None
    order: str = "event"
    sweep: SweepBody = SweepBody()


@attrs.frozen
class QueryBody:
    """`{"sensors": ["a"], "selector": "...", "metrics": ["t"], "from": ..., "to": ...,
    "bucket": "5m", "agg": ["avg"], "fill": "none", "tz": "UTC", "points": 500}`, all optional but
    one of bucket and points.
    """

    sensors: list[str] | None = None
    selector: str | None = None
    metrics: list[str] | None = None
    since: TimeText | None = None
    until: TimeText | None = None
    bucket: str | None = None
    agg: list[str] | None = None
    fill: str | None = None
    tz: str | None = None
    points: int | None = None


@attrs.frozen
class TagsBody:
    """`{"tags": {"type": "boiler"}}`: replaces all tags."""

    tags: Tags


Lateness = NewType("Lateness", int)
"""µs; sent as a duration of the rule language."""

MAX_LATENESS_US = DAY_US
MAX_PLACE_CHARS = 256


@attrs.frozen
class SettingsBody:
    """`{"lateness": "30s"}`: what to change for all sensors that have no lateness of their own."""

    lateness: Lateness


Interval = NewType("Interval", int)
"""µs from one reading to the next; sent as a duration of the rule language."""


@attrs.frozen
class CheckBody:
    """`{"text": "rule ...", "interval": "10s"}`: rules, and how often their metrics are read."""

    text: str
    interval: Interval | None = None


PlaceText = NewType("PlaceText", str)


@attrs.frozen
class RetentionBody:
    """`{"days": 30}`: how long readings are kept; null: as long as the service keeps them."""

    days: int | None


@attrs.frozen
class SensorBody:
    """`{"lateness": "30s", "expected_interval": "10s", "place": "boiler house",
    "location": {"latitude": -23.5, "longitude": -46.6}}`: what to change of a sensor; null takes it
    away.
    """

    lateness: Lateness | None = None
    expected_interval: Interval | None = None
    place: PlaceText | None = None
    location: Location | None = None


@attrs.frozen
class NewSensorBody(SensorBody):
    """The same with a name and tags: a sensor that is to be there before its first reading."""

    name: str = attrs.field(kw_only=True)
    tags: Tags = attrs.field(factory=lambda: Tags({}), kw_only=True)


@attrs.frozen
class ProfileBody:
    """`{"description": "...", "expected_interval": "10s", "rules": "rule ..."}`."""

    description: str = ""
    expected_interval: Interval | None = None
    rules: str = ""


@attrs.frozen
class UnitBody:
    """`{"unit": "°C"}`: what a metric is measured in."""

    unit: UnitText


class _Fault(ValueError):
    """A value that is refused, with what to do instead."""


_converter = cattrs.Converter(forbid_extra_keys=True)


def _strict_text(value: Any, _: Any) -> str:
    if not isinstance(value, str):
        raise _Fault("expected text")
    return value


def check_tags(tags: dict[str, str]) -> None:
    """Raises ValueError for tags that a sensor may not have."""
    if len(tags) > MAX_TAGS:
        raise _Fault(f"a sensor may have {MAX_TAGS} tags")
    for name, value in tags.items():
        if not 0 < len(name) <= MAX_TAG_CHARS or len(value) > MAX_TAG_CHARS:
            raise _Fault(
                f"names of tags have 1 to {MAX_TAG_CHARS} characters, values up to {MAX_TAG_CHARS}"
            )
        if "\0" in name + value:
            raise _Fault("tags may not hold a NUL character")


def _strict_tags(tags: Any, _: Any) -> Tags:
    if not isinstance(tags, dict):
        raise _Fault("expected an object of texts")
    if not all(isinstance(value, str) for value in tags.values()):
        raise _Fault("the value of a tag must be text")
    check_tags(tags)
    return Tags(tags)


def _duration(value: Any) -> int:
    if not isinstance(value, str):
        raise _Fault('expected a duration such as "30s"')
    try:
        return parse_duration(value)
    except Invalid as error:
        raise _Fault(error.detail) from error


def _check_lateness(value: Any, _: Any) -> Lateness:
    lateness_us = _duration(value)
    if lateness_us > MAX_LATENESS_US:
        raise _Fault("a lateness is 0s to 24h")
    return Lateness(lateness_us)


def _check_interval(value: Any, _: Any) -> Interval:
    interval_us = _duration(value)
    if not 0 < interval_us <= MAX_INTERVAL_US:
        raise _Fault("an interval is more than 0s and at most 366d")
    return Interval(interval_us)


def _check_place(value: Any, _: Any) -> PlaceText:
    if not isinstance(value, str):
        raise _Fault("expected text")
    if not 0 < len(value) <= MAX_PLACE_CHARS or "\0" in value:
        raise _Fault(f"a place has 1 to {MAX_PLACE_CHARS} characters, and no NUL")
    return PlaceText(value)


def _check_location(value: Any, _: Any) -> Location:
    if not isinstance(value, dict) or set(value) != {"latitude", "longitude"}:
        raise _Fault("expected an object with latitude and longitude")
    latitude, longitude = (_strict_number(value[k], float) for k in ("latitude", "longitude"))
    if abs(latitude) > MAX_LATITUDE or abs(longitude) > MAX_LONGITUDE:
        raise _Fault("a latitude is -90 to 90 degrees, a longitude -180 to 180")
    return Location(latitude, longitude)


def _check_unit(unit: Any, _: Any) -> UnitText:
    if not isinstance(unit, str):
        raise _Fault("expected text")
    if not 0 < len(unit) <= MAX_UNIT_CHARS or not unit.isprintable() or '"' in unit:
        raise _Fault(f"a unit has 1 to {MAX_UNIT_CHARS} printable characters without quotes")
    if unit.strip() != unit:
        raise _Fault("a unit neither begins nor ends with a space")
    return UnitText(unit)


def _strict_number(value: Any, _: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _Fault("expected a number")
    try:
        number = float(value)
    except OverflowError as error:
        raise _Fault("expected a number that a double holds") from error
    if not math.isfinite(number):
        raise _Fault("expected a number")
    return number


def _strict_count(value: Any, _: Any) -> int:
    """30.0 is whole: some languages write no other numbers, and JSON Schema has it so."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _Fault("expected a whole number")
    return value


def _strict_bool(value: Any, _: Any) -> bool:
    if not isinstance(value, bool):
        raise _Fault("expected true or false")
    return value


def _strict_list(value: Any, kind: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _Fault("expected a list")
    if len(value) > MAX_ITEMS:
        raise _Fault(f"a list may have {MAX_ITEMS} items")
    return [_converter.structure(item, kind.__args__[0]) for item in value]


def _time_text(value: Any, _: Any) -> TimeText:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise _Fault("expected a time")
    return TimeText(str(value))


_converter.register_structure_hook(str, _strict_text)
_converter.register_structure_hook(float, _strict_number)
_converter.register_structure_hook(int, _strict_count)
_converter.register_structure_hook(bool, _strict_bool)
_converter.register_structure_hook(TimeText, _time_text)
_converter.register_structure_hook_func(lambda kind: kind in (list[str], list[float]), _strict_list)
OF_TAGS = {"group", "profile", "tags"}
ELSEWHERE: Mapping[type[Any], str] = {
    SensorBody: "tags, such as group and profile, are set by PUT /v1/sensors/{sensor}/tags",
    NewSensorBody: "group and profile are tags",
}
"""Where fields of OF_TAGS go that are not in these."""
SHOWN = {"since": "from", "until": "to", "holds": "for"}
"""Names in bodies that are words of Python's."""

_make_sweep = make_dict_structure_fn(
    SweepBody, _converter, _cattrs_forbid_extra_keys=True, holds=override(rename="for")
)


def _strict_sweep(value: Any, kind: type[SweepBody]) -> SweepBody:
    if not isinstance(value, dict):
        raise _Fault("expected an object")
    return _make_sweep(value, kind)


_converter.register_structure_hook(SweepBody, _strict_sweep)
for _ranged in (BacktestBody, QueryBody):
    _converter.register_structure_hook(
        _ranged,
        make_dict_structure_fn(
            _ranged,
            _converter,
            _cattrs_forbid_extra_keys=True,
            since=override(rename="from"),
            until=override(rename="to"),
        ),
    )
_converter.register_structure_hook(Tags, _strict_tags)
_converter.register_structure_hook(Lateness, _check_lateness)
_converter.register_structure_hook(Interval, _check_interval)
_converter.register_structure_hook(PlaceText, _check_place)
_converter.register_structure_hook(Location, _check_location)
_converter.register_structure_hook(UnitText, _check_unit)


_ONE_AT_A_TIME = trio.CapacityLimiter(1)


async def read_body(kind: type[T]) -> T:
    """The request's JSON body as `kind`. Raises Invalid naming every problem."""
    return _structure(await _read_object(), kind)


async def read_changes(kind: type[T]) -> tuple[T, frozenset[str]]:
    """The same, and which fields were sent: the others are to stay. Raises Invalid for none."""
    raw = await _read_object()
    if not raw:
        nothing = FieldProblem("$", "expected a field to change")
        raise Invalid("The body changes nothing.", code="bad_body", problems=[nothing])
    return _structure(raw, kind), frozenset(raw)


async def _read_object() -> dict[str, Any]:
    data: Any = await request.get_data()  # bytes, which its type does not say
    if len(data) <= AT_ONCE_BYTES:
        raw = decode(data)
    else:
        raw = await trio.to_thread.run_sync(decode, data, limiter=_ONE_AT_A_TIME)
    if not isinstance(raw, dict):
        raise Invalid("The body must be a JSON object.", code="bad_body")
    return raw


def _structure(raw: dict[str, Any], kind: type[T]) -> T:
    try:
        return _converter.structure(raw, kind)
    except cattrs.BaseValidationError as error:
        problems = [
            FieldProblem(*_split(text)) for text in transform_error(error, format_exception=_say)
        ]
        raise Invalid(
            "The body has " + "; ".join(f"{p.where}: {p.detail}" for p in problems),
            code="bad_body",
            problems=problems,
        ) from error


def _say(error: BaseException, kind: type | None) -> str:
    if isinstance(error, cattrs.ForbiddenExtraKeysError):
        return _say_fields(error.extra_fields, error.cl)
    return _shortened(str(error) if isinstance(error, _Fault) else format_exception(error, kind))


def _say_fields(extra: Set[str], kind: type[Any]) -> str:
    """Which are too many, those that there are, and where what is meant may go."""
    known = ", ".join(SHOWN.get(field.name, field.name) for field in attrs.fields(kind))
    there = f"extra fields found ({_shortened(', '.join(sorted(extra)))}); there are: {known}"
    return f"{there}; {ELSEWHERE[kind]}" if kind in ELSEWHERE and extra & OF_TAGS else there


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_FAULT_CHARS else text[:MAX_FAULT_CHARS] + "…"


def _split(text: str) -> tuple[str, str]:
    """cattrs says "what @ $.path"."""
    detail, _, where = text.rpartition(" @ ")
    where = re.sub(r"\w+", lambda name: SHOWN.get(name[0], name[0]), where)
    return where or "$", detail or text
