"""Questions that cannot be asked: paths, query strings, cursors, and bodies of questions."""

import base64
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from atalaia.buckets.table import FILLS
from tests.http.corpus.case import HOSTILE, NOW_MS, Case, case, dump, target

PARAMETER, NOT_FOUND, BAD_BODY = (400, "bad_parameter"), (404, "not_found"), (400, "bad_body")
NOTHING_SAID = "00000000-0000-0000-0000-000000000000"

LISTS = ("alerts", "api-keys", "audit", "metrics", "rules", "sensors", "users")
ONES = (
    "GET /v1/alerts/{}", "GET /v1/alerts/{}/sparkline.svg", "GET /v1/api-keys/{}",
    "DELETE /v1/api-keys/{}", "POST /v1/api-keys/{}/rotate", "DELETE /v1/metrics/{}",
    "GET /v1/profiles/{}", "DELETE /v1/profiles/{}", "GET /v1/rules/{}", "DELETE /v1/rules/{}",
    "POST /v1/rules/{}/enable", "POST /v1/rules/{}/disable", "GET /v1/rules/{}/explain?sensor=there",
    "GET /v1/sensors/{}", "DELETE /v1/sensors/{}", "GET /v1/sensors/{}/latest",
    "GET /v1/sensors/{}/readings?metric=t", "GET /v1/users/{}", "DELETE /v1/users/{}",
    "POST /v1/users/{}/link",
)  # fmt: skip


def forged(position: Any) -> str:
    """A cursor of the right form."""
    return base64.urlsafe_b64encode(dump(position)).decode().rstrip("=")


def ids() -> Iterator[Case]:
    """Every route that takes an id, with what cannot be one."""
    for line in ONES:
        for name, text in [
            ("nobody's", NOTHING_SAID), ("word", "nobody"), ("SQL", target("' OR 1=1 --")), ("NUL", "%00"),
            ("broken UTF-8", "%ff%fe"), ("surrogate", "%ed%a0%80"), ("bidi", target("a\u202eb")), ("header", target("a\r\nx: y")),
            ("5,000 characters", "x" * 5_000), ("number beyond int64", str(10**30)), ("braces", "%7B" + NOTHING_SAID + "%7D"),
            ("percent of nonsense", "%zz"), ("star", "*"), ("formula", target("=1+1")),
        ]:  # fmt: skip
            yield case(f"{line}: {name}", line.format(text), to=NOT_FOUND)
    for tenant in ("nobody", NOTHING_SAID, "%00", "1"):
        for line in ("GET /v1/admin/tenants/{}", "POST /v1/admin/tenants/{}/suspend", "POST /v1/admin/tenants/{}/resume",
                     "GET /v1/admin/tenants/{}/export", "GET /v1/admin/tenants/{}/erasure"):  # fmt: skip
            yield case(f"{line}: {tenant}", line.format(tenant), to=NOT_FOUND, caller="person")


def paths() -> Iterator[Case]:
    for name, path in [
        ("unknown", "/nowhere"), ("unknown of v1", "/v1/nowhere"), ("two slashes", "/v1//sensors"), ("slash behind", "/v1/sensors/"),
        ("dots", "/v1/sensors/../users"), ("dots, encoded", "/v1/%2e%2e/v1/users"), ("to a file", "/v1/../../etc/passwd"),
 ("twice encoded", "/v1/%2573ensors"), ("back slash", "/v1\\sensors"), ("semicolon", "/v1/sensors;a=b"),
        ("other case", "/V1/Sensors"), ("another version", "/v2/sensors"), ("NUL", "/v1/%00"), ("PHP", "/index.php"), ("git", "/.git/config"),
        ("environment", "/.env"), ("debugger", "/console"), ("static", "/static/app.js"),
    ]:  # fmt: skip
        yield case(f"path: {name}", f"GET {path}", to=NOT_FOUND)
    for line in ("DELETE /v1/sensors", "PUT /v1/readings", "OPTIONS /v1/readings", "PATCH /v1/alerts",
                 "POST /v1/export", "TRACE /v1/me", "QUERY /v1/query", "POST /v1/sensors/{sensor}"):  # fmt: skip
        yield case(f"method: {line}", line, to=(405, "method_not_allowed"))


