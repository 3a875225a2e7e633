"""Bodies of management requests: the same faults at every route that takes JSON, and its own."""

from collections.abc import Iterator
from typing import Any

from tests.http.corpus.case import HOSTILE, MAX_BODY_BYTES, MIB, Caller, Case, case, dump

BAD_JSON, BAD_BODY, TOO_LARGE = (400, "bad_json"), (400, "bad_body"), (413, "too_large")
RULE = "rule bad on sensors when t > 1"

GOOD: dict[str, tuple[Any, Caller]] = {
    "POST /v1/auth/login": ({"email": "a@example.org", "password": "x"}, "nobody"),
    "POST /v1/auth/refresh": ({"refresh_token": "x"}, "nobody"),
    "POST /v1/auth/logout": ({"refresh_token": "x"}, "nobody"),
    "POST /v1/auth/password/forgot": ({"email": "bad@example.org"}, "nobody"),
    "POST /v1/auth/password/reset": ({"token": "x", "password": "x"}, "nobody"),
    "POST /v1/auth/password": ({"current": "x", "password": "x"}, "person"),
    "POST /v1/admin/tenants": ({"name": "bad", "admin_email": "bad@example.org"}, "person"),
    "POST /v1/admin/tenants/{tenant}/erase": ({"name": "bad"}, "person"),
    "POST /v1/api-keys": ({"name": "bad"}, "key"),
    "POST /v1/api-keys/{key_id}/rotate": ({"overlap": "1h"}, "key"),
    "POST /v1/users": ({"email": "bad@example.org"}, "key"),
    "PATCH /v1/users/{user}": ({"role": "viewer"}, "key"),
    "POST /v1/sensors": ({"name": "bad"}, "key"),
    "PATCH /v1/sensors/{sensor}": ({"place": "bad"}, "key"),
    "PUT /v1/sensors/{sensor}/tags": ({"tags": {"bad": "bad"}}, "key"),
    "PATCH /v1/settings": ({"lateness": "1s"}, "key"),
    "PUT /v1/settings/retention": ({"days": 30}, "key"),
    "PUT /v1/metrics/bad": ({"unit": "bad"}, "key"),
    "PUT /v1/profiles/bad": ({"description": "bad"}, "key"),
    "POST /v1/rules": ({"text": RULE}, "key"),
    "PUT /v1/rules/{rule}": ({"text": RULE}, "key"),
    "POST /v1/rules/check": ({"text": RULE}, "key"),
    "POST /v1/rules/backtest": ({"text": RULE}, "key"),
    "POST /v1/query": ({"bucket": "1m"}, "key"),
}
"""A body that would be taken, or be refused for what it says alone."""

MAY_BE_EMPTY = "POST /v1/api-keys/{key_id}/rotate"


def everywhere() -> Iterator[Case]:
    for line, (good, caller) in GOOD.items():
        first = next(iter(good))
        for name, body, to in [
            ("nothing", b"", BAD_JSON),
            ("half", b"{", BAD_JSON),
            ("list", b"[]", BAD_BODY),
            ("null", b"null", BAD_BODY),
            ("broken UTF-8", b'{"' + first.encode() + b'":"\xff"}', BAD_JSON),
            ("lone surrogate", b'{"' + first.encode() + rb'":"\ud800"}', BAD_JSON),
            ("NaN", b'{"' + first.encode() + b'":NaN}', BAD_JSON),
            ("deep", b'{"' + first.encode() + b'":' + b"[" * 4_000 + b"}", BAD_JSON),
            ("another type", dump(good | {first: [[{}]]}), BAD_BODY),
            ("a field nobody knows", dump(good | {"nobody_knows": 1}), BAD_BODY),
            ("another tenant", dump(good | {"tenant_id": 2, "platform": True}), BAD_BODY),
            ("a name twice", dump(good)[:-1] + b"," + dump(good)[1:], BAD_JSON),
        ]:
            if body or line != MAY_BE_EMPTY:
                yield case(f"{line}: {name}", line, body, to=to, caller=caller)
        headers = "content-encoding: gzip"
        yield case(f"{line}: gzip", line, dump(good), headers, to=(415, "unsupported_encoding"), caller=caller)  # fmt: skip


