"""WebSockets: handshakes that are refused, and messages that are none."""

from collections.abc import Iterator

import attrs

from tests.http.corpus.bodies import GOOD
from tests.http.corpus.case import HOSTILE, NOW_MS, Case, case, dump, nested, pack

UPGRADE = (
    "connection: Upgrade", "upgrade: websocket", "sec-websocket-version: 13",
    "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
)  # fmt: skip
PATH = "GET /v1/ingest"
PARAMETER, STRANGER = (400, "bad_parameter"), (401, "unauthenticated")
FOREIGN = (403, "foreign_origin")


@attrs.frozen
class Message:
    """status, code: of its answer; 0 and the code with which the socket is closed."""

    name: str
    sent: bytes
    status: int
    code: str


def handshakes() -> Iterator[Case]:
    for name, query in [("format", "?format=xml"), ("precision", "?precision=fortnight"), ("bool", "?bool=maybe"),
                        ("format of NUL", "?format=%00"), ("format of a line", "?format=json%0d%0a")]:  # fmt: skip
        yield case(f"handshake: {name}", PATH + query, b"", *UPGRADE, to=PARAMETER)
    protocol = "sec-websocket-protocol: mqtt"
    yield case("handshake: another protocol", PATH, b"", *UPGRADE, protocol, to=PARAMETER)
    for name, key in [("no key", ""), ("nobody's", f"atl_{'0' * 16}_{'0' * 64}"), ("word", "key"), ("odd bytes", "\xff\xfe")]:  # fmt: skip
        header = f"x-api-key: {key}"
        yield case(f"handshake: {name}", PATH, b"", *UPGRADE, header, to=STRANGER, caller="nobody")
    for name, text in [("empty", ""), ("word", "x"), ("NUL", "%00"), ("odd bytes", "%ff%fe"), ("long", "a" * 8_000),
                       ("nobody's", f"att_{'0' * 64}"), ("nobody's and another", f"x&ticket=att_{'0' * 64}")]:  # fmt: skip
        for caller in (
            "nobody",
            "key",
        ):  # who has a key is not asked for it: the ticket alone counts
            told, query = f"ticket: {name} of {caller}", f"?ticket={text}"
            yield case(
                f"handshake: {told}", PATH + query, b"", *UPGRADE, to=STRANGER, caller=caller
            )
            yield case(f"stream: {told}", f"GET /v1/stream{query}", to=STRANGER, caller=caller)
    for name, origin in [("others", "https://evil.example"), ("nobody", "null"), ("odd bytes", "\xff"), ("no host", "https://")]:  # fmt: skip
        yield case(
            f"handshake: page of {name}", PATH, b"", *UPGRADE, f"origin: {origin}", to=FOREIGN
        )
    yield case("no handshake", PATH, to=(404, "not_found"))


def messages() -> Iterator[Message]:
    def body(name: str, sent: bytes, status: int, code: str) -> Message:
        return Message(name, b"id\n" + sent, status, code)

    for name, sent, status, code in [
        ("nothing", b"", 400, "bad_json"), ("half", b"[{", 400, "bad_json"), ("number", b"7", 400, "bad_body"),
        ("bad row", b"[1]", 422, "all_rejected"), ("NaN", b"[NaN]", 400, "bad_json"), ("deep", b"[" * 100_000, 400, "bad_json"),
        ("1e400", GOOD.replace(b":1}", b":1e400}"), 422, "all_rejected"), ("broken UTF-8", b'["\xff"]', 400, "bad_json"),
        ("gzip", pack(GOOD), 400, "bad_json"), ("nested value", b'[{"value":' + nested(40).encode() + b"}]", 400, "bad_json"),
        ("in an hour", GOOD.replace(str(NOW_MS).encode(), str(NOW_MS + 3_600_000).encode()), 422, "all_rejected"),
        ("50,001 rows", b"[" + b"1," * 50_000 + b"1]", 413, "too_large"),
    ]:  # fmt: skip
        yield body(name, sent, status, code)
    for name, text in HOSTILE.items():
        row = dump({"sensor": text, "metric": "t", "ts": NOW_MS, "value": 1})
        yield body(f"sensor: {name}", row, 422, "all_rejected")
    for name, sent in [
        ("no id", b"[]"), ("empty id", b"\n[]"), ("id of 65", b"x" * 65 + b"\n[]"), ("blank in the id", b"a b\n[]"),
        ("NUL in the id", b"a\0\n[]"), ("other letters in the id", "é\n[]".encode()), ("bytes", b"\xff\xfe\xfd"), ("nothing at all", b""),
    ]:  # fmt: skip
        yield Message(f"message: {name}", sent, 0, "4400")
    yield Message("message: more than 1 MiB", b"id\n" + b"x" * (1024 * 1024 + 1), 0, "1009")


CASES = tuple(handshakes())
MESSAGES = tuple(messages())
