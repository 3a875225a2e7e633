"""Bodies that are wrong before anybody looks at what they say."""

from collections.abc import Iterator

from tests.http.corpus.case import (
    MAX_BODY_BYTES,
    MIB,
    NOW_MS,
    Case,
    bomb,
    case,
    deflate,
    dump,
    nested,
    pack,
)

READINGS = "POST /v1/readings"
GOOD = dump({"sensor": "bad", "metric": "t", "ts": NOW_MS, "value": 1})
GZIP, DEFLATE, NDJSON = "content-encoding: gzip", "content-encoding: deflate", "content-type: application/x-ndjson"  # fmt: skip

BAD_JSON, BAD_BODY, EMPTY = (400, "bad_json"), (400, "bad_body"), (400, "empty_body")
BAD_ENCODING, TOO_LARGE = (400, "bad_encoding"), (413, "too_large")
UNSUPPORTED, ALL = (415, "unsupported_encoding"), (422, "all_rejected")


def syntax() -> Iterator[Case]:
    """What is no JSON, or none that could hold readings."""
    for name, body, to in [
        ("nothing", b"", BAD_JSON),
        ("blanks", b" \r\n\t ", BAD_JSON),
        ("empty list", b"[]", EMPTY),
        ("half a list", b"[{", BAD_JSON),
        ("half a text", b'[{"sensor":"s', BAD_JSON),
        ("comma at the end", b"[1,]", BAD_JSON),
        ("two documents", b"[1][2]", BAD_JSON),
        ("single quotes", b"[{'sensor':'s'}]", BAD_JSON),
        ("comment", b"[/* no */]", BAD_JSON),
        ("hexadecimal", b"[0x10]", BAD_JSON),
        ("leading zero", b"[01]", BAD_JSON),
        ("plus", b"[+1]", BAD_JSON),
        ("bare word", b"[true,maybe]", BAD_JSON),
        ("raw new line in a text", b'["a\nb"]', BAD_JSON),
        ("raw NUL in a text", b'["a\0b"]', BAD_JSON),
        ("unknown escape", rb'["\x41"]', BAD_JSON),
        ("half an escape", rb'["\u00', BAD_JSON),
        ("NaN", b"[NaN]", BAD_JSON),
        ("Infinity", b"[Infinity]", BAD_JSON),
        ("number", b"7", BAD_BODY),
        ("text", b'"readings"', BAD_BODY),
        ("null", b"null", BAD_BODY),
        ("true", b"true", BAD_BODY),
        ("every byte", bytes(range(256)), BAD_JSON),
        ("UTF-16", "[]".encode("utf-16"), BAD_JSON),
        ("UTF-32", "[1]".encode("utf-32-le"), BAD_JSON),
        ("mark of UTF-8", b"\xef\xbb\xbf[1]", BAD_JSON),
        ("broken UTF-8", b'[{"sensor":"\xff"}]', BAD_JSON),
        ("overlong UTF-8", b'["\xc0\xaf"]', BAD_JSON),
        ("surrogate in UTF-8", b'["\xed\xa0\x80"]', BAD_JSON),
        ("half a character", b'["\xf0\x9f\x92"]', BAD_JSON),
        ("form", b"sensor=s&metric=t&value=1", BAD_JSON),
        ("XML", b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><x>&e;</x>", BAD_JSON),
        ("pickle", b"cos\nsystem\n(S'true'\ntR.", BAD_JSON),
        ("MessagePack", b"\x84\xa6sensor\xa1s", BAD_JSON),
        ("HTML", b"<html><body>502 Bad Gateway</body></html>", BAD_JSON),
        ("200,000 brackets", b"[" * 200_000, BAD_JSON),
        ("200,000 objects", b'{"a":' * 200_000, BAD_JSON),
        ("50,000 brackets, closed", b"[" * 50_000 + b"]" * 50_000, BAD_JSON),
        ("33 levels", b"[" + nested(32).encode() + b"]", BAD_JSON),
        ("readings that are no list", b'{"readings":7}', BAD_BODY),
        ("readings within readings", b'{"readings":{"readings":[]}}', ALL),
    ]:  # fmt: skip
        yield case(f"readings: {name}", READINGS, body, to=to)


def sizes() -> Iterator[Case]:
    """Too much of it."""
    columns = '{"sensor":"bad","metric":"t","ts":%s,"value":%s}'
    many = (columns % ([*range(50_001)], [1] * 50_001)).replace(" ", "")
    yield case("size: 8 MiB and a byte", READINGS, b"[" * (MAX_BODY_BYTES + 1), to=TOO_LARGE)
    yield case("size: 50,001 readings in columns", READINGS, many, to=TOO_LARGE)
    yield case("size: 50,001 bad rows", READINGS, b"[" + b"1," * 50_000 + b"1]", to=TOO_LARGE)
    yield case("size: 50,000 bad rows", READINGS, b"[" + b"1," * 49_999 + b"1]", to=ALL)
    yield case("size: 50,001 lines", READINGS, b"{}\n" * 50_001, NDJSON, to=TOO_LARGE)
    yield case("size: a text of 4 MiB", READINGS, b'["' + b"x" * 4 * MIB + b'"]', to=ALL)
    yield case("size: a name of 1 MB", READINGS, GOOD.replace(b"bad", b"x" * 1_000_000), to=ALL)
    yield case("size: 100,000 fields", READINGS,
               b"[{" + b",".join(b'"f%d":1' % n for n in range(100_000)) + b"}]", to=ALL)  # fmt: skip


def encodings() -> Iterator[Case]:
    """What is not what its header says."""
    packed = pack(GOOD)
    for name, body, header, to in [
        ("gzip bomb of 1 GiB", bomb(), GZIP, TOO_LARGE),
        ("gzip bomb of one member", pack(b" " * (9 * MIB)), GZIP, TOO_LARGE),
        ("gzip of gzip", pack(packed), GZIP, BAD_JSON),
        ("gzip that is plain", GOOD, GZIP, BAD_ENCODING),
        ("gzip of nothing", b"", GZIP, BAD_ENCODING),
        ("gzip cut off", packed[:-9], GZIP, BAD_ENCODING),
        ("gzip with a wrong sum", packed[:-8] + b"\0\0\0\0" + packed[-4:], GZIP, BAD_ENCODING),
        ("gzip with a wrong length", packed[:-4] + b"\xff\xff\xff\xff", GZIP, BAD_ENCODING),
        ("gzip with bytes behind", packed + b"more", GZIP, BAD_ENCODING),
        ("gzip of 101 members", pack(b" ") * 101, GZIP, BAD_ENCODING),
        ("gzip with a name without end", b"\x1f\x8b\x08\x08" + b"\0" * 6 + b"n" * 100_000, GZIP, BAD_ENCODING),
        ("gzip of another method", b"\x1f\x8b\x07" + packed[3:], GZIP, BAD_ENCODING),
        ("deflate bomb", deflate(b" " * (9 * MIB)), DEFLATE, TOO_LARGE),
        ("deflate that is plain", GOOD, DEFLATE, BAD_ENCODING),
        ("deflate cut off", deflate(GOOD)[:-6], DEFLATE, BAD_ENCODING),
        ("deflate twice", deflate(GOOD) * 2, DEFLATE, BAD_ENCODING),
        ("plain that is gzip", packed, "content-encoding: identity", BAD_JSON),
        ("brotli", GOOD, "content-encoding: br", UNSUPPORTED),
        ("zstd", GOOD, "content-encoding: zstd", UNSUPPORTED),
        ("two encodings", pack(packed), "content-encoding: gzip, gzip", UNSUPPORTED),
        ("encoding of nonsense", GOOD, "content-encoding: \xff\xfe;q=1", UNSUPPORTED),
        ("encoding of 4,000 characters", GOOD, f"content-encoding: {'x' * 4_000}", UNSUPPORTED),
    ]:  # fmt: skip
        yield case(f"encoding: {name}", READINGS, body, header, to=to)


def lines() -> Iterator[Case]:
    """NDJSON: a bad line is one of many, here all of them are."""
    for name, body, to in [
        ("nothing", b"", EMPTY),
        ("new lines", b"\n\n\r\n", EMPTY),
        ("numbers", b"1\n2\n3", ALL),
        ("half an object", b'{"sensor":\n"s"}', ALL),
        ("broken UTF-8", b'{"sensor":"\xff"}\n', ALL),
        ("brackets", b"[" * 100_000 + b"\n", ALL),
        ("NaN", GOOD.replace(b":1}", b":NaN}"), ALL),
        ("1e400", GOOD.replace(b":1}", b":1e400}"), ALL),
        ("a list", b"[" + GOOD + b"]", ALL),
        ("NUL", b"\0\0\0\n", ALL),
        ("line separators of Unicode", GOOD + "\u2028".encode() + GOOD, ALL),
    ]:
        yield case(f"ndjson: {name}", READINGS, body, NDJSON, to=to)


CASES = (*syntax(), *sizes(), *encodings(), *lines())
