"""Credentials that are none, headers of odd bytes, and what is no HTTP."""

import base64
import re
from collections.abc import Iterator

from atalaia.http.access import ROUTES
from tests.http.corpus.bodies import GOOD
from tests.http.corpus.case import Case, case, dump, nested

STRANGER = (401, "unauthenticated")
ME = "GET /v1/me"


def _b64(text: str | bytes) -> str:
    raw = text.encode() if isinstance(text, str) else text
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


NONE = f"{_b64(dump({'alg': 'none', 'typ': 'at+jwt'}))}.{_b64(dump({'sub': 'admin'}))}."


def credentials() -> Iterator[Case]:
    for name, header in [
        ("none at all", "x-nothing: 1"), ("empty key", "x-api-key: "), ("word", "x-api-key: key"), ("half a key", "x-api-key: atl_0_0"),
        ("nobody's key", f"x-api-key: atl_{'0' * 16}_{'0' * 64}"), ("upper case", f"x-api-key: ATL_{'0' * 16}_{'0' * 64}"), ("4,000 characters", f"x-api-key: atl_{'k' * 4_000}"),
        ("odd bytes", "x-api-key: \xff\xfe"), ("other digits", f"x-api-key: atl_{chr(0xB2) * 16}_{'0' * 64}"), ("SQL", "x-api-key: ' OR 1=1 --"), ("two with a comma", "x-api-key: a, b"),
        ("no scheme", "authorization: x"), ("bearer of nothing", "authorization: Bearer"), ("basic", "authorization: Basic YTpi"), ("digest", 'authorization: Digest username="a"'),
        ("negotiate", "authorization: Negotiate YII="), ("bearer of dots", "authorization: Bearer .."), ("bearer of 8,000", f"authorization: Bearer {'x' * 8_000}"),
        ("alg of none", f"authorization: Bearer {NONE}"), ("no signature", f"authorization: Bearer {NONE}x"), ("deep header", f"authorization: Bearer {_b64(nested(900))}.e30.x"),
        ("odd bytes as bearer", "authorization: Bearer \xff\xfe"), ("refresh token", f"authorization: Bearer atr_{'0' * 64}"), ("cookie", "cookie: session=admin; token=x"),
        ("forwarded", "x-forwarded-user: admin"), ("original URL", "x-original-url: /health"), ("method override", "x-http-method-override: GET"),
    ]:  # fmt: skip
        yield case(f"credential: {name}", ME, b"", header, to=STRANGER, caller="nobody")
        yield case(
            f"readings by: {name}", "POST /v1/readings", GOOD, header, to=STRANGER, caller="nobody"
        )
    for name, tenant in [("word", "x"), ("NUL", "a\x01b"), ("another", "00000000-0000-0000-0000-000000000000"), ("SQL", "' OR 1=1 --")]:  # fmt: skip
        yield case(
            f"tenant of choice: {name}", ME, b"", f"x-tenant-id: {tenant}", to=(403, "forbidden")
        )
        yield case(
            f"visit: {name}",
            ME,
            b"",
            f"x-tenant-id: {tenant}",
            to=(404, "not_found"),
            caller="person",
        )


def everywhere() -> Iterator[Case]:
    """Every route of the table: without a credential, and with somebody's of another form."""
    for route, access in ROUTES.items():
        if access.role is None:
            continue
        line = re.sub("<[^>]+>", "nobody", route)
        code = "unauthorized" if route in ("POST /write", "POST /api/v2/write") else STRANGER[1]
        body = b"" if route.startswith("GET") else GOOD
        for name, header in (
            ("no credential", "x-nothing: 1"), ("nobody's token", f"authorization: Bearer {NONE}"),
            ("nobody's key", f"x-api-key: atl_{'0' * 16}_{'0' * 64}"),
        ):  # fmt: skip
            yield case(f"{route}: {name}", line, body, header, to=(401, code), caller="nobody")