def lists() -> Iterator[Case]:
    for name in (*LISTS, "sensors/{sensor}/latest"):
        line = f"GET /v1/{name}"
        for limit in ("0", "-1", "1001", "x", "1.5", "", "1e2", "0x10", "%00", "9" * 5_000, "0" * 5_000 + "1", "١", "+5"):  # fmt: skip
            shown = limit if len(limit) < 9 else f"{len(limit)} digits from {limit[0]}"
            text = target(limit) if limit == "١" else limit
            yield case(f"{name}: limit: {shown!r}", f"{line}?limit={text}", to=PARAMETER)
        for what, cursor in [
            ("nothing", ""), ("no base64", "***"), ("no JSON", forged("x")[:-1]), ("other letters", target("é")),
            ("object", forged({"$gt": ""})), ("2 to the 63", forged(2**63)), ("below 0", forged(-1)), ("NUL", forged("a\0")),
            ("deep", base64.urlsafe_b64encode(b"[" * 4_000).decode()), ("10 kB", "A" * 10_000), ("SQL", forged(["' OR 1=1 --"])),
        ]:  # fmt: skip
            yield case(f"{name}: cursor: {what}", f"{line}?cursor={cursor}", to=PARAMETER)
    for name in (*LISTS, "groups", "profiles", "admin/tenants", "sensors/{sensor}/latest"):
        for count in ("", "yes", "1", "TRUE", "true,true", "%00", "null", "true%20", target("' OR 1=1 --"), "x" * 5_000):  # fmt: skip
            line = f"GET /v1/{name}?count={count}"
            yield case(line[:60], line, to=PARAMETER, caller="person" if "admin" in name else "key")


TIMES = ("yesterday", "--5", "", "2026-01-01T00:00:00", "2026-13-01T00:00:00Z", "0000-01-01T00:00:00Z",
         "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "999999999999999", "-999999999999999", "9" * 5_000,
         "%00", "nan", "1e12", "2026-01-01T00:00:00%2B99:00", "%F0%9F%92%A5")  # fmt: skip


def times() -> Iterator[Case]:
    for line in ("GET /v1/alerts?", "GET /v1/audit?", "GET /v1/sensors/{sensor}/readings?metric=t&",
                 "GET /v1/sensors/{sensor}/readings?metric=t&bucket=1m&", "GET /v1/export?from=0&"):  # fmt: skip
        for text in TIMES:
            shown = text if len(text) < 99 else "5,000 digits"
            for end in ("to",) if "export" in line else ("from", "to"):
                yield case(f"{line}{end}={shown}", f"{line}{end}={text}", to=PARAMETER)


FAR = (
    ("9990-01-01T00:00:00Z", "9999-12-30T00:00:00Z"), ("9999-12-29T00:00:00Z", "9999-12-30T00:00:00Z"),
    ("2199-12-31T00:00:00Z", "2200-01-02T00:00:00Z"), ("0001-01-03T00:00:00Z", "0001-01-04T00:00:00Z"),
    ("1969-12-31T00:00:00Z", "1970-01-01T00:00:00Z"),
)  # fmt: skip
"""From and to, at the ends of what can be asked and of what readings can have."""


def far() -> Iterator[Case]:
    """What can be asked, and nobody would: no reading is there."""
    for since, until in FAR:
        for zone in ("UTC", "America/Sao_Paulo", "Pacific/Kiritimati", "Europe/Lisbon"):
            for fill in FILLS:
                for bucket in ("1d", "365d"):
                    said = {"from": since, "to": until, "bucket": bucket, "tz": zone, "fill": fill}
                    name = f"far: {' '.join(said.values())}"
                    query = urlencode({"metric": "t", **said})
                    line = f"GET /v1/sensors/{{sensor}}/readings?{query}"
                    yield Case(name, line, frozenset({200}))
                    line = "POST /v1/query"
                    yield Case(f"{name}, of all", line, frozenset({200}), body=dump(said))
        for line in ("GET /v1/alerts?", "GET /v1/audit?", "GET /v1/sensors/{sensor}/readings?metric=t&",
                     "GET /v1/sensors/{sensor}/readings?metric=t&points=3&"):  # fmt: skip
            line += urlencode({"from": since, "to": until})
            yield Case(f"far: {line}", line, frozenset({200}))


