"""The service against its own document, asked by every role of people and every scope of keys.

    .venv/bin/python bench/contract.py [--quick] [--cases N] [--json FILE]

The real command. schemathesis (tests/http/openapi/contract.py) draws requests from the served
`/openapi.json`, fit ones and unfit ones, sends them with the credential of each in turn, the least
powerful first, and judges the answers: no 5xx; no status, header, media type or shape that the
document does not tell; nothing taken that is against a schema; what was deleted is gone, what was
made is there. Exits with 1 when there is a fault. --quick: two cases of each operation, for two
of them, without the phases that are exhaustive.

JSON keys: `headline` {askers, cases, server_errors, faults}; `askers` the table's rows {name,
cases, operations, faults, took_s}.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import trio

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))
from tests.http.openapi.contract import PHASES, judge

from atalaia.model.principal import ROLES, SCOPES
from server import Server, open_server, say

CASES, QUICK_CASES = 25, 2
QUICK = ("key ingest", "person platform")
PASSWORD = "a quiet evening by the sea"
TIMEOUT_S = 60.0

Headers = dict[str, str]


def call(server: Server, headers: Headers, method: str, path: str, body: Any = None) -> Any:
    response = httpx.request(
        method, server.url + path, json=body, headers=headers, timeout=TIMEOUT_S
    )
    response.raise_for_status()
    return response.json() if response.content else None


def sign_in(server: Server, email: str, password: str) -> Headers:
    said = call(server, {}, "POST", "/v1/auth/login", {"email": email, "password": password})
    return {"Authorization": f"Bearer {said['access_token']}"}


def askers(server: Server) -> Iterator[tuple[str, Headers]]:
    """Each is made when its turn comes: those before may have taken away what they found."""
    known = server.credentials

    def boss() -> Headers:
        return sign_in(server, known["admin_email"], known["admin_password"])

    for scope in SCOPES:
        body = {"name": scope, "scopes": [scope]}
        yield (
            f"key {scope}",
            {"X-API-Key": call(server, boss(), "POST", "/v1/api-keys", body)["key"]},
        )
    for role in ROLES:
        email = f"{role}@example.org"
        body = {"email": email, "role": role}
        token = call(server, boss(), "POST", "/v1/users", body)["link"]["token"]
        call(server, {}, "POST", "/v1/auth/password/reset", {"token": token, "password": PASSWORD})
        yield f"person {role}", sign_in(server, email, PASSWORD)
    yield "person platform", boss()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--cases", type=int)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    cases = options.cases or (QUICK_CASES if options.quick else CASES)
    phases = ("examples", "fuzzing") if options.quick else PHASES
    rows: list[dict[str, Any]] = []
    server_errors = 0
    print(f"{'asked by':18}{'cases':>8}{'operations':>12}{'faults':>8}{'s':>8}", flush=True)
    with open_server() as server:
        for name, headers in askers(server):
            if options.quick and name not in QUICK:
                continue
            tenant_id = server.credentials["tenant_id"]

            async def ask(headers: Headers = headers, tenant_id: str = tenant_id) -> Any:
                return await judge(server.url, headers, tenant_id, cases=cases, phases=phases)

            found = trio.run(ask)
            server_errors += found.server_errors
            rows.append(
                {"name": name, "cases": found.cases, "operations": found.operations,
                 "faults": list(found.faults), "took_s": round(found.took_s, 1)}
            )  # fmt: skip
            print(
                f"{name:18}{found.cases:8,}{found.operations:12}{len(found.faults):8}"
                f"{found.took_s:8.1f}",
                flush=True,
            )
            if found.faults:
                say(found.log)
    faults = sum(len(row["faults"]) for row in rows)
    total = sum(row["cases"] for row in rows)
    print(f"{'together':18}{total:8,}{'':12}{faults:8}")
    if options.json:
        headline = {"askers": len(rows), "cases": total, "server_errors": server_errors,
                    "faults": faults}  # fmt: skip
        options.json.write_text(json.dumps({"headline": headline, "askers": rows}, indent=1))
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