RAW: tuple[tuple[str, bytes, frozenset[int]], ...] = (
    ("TLS on a plain port", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", frozenset({400})),
    ("header without a colon", b"GET / HTTP/1.1\r\nhost h\r\n\r\n", frozenset({400})),
    ("no host", b"GET /health HTTP/1.1\r\n\r\n", frozenset({400})),
    ("two hosts", b"GET /health HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", frozenset({400})),
    ("two lengths", b"POST /v1/readings HTTP/1.1\r\nhost: {host}\r\nx-api-key: {key}\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n[]", frozenset({400})),
    ("length and chunks", b"POST /v1/readings HTTP/1.1\r\nhost: {host}\r\nx-api-key: {key}\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", frozenset({400})),
    ("length below 0", b"POST /v1/readings HTTP/1.1\r\nhost: {host}\r\nx-api-key: {key}\r\ncontent-length: -1\r\n\r\n", frozenset({400})),
    ("length of words", b"POST /v1/readings HTTP/1.1\r\nhost: {host}\r\nx-api-key: {key}\r\ncontent-length: many\r\n\r\n", frozenset({400})),
    ("length of 5,000 digits", b"POST /v1/readings HTTP/1.1\r\nhost: {host}\r\nx-api-key: {key}\r\ncontent-length: " + b"9" * 5_000 + b"\r\n\r\n", frozenset({400})),
    ("length of 20 digits", b"POST /v1/readings HTTP/1.1\r\nhost: {host}\r\nx-api-key: {key}\r\ncontent-length: 99999999999999999999\r\n\r\n[", frozenset({413})),
    ("chunk of nonsense", b"POST /v1/readings HTTP/1.1\r\nhost: {host}\r\nx-api-key: {key}\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n[]\r\n0\r\n\r\n", frozenset({400})),
    ("unknown transfer coding", b"POST /v1/readings HTTP/1.1\r\nhost: {host}\r\nx-api-key: {key}\r\ntransfer-encoding: rot13\r\n\r\n[]", frozenset({400, 501})),
    ("100 KB of headers", b"GET /health HTTP/1.1\r\nhost: {host}\r\nx-long: " + b"x" * 100_000 + b"\r\n\r\n", frozenset({400, 431})),
    ("header with NUL", b"GET /health HTTP/1.1\r\nhost: {host}\r\nx-nul: a\0b\r\n\r\n", frozenset({400})),
    ("folded header", b"GET /health HTTP/1.1\r\nhost: {host}\r\nx-folded: a\r\n\tb\r\n\r\n", frozenset({200, 400})),
    ("another version", b"GET /health HTTP/9.9\r\nhost: {host}\r\n\r\n", frozenset({400, 505})),
    ("HTTP/2 from the start", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", frozenset({400, 505})),
    ("bytes in the target", b"GET /v1/\xff\xfe HTTP/1.1\r\nhost: {host}\r\n\r\n", frozenset({400})),
    ("blank in the target", b"GET /v1/a b HTTP/1.1\r\nhost: {host}\r\n\r\n", frozenset({400})),
    ("target that is a star", b"OPTIONS * HTTP/1.1\r\nhost: {host}\r\n\r\n", frozenset({404})),
    ("authority as the target", b"CONNECT evil.example:443 HTTP/1.1\r\nhost: {host}\r\n\r\n", frozenset({400, 404, 405})),
)  # fmt: skip

LEFT: tuple[tuple[str, bytes], ...] = (
    ("within the headers", b"POST /v1/readings HT"),
    ("within the body", b"POST /v1/readings HTTP/1.1\r\nhost: {host}\r\nx-api-key: {key}\r\ncontent-length: 1000\r\n\r\n[{"),
    ("within a chunk", b"POST /v1/readings HTTP/1.1\r\nhost: {host}\r\nx-api-key: {key}\r\ntransfer-encoding: chunked\r\n\r\n3e8\r\n[{"),
    ("before the answer", b"POST /v1/readings HTTP/1.1\r\nhost: {host}\r\nx-api-key: {key}\r\ncontent-length: 2\r\n\r\n[1"),
)  # fmt: skip


def frames() -> Iterator[Case]:
    for name, raw, statuses in RAW:
        yield Case(f"HTTP: {name}", "", statuses, raw=raw, caller="nobody")
    for name, raw in LEFT:
        yield Case(f"left: {name}", "", frozenset(), raw=raw, caller="nobody", leaves=True)


CASES = (*credentials(), *everywhere(), *frames())