def filters() -> Iterator[Case]:
    readings = "GET /v1/sensors/{sensor}/readings"
    for line in [
        "GET /v1/alerts?state=ajar", "GET /v1/alerts?severity=mild", "GET /v1/alerts?rule=hot", "GET /v1/alerts?sensor=%00",
        "GET /v1/alerts?sensor=a%20b", "GET /v1/audit?actor=%00", "GET /v1/audit?action=a%0ab", f"GET /v1/audit?actor={'x' * 500}",
        readings, f"{readings}?metric=%00", f"{readings}?metric=t&limit=10001", f"{readings}?metric=t&cursor={forged([2**63, 1])}",
        f"{readings}?metric=t&cursor={forged([1])}", f"{readings}?metric=t&bucket=", f"{readings}?metric=t&bucket=0s",
        f"{readings}?metric=t&bucket=-1m", f"{readings}?metric=t&bucket=99999d", f"{readings}?metric=t&bucket={'9' * 5_000}s",
        f"{readings}?metric=t&bucket=1m&agg=system", f"{readings}?metric=t&bucket=1m&fill=magic", f"{readings}?metric=t&bucket=1d&tz=../../etc/passwd",
        f"{readings}?metric=t&bucket=1m&tz=America/Sao_Paulo", f"{readings}?metric=t&bucket=1d&tz=%00", f"{readings}?metric=t&points=2",
        f"{readings}?metric=t&points=10001", f"{readings}?metric=t&points=x", f"{readings}?metric=t&points=9&bucket=1m", f"{readings}?metric=t&points=9&agg=avg",
        f"{readings}?metric=t&agg=avg", f"{readings}?metric=t&bucket=1m&from=2&to=1", "GET /v1/export", "GET /v1/export?from=0&format=xlsx",
        "GET /v1/stream?kind=everything", "GET /v1/stream?kind=", "GET /v1/stream?sensor=%00", "GET /v1/stream?metric=a,%00",
        "GET /v1/export?from=0&sensor=%00", "GET /v1/export?from=0&metric=a%00", "GET /v1/export?from=0&sensor=a&sensor=%00", "GET /v1/rules/{rule}/explain", "GET /v1/admin/tenants?cursor=x", "GET /v1/admin/tenants?limit=0",
    ]:  # fmt: skip
        caller = "person" if "admin" in line else "key"
        shown = line if len(line) < 120 else line[:60]
        yield case(f"question: {shown}", line, to=PARAMETER, caller=caller)  # type: ignore[arg-type]
    for metric in ("none", target(HOSTILE["SQL"])):
        yield case(f"question: no metric {metric}", f"{readings}?metric={metric}", to=NOT_FOUND)
    yield case("explain: sensor of NUL", "GET /v1/rules/{rule}/explain?sensor=%00", to=NOT_FOUND)
    selector = (400, "bad_selector")
    for name, text in [("nonsense", "when"), ("half", 'sensors where a = "'), ("NUL", 'sensors where a = "\0"'), ("brackets", "(" * 5_000), ("nothing", "")]:  # fmt: skip
        yield case(
            f"export: selector: {name}",
            f"GET /v1/export?from=0&selector={target(text)}",
            to=selector,
        )


