"""Readings that are no readings: each case is one bad row, in JSON and in the other wires."""

import json
from collections.abc import Iterator

from tests.http.corpus.bodies import ALL, BAD_BODY, BAD_JSON, EMPTY, GOOD, READINGS, TOO_LARGE
from tests.http.corpus.case import HOSTILE, MIB, NOW_MS, Case, bomb, case, nested, pack, target

HOUR_MS = 3_600_000
PARAMETER, INVALID = (400, "bad_parameter"), (400, "invalid")


def row(
    *, sensor: str = '"bad"', metric: str = '"t"', ts: str = str(NOW_MS), value: str = "1"
) -> bytes:
    """Each field is JSON text."""
    return f'[{{"sensor":{sensor},"metric":{metric},"ts":{ts},"value":{value}}}]'.encode(
        errors="surrogatepass"
    )


def values() -> Iterator[Case]:
    for name, text, to in [
        ("NaN", "NaN", BAD_JSON), ("Infinity", "-Infinity", BAD_JSON), ("1e400", "1e400", ALL),
        ("-1e400", "-1e400", ALL), ("5,000 digits", "9" * 5_000, ALL),
        ("5,000 digits after the point", "0." + "9" * 5_000 + "e999", ALL),
        ("exponent of 5,000 digits", "1e" + "9" * 5_000, ALL), ("2 to the 1024", str(2**1024), ALL),
        ("text", '"1"', ALL), ("text of NaN", '"NaN"', ALL), ("true", "true", ALL),
        ("null", "null", ALL), ("list", "[1]", ALL), ("empty list", "[]", ALL), ("object", "{}", ALL),
        ("100 objects deep", nested(100), BAD_JSON), ("bare minus", "-", BAD_JSON),
        ("hexadecimal", "0x1p3", BAD_JSON), ("comma as the point", "1,5", BAD_JSON),
        ("underscores", "1_000", BAD_JSON), ("other digits", "١٢٣", BAD_JSON),
    ]:  # fmt: skip
        yield case(f"value: {name}", READINGS, row(value=text), to=to)