def sizes() -> Iterator[Case]:
    for line, (good, caller) in GOOD.items():
        if caller != "nobody":
            body = dump(good) + b" " * MIB
            yield case(f"{line}: more than 1 MiB", line, body, to=TOO_LARGE, caller=caller)
    for line in ("POST /v1/rules", "POST /v1/query", "POST /v1/sensors"):
        body = b" " * (MAX_BODY_BYTES + 1)
        yield case(f"{line}: 8 MiB and a byte", line, body, to=TOO_LARGE)
    for line in ("POST /v1/auth/login", "POST /v1/auth/refresh", "POST /v1/auth/password/reset"):
        body = dump({"email": "x" * 10_000, "password": "x"})
        yield case(f"{line}: 10 kB", line, body, to=TOO_LARGE, caller="nobody")


def sensors() -> Iterator[Case]:
    create, change = "POST /v1/sensors", "PATCH /v1/sensors/{sensor}"
    tags = "PUT /v1/sensors/{sensor}/tags"
    for name, text in HOSTILE.items():
        yield case(f"sensor's name: {name}", create, {"name": text}, to=(400, "bad_sensor"))
    names: list[tuple[str, Any]] = [
        ("name of 129", {"name": "x" * 129}),
        ("no name", {"place": "x"}),
        ("name that is a number", {"name": 7}),
        ("name that is null", {"name": None}),
    ]
    for name, body in names:
        code = "bad_sensor" if name == "name of 129" else "bad_body"
        yield case(f"sensor: {name}", create, body, to=(400, code))
    yield case("sensor: taken", create, {"name": "there"}, to=(409, "name_taken"))
    for name, body in [
        ("nothing", {}), ("lateness of a day and more", {"lateness": "25h"}),
        ("lateness below 0", {"lateness": "-1s"}), ("lateness of words", {"lateness": "soon"}),
        ("lateness of 5,000 digits", {"lateness": "9" * 5_000 + "s"}), ("lateness that is a number", {"lateness": 30}),
        ("interval of 0", {"expected_interval": "0s"}), ("interval of 367 d", {"expected_interval": "367d"}),
        ("place of 257", {"place": "x" * 257}), ("place with NUL", {"place": "a\0"}), ("empty place", {"place": ""}),
        ("latitude of 91", {"location": {"latitude": 91, "longitude": 0}}),
        ("longitude of -181", {"location": {"latitude": 0, "longitude": -181}}),
        ("latitude of text", {"location": {"latitude": "1", "longitude": 0}}),
        ("latitude of true", {"location": {"latitude": True, "longitude": 0}}),
        ("latitude of 400 digits", {"location": {"latitude": 10**400, "longitude": 0}}),
        ("half a location", {"location": {"latitude": 1}}), ("more of a location", {"location": {"latitude": 1, "longitude": 1, "height": 1}}),
        ("location of a list", {"location": [1, 1]}), ("the name", {"name": "other"}), ("the id", {"id": "x"}),
    ]:  # fmt: skip
        yield case(f"change of a sensor: {name}", change, body, to=BAD_BODY)
    for name, body in [
        ("number", {"a": 1}), ("null", {"a": None}), ("nested", {"a": {"b": "c"}}),
        ("no name", {"": "x"}), ("name of 129", {"x" * 129: "x"}), ("value of 1,000", {"a": "x" * 1_000}),
        ("1,000 of them", {f"t{n}": "x" for n in range(1_000)}), ("NUL in a value", {"a": "\0"}), ("NUL in a name", {"a\0": "x"}),
    ]:  # fmt: skip
        yield case(f"tags: {name}", tags, {"tags": body}, to=BAD_BODY)
    for name, days in [("0", 0), ("-1", -1), ("10^30", 10**30), ("1.5", 1.5), ("true", True), ("text", "30")]:  # fmt: skip
        yield case(f"retention: {name}", "PUT /v1/settings/retention", {"days": days}, to=BAD_BODY)
    for name, unit in [("nothing", ""), ("33", "x" * 33), ("blank before", " m"), ("quote", 'a"b'),
                       ("new line", "a\nb"), ("bidi", "a\u202eb"), ("number", 7)]:  # fmt: skip
        yield case(f"unit: {name}", "PUT /v1/metrics/bad", {"unit": unit}, to=BAD_BODY)
    yield case("unit: of no metric", "PUT /v1/metrics/a%20b", {"unit": "m"}, to=(400, "bad_metric"))