def bodies() -> Iterator[Case]:
    query, backtest = "POST /v1/query", "POST /v1/rules/backtest"
    rule = "rule bad on sensors when t > 1"
    for name, body, to in [
        ("neither bucket nor points", {}, PARAMETER), ("both", {"bucket": "1m", "points": 9}, PARAMETER), ("bucket of a number", {"bucket": 60}, BAD_BODY),
        ("bucket of 0", {"bucket": "0s"}, PARAMETER), ("bucket of 5,000 digits", {"bucket": "9" * 5_000 + "s"}, PARAMETER),
        ("points of 10^30", {"points": 10**30}, PARAMETER), ("points below 0", {"points": -1}, PARAMETER), ("points of true", {"points": True}, BAD_BODY),
        ("points of 1.5", {"points": 1.5}, BAD_BODY), ("agg of SQL", {"bucket": "1m", "agg": ["avg); --"]}, PARAMETER), ("agg as text", {"bucket": "1m", "agg": "avg"}, BAD_BODY),
        ("100,000 aggs", {"bucket": "1m", "agg": ["x"] * 100_000}, BAD_BODY), ("fill", {"bucket": "1m", "fill": "x"}, PARAMETER), ("tz", {"bucket": "1d", "tz": "/etc/passwd"}, PARAMETER),
        ("sensors as text", {"bucket": "1m", "sensors": "s"}, BAD_BODY), ("sensors of numbers", {"bucket": "1m", "sensors": [1]}, BAD_BODY),
        ("from true", {"bucket": "1m", "from": True}, BAD_BODY), ("from of a list", {"bucket": "1m", "from": [1]}, BAD_BODY), ("from of words", {"bucket": "1m", "from": "yesterday"}, PARAMETER),
        ("from of 10^30", {"bucket": "1m", "from": 10**30}, PARAMETER), ("from after to", {"bucket": "1m", "from": 2, "to": 1}, PARAMETER),
        ("too many buckets", {"bucket": "1ms", "from": 0, "to": NOW_MS, "fill": "null"}, (400, "too_many_buckets")),
        ("selector of nonsense", {"bucket": "1m", "selector": "when"}, (400, "bad_selector")), ("selector of NUL", {"bucket": "1m", "selector": 'sensors "\0"'}, (400, "bad_selector")),
        ("selector of 1 MB", {"bucket": "1m", "selector": "x" * 1_000_000}, (400, "bad_selector")),
    ]:  # fmt: skip
        yield case(f"query: {name}", query, body, to=to)
    for name, body, to in [
        ("neither text nor id", {}, BAD_BODY), ("id of nobody", {"rule_id": NOTHING_SAID}, NOT_FOUND), ("id of words", {"rule_id": "x"}, NOT_FOUND),
        ("order", {"text": rule, "order": "random"}, PARAMETER), ("from after to", {"text": rule, "from": 2, "to": 1}, PARAMETER), ("401 days", {"text": rule, "from": 0, "to": NOW_MS}, PARAMETER),
        ("sweep of a list", {"text": rule, "sweep": []}, BAD_BODY), ("sweep of words", {"text": rule, "sweep": {"for": ["soon"]}}, (400, "bad_sweep")),
        ("sweep of 10^400", {"text": rule, "sweep": {"threshold": [10**400]}}, BAD_BODY), ("sweep of text", {"text": rule, "sweep": {"threshold": ["1"]}}, BAD_BODY),
        ("51 variants", {"text": rule, "sweep": {"threshold": [*range(51)]}}, (400, "bad_sweep")), ("sweep of 31 d", {"text": rule, "sweep": {"for": ["31d"]}}, (400, "bad_sweep")),
        ("100,000 variants", {"text": rule, "sweep": {"threshold": [1] * 100_000}}, BAD_BODY), ("unknown in the sweep", {"text": rule, "sweep": {"x": 1}}, BAD_BODY),
        ("two numbers", {"text": "rule bad on sensors when t > 1 and t < 2", "sweep": {"threshold": [1]}}, (400, "bad_sweep")),
    ]:  # fmt: skip
        yield case(f"backtest: {name}", backtest, body, to=to)


CASES = (*ids(), *paths(), *lists(), *times(), *far(), *filters(), *bodies())