def times() -> Iterator[Case]:
    for name, text in [
        ("in an hour", str(NOW_MS + HOUR_MS)), ("in 500 years", "16000000000000"),
        ("before 1970", "-1"), ("in seconds", str(NOW_MS // 1_000)), ("beyond int64", str(10**30)), ("5,000 digits", "1" * 5_000),
        ("least int64", str(-(2**63))), ("greatest int64", str(2**63 - 1)),
        ("greatest uint64", str(2**64 - 1)), ("fraction", f"{NOW_MS}.5"), ("exponent", "1e12"),
        ("true", "true"), ("null", "null"), ("object", "{}"), ("list", "[]"), ("nothing", '""'),
        ("word", '"now"'), ("number as text", f'"{NOW_MS}"'), ("no offset", '"2026-01-01T00:00:00"'),
        ("day alone", '"2026-01-01"'), ("30th of February", '"2026-02-30T00:00:00Z"'),
        ("hour 25", '"2026-01-01T25:00:00Z"'), ("second 61", '"2026-01-01T00:00:61Z"'),
        ("month 0", '"2026-00-01T00:00:00Z"'), ("year 0", '"0000-01-01T00:00:00Z"'),
        ("year 1 with an offset", '"0001-01-01T00:00:00+23:59"'),
        ("year 9999 with an offset", '"9999-12-31T23:59:59-23:59"'),
        ("year 12026", '"12026-01-01T00:00:00Z"'), ("offset of 99 hours", '"2026-01-01T00:00:00+99:00"'),
        ("week", '"2026-W01-1T00:00:00Z"'), ("other digits", '"２０２６-01-01T00:00:00Z"'),
        ("100,000 digits of a second", f'"2026-01-01T00:00:00.{"1" * 100_000}x"'),
        ("SQL", '"\'; SELECT 1; --"'),
    ]:  # fmt: skip
        yield case(f"ts: {name}", READINGS, row(ts=text), to=ALL)
    for precision, ts in [("s", str(NOW_MS)), ("ns", str(NOW_MS * 10**6 + 10**19)), ("us", str(10**18))]:  # fmt: skip
        line = f"{READINGS}?precision={precision}"
        yield case(f"ts: beyond, in {precision}", line, row(ts=ts), to=ALL)
    for precision in ("fortnight", "", "MS", "ms,ms", "%00", "ms%0d%0a"):
        line = f"{READINGS}?precision={precision}"
        yield case(f"precision: {precision!r}", line, row(), to=PARAMETER)
    yield case("bool: maybe", f"{READINGS}?bool=maybe", row(), to=PARAMETER)


def names() -> Iterator[Case]:
    for field in ("sensor", "metric"):
        for name, text in HOSTILE.items():
            if (field, name) == ("metric", "path"):  # it may have dots and slashes, and is no path
                continue
            body = row(**{field: json.dumps(text)})
            yield case(f"{field}: {name}", READINGS, body, to=ALL)
        for name, text in [
            ("number", "7"), ("null", "null"), ("list", '["s"]'), ("object", '{"$ne":null}'),
            ("nothing", '""'), ("129 characters", f'"{"x" * 129}"'), ("blank", '" "'),
            ("lone surrogate", r'"\ud800"'), ("swapped surrogates", r'"\udc00\ud800"'),
            ("new line behind", r'"s\n"'), ("other letters", '"ｓｅｎｓｏｒ"'),
        ]:  # fmt: skip
            to = BAD_JSON if "surrogate" in name else ALL
            yield case(f"{field}: {name}", READINGS, row(**{field: text}), to=to)


def shapes() -> Iterator[Case]:
    for name, body, to in [
        ("rows that are not", b'[1,null,"x",[],true]', ALL),
        ("nothing in it", b"[{}]", ALL),
        ("one field", b'[{"sensor":"bad"}]', ALL),
        ("columns of two lengths", b'{"sensor":"bad","metric":"t","ts":[1,2],"value":[1]}', ALL),
        ("a column and a value", b'{"sensor":"bad","metric":"t","ts":[1,2],"value":1}', ALL),
        ("columns of columns", b'{"sensor":"bad","metric":"t","ts":[[1]],"value":[[1]]}', ALL),
        ("names in columns", b'{"sensor":["a"],"metric":["t"],"ts":[1],"value":[1]}', ALL),
        ("other case", b'[{"Sensor":"bad","Metric":"t","TS":1,"Value":1}]', ALL),
        ("name twice, the last is bad", GOOD[:-1] + b',"sensor":7}', ALL),
        ("value twice, the last is bad", GOOD[:-1] + b',"value":null}', ALL),
        ("prototype", b'[{"__proto__":{"sensor":"bad"},"constructor":1}]', ALL),
    ]:
        yield case(f"row: {name}", READINGS, body, to=to)


def line_protocol() -> Iterator[Case]:
    for version, line in (("v2", "POST /api/v2/write"), ("v1", "POST /write")):
        for name, body in [
            ("nothing", b""), ("no field", b"m,host=bad"), ("no value", b"m,host=bad v="),
            ("NaN", b"m,host=bad v=NaN"), ("1e400", b"m,host=bad v=1e400"),
            ("5,000 digits", b"m,host=bad v=" + b"9" * 5_000 + b"i"),
            ("word", b"m,host=bad v=maybe"), ("quote without end", b'm,host=bad v="x'),
            ("time of 23 digits", b"m,host=bad v=1 99999999999999999999999"),
            ("time of nonsense", b"m,host=bad v=1 now"), ("broken UTF-8", b"m,host=\xc3\x28 v=1"),
            ("NUL", b"m,host=bad v=1\0"), ("NUL in a tag", b"m,host=b\0d v=1"), ("no sensor", b"m v=1"),
            ("bad sensor", "m,host=é v=1".encode()), ("SQL", b"m,host=';DROP\\ TABLE\\ x;-- v=1"),
            ("tag without value", b"m,host= v=1"), ("commas", b",,,,"), ("blanks before", b"m,host=bad  "),
            ("JSON", GOOD), ("bytes", bytes(range(256))), ("1 MB without a blank", b"m" * 1_000_000),
            ("in an hour", f"m,host=bad v=1 {(NOW_MS + HOUR_MS) * 10**6}".encode()),
        ]:  # fmt: skip
            yield case(f"line {version}: {name}", line, body, to=INVALID)
        large = (413, "request too large")
        yield case(f"line {version}: bomb", line, bomb(), "content-encoding: gzip", to=large)
        yield case(f"line {version}: 50,001 lines", line, b"m,host=bad v=1\n" * 50_001, to=large)
        packed = pack(b"m,host=bad v=1")[:-4]
        yield case(
            f"line {version}: gzip cut off", line, packed, "content-encoding: gzip", to=INVALID
        )
        yield case(f"line {version}: snappy", line, b"x", "content-encoding: snappy", to=INVALID)
        yield case(
            f"line {version}: precision",
            f"{line}?precision=fortnight",
            b"m,host=bad v=1",
            to=INVALID,
        )
        tags = ",".join(f"t{n}" for n in range(9))
        yield case(
            f"line {version}: nine tags",
            f"{line}?metric_tags={tags}",
            b"m,host=bad v=1",
            to=INVALID,
        )


def telemetry() -> Iterator[Case]:
    path = "POST /api/v1/{key}:bad/telemetry"
    for name, body, to in [
        ("nothing", b"", BAD_JSON), ("empty list", b"[]", EMPTY), ("number", b"7", BAD_BODY),
        ("list of numbers", b"[1]", BAD_BODY), ("half", b"{", BAD_JSON), ("NaN", b'{"t":NaN}', BAD_JSON),
        ("1e400", b'{"t":1e400}', ALL), ("hostile name", b'{"a b;--":1}', ALL),
        ("time of text", b'{"ts":"now","values":{"t":1}}', ALL),
        ("time below 0", b'{"ts":-1,"values":{"t":1}}', ALL),
        ("time beyond int64", b'{"ts":%d,"values":{"t":1}}' % 10**30, ALL),
        ("deep", b'{"t":' + nested(50_000).encode() + b"}", BAD_JSON),
        ("lone surrogate", rb'{"\ud800":1}', BAD_JSON),
        ("8 MiB", b"[" * (8 * MIB + 1), TOO_LARGE),
    ]:  # fmt: skip
        yield case(f"thingsboard: {name}", path, body, to=to, caller="nobody")
    bad = "POST /api/v1/%s/telemetry"
    stranger = (401, "unauthenticated")
    for name, token in [("word", "token"), ("SQL", target("' OR 1=1 --")), ("NUL", "%00"),
                        ("broken UTF-8", "%ff%fe"), ("4,000 characters", "x" * 4_000)]:  # fmt: skip
        yield case(f"thingsboard token: {name}", bad % token, b"{}", to=stranger, caller="nobody")
    for name, device in HOSTILE.items():
        line = f"{path}?device={target(device)}"
        yield case(f"thingsboard device: {name}", line, b'{"t":1}', to=ALL, caller="nobody")


CASES = (*values(), *times(), *names(), *shapes(), *line_protocol(), *telemetry())
