"""The careful road of line protocol: a line at a time, every fault named; and what lines of either
road are called here.

Escapes as InfluxDB has them: a backslash escapes a comma, a space, an equals sign, and within
quotes a quote or a backslash; before anything else it is itself.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import attrs

from atalaia.model.batch import MAX_TAG_CHARS, MAX_TAGS, SeriesName, Tags
from atalaia.wire.line_bytes import MOST_DIGITS
from atalaia.wire.options import WireOptions
from atalaia.wire.rows import NAME_FAULTS, RowFault, check_count, check_name
from atalaia.wire.times import check_range, scale

SENSOR_TAGS = ("sensor", "device", "device_id", "host", "id")
"""The first of these that a point has names its sensor."""

# Possessive, so that a body of one line neither takes long nor much memory.
_UNTIL_COMMA = rb"(?=[^, ])[^, \\]*+(?:\\[, ]?[^, \\]*+)*+"
_UNTIL_EQUALS = rb"(?=[^,= ])[^,= \\]*+(?:\\[,= ]?[^,= \\]*+)*+"
_KEY = re.compile(rb"(%b)((?:,%b=%b)*+)" % (_UNTIL_COMMA, _UNTIL_EQUALS, _UNTIL_EQUALS))
_TAG = re.compile(rb",(%b)=(%b)" % (_UNTIL_EQUALS, _UNTIL_EQUALS))
_NAME = re.compile(rb" *(%b)=" % _UNTIL_EQUALS)
_TEXT = re.compile(rb'"[^\\"]*+(?:\\.[^\\"]*+)*+"', re.DOTALL)
_WORD = re.compile(rb"[^, ]+")
_TIME = re.compile(rb" *(-?\d{1,19})? *\r?")
_FLOAT = re.compile(rb"[+-]?(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][+-]?\d++)?")
_WHOLE = re.compile(rb"[+-]?\d{1,19}i|\d{1,20}u")
_TRUE = {b"t", b"T", b"true", b"True", b"TRUE"}
_FALSE = {b"f", b"F", b"false", b"False", b"FALSE"}
_SHOWN = 60
_MOST_KEY_BYTES = 16 * 1024  # of InfluxDB's 65,535: more than 32 tags of a sensor need
_MOST_WHOLE = {True: (0, 2**64 - 1), False: (-(2**63), 2**63 - 1)}


class Point(NamedTuple):
    """One line. key: its measurement and tags; time: in ticks; texts: fields that are no number."""

    key: bytes
    fields: Sequence[tuple[bytes, float]]
    time: int | None
    texts: int


def parse_line(line: bytes, most: int) -> Point:
    """Raises RowFault (`bad_line`, `bad_value`, `bad_ts`), TooLarge for more fields than `most`."""
    key = _KEY.match(line)
    if key is None:
        raise _fault("the line has no measurement, or a tag without a key or a value", line)
    at = key.end()
    if line[at : at + 1] not in (b"", b" "):
        raise _fault("a tag has no key or no value", line[at:])
    fields: list[tuple[bytes, float]] = []
    texts = 0
    while True:
        name = _NAME.match(line, at)
        if name is None:
            raise _fault("a field is missing: add name=value", line[at:])
        at = name.end()
        if line[at : at + 1] == b'"':
            text = _TEXT.match(line, at)
            if text is None:
                raise _fault("quotes are not closed", line[at:])
            at, texts = text.end(), texts + 1
        else:
            word = _WORD.match(line, at)
            token = b"" if word is None else word[0].rstrip(b"\r")
            fields.append((name[1], _number(token)))
            at += len(token)
        check_count(len(fields) + texts, most)
        if line[at : at + 1] != b",":
            break
        at += 1
    time = _TIME.fullmatch(line, at)
    if time is None:
        raise RowFault("bad_ts", f"the time is no integer: {_show(line[at:])}")
    return Point(key[0], fields, None if time[1] is None else int(time[1]), texts)


def read_time(ticks: int | None, options: WireOptions) -> int:
    """Epoch µs. Raises RowFault (`bad_ts`)."""
    if ticks is None:
        if options.now_us is None:
            raise RowFault("bad_ts", "the line has no time")
        return options.now_us
    try:
        return check_range(scale(ticks, options.precision))
    except ValueError as error:
        raise RowFault("bad_ts", str(error)) from error


def _number(token: bytes) -> float:
    if token in _TRUE or token in _FALSE:
        return float(token in _TRUE)
    number = math.inf
    if len(token) > MOST_DIGITS:
        raise RowFault("bad_value", f"the number is too long: {_show(token)}")
    if _FLOAT.fullmatch(token):
        number = float(token)
    elif _WHOLE.fullmatch(token):
        whole = int(token[:-1])
        least, most = _MOST_WHOLE[token.endswith(b"u")]
        number = float(whole) if least <= whole <= most else math.inf
    else:
        raise RowFault("bad_value", f"no number, boolean or quoted text: {_show(token)}")
    if not math.isfinite(number):
        raise RowFault("bad_value", f"the number is too large: {_show(token)}")
    return number


def _fault(detail: str, where: bytes) -> RowFault:
    return RowFault("bad_line", f"{detail}: {_show(where)}")


def _show(text: bytes) -> str:
    return ascii(text[:_SHOWN].decode(errors="replace")) + ("…" if len(text) > _SHOWN else "")


@attrs.frozen
class Series:
    """place: of its name in the batch; key: of its measurement and tags, whatever their order."""

    place: int
    key: int


@attrs.frozen
class _Key:
    number: int
    sensor: str
    measurement: str
    suffix: str


@attrs.define(eq=False)
class Names:
    """Whose readings the lines of one body are, and what they are called here."""

    _options: WireOptions
    names: dict[SeriesName, int] = attrs.field(factory=dict)
    tags: dict[str, Tags] = attrs.field(factory=dict)
    """Those that all lines of a sensor agree on."""
    mixed: bool = False
    """Whether lines with different tags have readings of one series."""
    _keys: dict[bytes, _Key | tuple[str, str]] = attrs.field(factory=dict)
    _key_of: list[int] = attrs.field(factory=list)
    _numbers: dict[tuple[str, str, frozenset[tuple[str, str]]], int] = attrs.field(factory=dict)

    def find(self, key: bytes, field: bytes) -> Series:
        """Raises RowFault (`bad_line`, `missing_sensor`, `bad_sensor`, `bad_metric`)."""
        found = self._key(key)
        name = _text(field)
        metric = found.measurement if name == "value" else f"{found.measurement}_{name}"
        metric += found.suffix
        if (code := check_name(found.sensor, metric)) is not None:
            raise RowFault(code, f"{NAME_FAULTS[code]}, not {metric[:_SHOWN]!a}")
        place = self.names.setdefault(SeriesName(found.sensor, metric), len(self.names))
        if place == len(self._key_of):
            self._key_of.append(found.number)
        self.mixed |= self._key_of[place] != found.number
        return Series(place, found.number)

    def check(self, key: bytes) -> None:
        """Raises RowFault for whatever is wrong with a measurement and its tags."""
        self._key(key)

    def _key(self, text: bytes) -> _Key:
        found = self._keys.get(text)
        if found is None:
            try:
                found = self._read_key(text)
            except RowFault as fault:
                found = fault.code, fault.detail
            self._keys[text] = found
        if isinstance(found, tuple):
            raise RowFault(*found)
        return found

    def _read_key(self, text: bytes) -> _Key:
        if len(text) > _MOST_KEY_BYTES:
            most = f"{_MOST_KEY_BYTES:,} bytes of measurement and tags"
            raise _fault(f"a line may have {most}, this one has {len(text):,}", text)
        measurement, pairs = _split_key(text)
        tags = dict(pairs)
        if len(tags) < len(pairs):
            raise _fault("a tag is there twice", text)
        sensor, others = self._sensor(tags)
        if (code := check_name(sensor, "x")) is not None:
            raise RowFault(code, f"{NAME_FAULTS[code]}, not {sensor[:_SHOWN]!a}")
        suffix = "".join(f":{tags[tag]}" for tag in self._options.metric_tags if tag in tags)
        for tag in self._options.metric_tags:
            others.pop(tag, None)
        self._learn(sensor, others)
        same = (sensor, measurement, frozenset(pairs))
        number = self._numbers.setdefault(same, len(self._numbers))
        return _Key(number, sensor, measurement, suffix)

    def _sensor(self, tags: dict[str, str]) -> tuple[str, dict[str, str]]:
        """Its name, and the tags that do not name it."""
        if self._options.sensor is not None:
            return self._options.sensor, tags
        asked = self._options.sensor_tag
        candidates = SENSOR_TAGS if asked is None else (asked,)
        for tag in candidates:
            if tag in tags:
                return tags[tag], {name: value for name, value in tags.items() if name != tag}
        raise RowFault(
            "missing_sensor",
            f"the point has none of the tags {', '.join(candidates)}; add one, or name the tag "
            "that is the sensor with sensor_tag",
        )

    def _learn(self, sensor: str, tags: Mapping[str, str]) -> None:
        known = self.tags.get(sensor)
        if known is None:
            fitting = [pair for pair in tags.items() if _fits(*pair)]
            self.tags[sensor] = dict(fitting[:MAX_TAGS])
        else:
            shared = {name: value for name, value in known.items() if tags.get(name) == value}
            self.tags[sensor] = shared


def _split_key(text: bytes) -> tuple[str, list[tuple[str, str]]]:
    """The measurement and the tags, without their escapes. Raises RowFault (`bad_line`)."""
    if b"\\" not in text and text[:1] != b",":
        name, *tags = _plain(text).split(",")
        pairs = [(key, value) for key, _, value in (tag.partition("=") for tag in tags)]
        if not all(key and value and "=" not in value for key, value in pairs):
            raise _fault("a tag has no key or no value", text)
        return name, pairs
    match = _KEY.fullmatch(text)
    if match is None:
        raise _fault("a tag has no key or no value", text)
    measurement = _plain(match[1]).replace(r"\,", ",").replace(r"\ ", " ")
    return measurement, [(_text(tag[1]), _text(tag[2])) for tag in _TAG.finditer(match[2])]


def _fits(name: str, value: str) -> bool:
    """Whether a sensor can have such a tag."""
    return len(name) <= MAX_TAG_CHARS and len(value) <= MAX_TAG_CHARS and "\0" not in name + value


def _plain(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise _fault("the text is not UTF-8", text) from None


def _text(text: bytes) -> str:
    """Without its escapes."""
    plain = _plain(text)
    return plain.replace(r"\,", ",").replace(r"\=", "=").replace(r"\ ", " ")