def people() -> Iterator[Case]:
    for name, email in [
        ("no at", "bad"), ("two", "a@b@c.org"), ("nothing", ""), ("blank", "a b@example.org"), ("NUL", "a\0@example.org"),
        ("header", "a@example.org\r\nBcc: b@example.org"), ("list", "a@example.org,b@example.org"), ("name", "A <a@example.org>"),
        ("300 characters", "x" * 300 + "@example.org"), ("bidi", "a\u202e@example.org"), ("no domain", "a@"), ("dot", "a@.org"),
    ]:  # fmt: skip
        yield case(f"user: e-mail: {name}", "POST /v1/users", {"email": email}, to=BAD_BODY)
        body = {"name": "bad", "admin_email": email}
        yield case(
            f"tenant: e-mail: {name}", "POST /v1/admin/tenants", body, to=BAD_BODY, caller="person"
        )
    for name, role in [("root", "root"), ("nothing", ""), ("case", "Admin"), ("platform", "platform"), ("NUL", "admin\0")]:  # fmt: skip
        body = {"email": "bad@example.org", "role": role}
        yield case(f"user: role: {name}", "POST /v1/users", body, to=BAD_BODY)
        yield case(
            f"change of a user: role: {name}", "PATCH /v1/users/{user}", {"role": role}, to=BAD_BODY
        )
    for field, value in [("platform", True), ("password_hash", "x"), ("token_version", 0), ("email", "b@example.org"), ("id", "x")]:  # fmt: skip
        change = {"role": "viewer"} | {field: value}
        yield case(f"change of a user: {field}", "PATCH /v1/users/{user}", change, to=BAD_BODY)
    makings: list[tuple[str, dict[str, Any]]] = [
        ("scope of root", {"scopes": ["root"]}), ("no scope", {"scopes": []}), ("scope as text", {"scopes": "admin"}),
        ("scope of a list", {"scopes": [["admin"]]}), ("10,000 scopes", {"scopes": ["rea"] * 10_000}),
        ("name of 65", {"name": "x" * 65}), ("no name", {"name": ""}), ("new line in the name", {"name": "a\nb"}),
        ("bidi in the name", {"name": "a\u202eb"}), ("ends at once", {"expires_in": "0s"}), ("ends before", {"expires_in": "-1d"}),
        ("ends in 99,999 d", {"expires_in": "99999d"}), ("ends in 5,000 digits", {"expires_in": "9" * 5_000 + "d"}),
        ("hash", {"hash": "00"}), ("quota", {"readings_per_s": 10**9}), ("key", {"key": "atl_"}),
    ]  # fmt: skip
    for name, more in makings:
        yield case(f"key: {name}", "POST /v1/api-keys", {"name": "bad"} | more, to=BAD_BODY)
    for name, overlap in [("31 d", "31d"), ("words", "soon"), ("number", 1), ("below 0", "-1s")]:
        line = "POST /v1/api-keys/{key_id}/rotate"
        yield case(f"rotation: {name}", line, {"overlap": overlap}, to=BAD_BODY)
    for name, text in [("nothing", ""), ("129", "x" * 129), ("new line", "a\nb"), ("NUL", "a\0"), ("bidi", "a\u202eb"), ("blanks", "   ")]:  # fmt: skip
        body = {"name": text, "admin_email": "bad@example.org"}
        yield case(
            f"tenant: name: {name}", "POST /v1/admin/tenants", body, to=BAD_BODY, caller="person"
        )
    refused = (401, "login_refused")
    for name, email, password in [
        ("SQL", "' OR 1=1 --@example.org", "x"), ("NUL", "a\0@example.org", "x"), ("NUL in the password", "a@example.org", "x\0y"),
        ("500 characters", "b@example.org", "x" * 500), ("no address", "x" * 5_000, "x"), ("LDAP", "*)(uid=*", "x"),
    ]:  # fmt: skip
        body = {"email": email, "password": password}
        yield case(f"login: {name}", "POST /v1/auth/login", body, to=refused, caller="nobody")
    for name, token in [("another prefix", "atl_x"), ("NUL", "\0"), ("SQL", "' OR 1=1 --"), ("7 kB", "x" * 7_000), ("key", "atl_" + "0" * 16 + "_" + "0" * 64)]:  # fmt: skip
        body = {"refresh_token": token}
        yield case(
            f"refresh: {name}",
            "POST /v1/auth/refresh",
            body,
            to=(401, "unauthenticated"),
            caller="nobody",
        )
        body = {"token": token, "password": "a quiet evening by the sea"}
        yield case(
            f"link: {name}",
            "POST /v1/auth/password/reset",
            body,
            to=(404, "not_found"),
            caller="nobody",
        )


CASES = (*everywhere(), *sizes(), *sensors(), *people())
