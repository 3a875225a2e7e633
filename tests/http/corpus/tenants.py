"""What must not be erased, and what cannot be taken away."""

from collections.abc import Iterator

from tests.http.corpus.case import HOSTILE, Case, case
from tests.http.corpus.questions import NOT_FOUND, NOTHING_SAID

ERASE, ERASURE = "POST /v1/admin/tenants/{}/erase", "GET /v1/admin/tenants/{}/erasure"
EXPORT, OWN = "GET /v1/admin/tenants/{}/export", "GET /v1/tenant/export"
OTHER_NAME, FORBIDDEN, NOT_HERE = (400, "other_name"), (403, "forbidden"), (405, "method_not_allowed")  # fmt: skip
SUSPENDED = "Lavanderia"


def erasures() -> Iterator[Case]:
    """Of a suspended tenant by a name that is not its own, of one that is not, of none."""
    line = ERASE.format("{suspended}")
    names = {
        **HOSTILE,
        "nothing": "", "other case": SUSPENDED.upper(), "blank behind": SUSPENDED + " ",
        "blank before": " " + SUSPENDED, "half": SUSPENDED[:5], "new line": SUSPENDED + "\n",
        "wildcard": "%", "star": "*", "the id": "{suspended}", "another's": "Oficina",
        "letters that look alike": "Lаvаnderia", "NUL behind": SUSPENDED + "\0",
        "1 MB": "x" * 1_000_000, "10 times": SUSPENDED * 10,
    }  # fmt: skip
    for name, text in names.items():
        yield case(f"erasure: {name}", line, {"name": text}, to=OTHER_NAME, caller="person")
    body = {"name": "Oficina"}
    yield case(
        "erasure: of one that is not suspended", ERASE.format("{tenant}"), body,
        to=(409, "not_suspended"), caller="person",
    )  # fmt: skip
    for name, more in [("force", True), ("confirm", "yes"), ("tenant", NOTHING_SAID), ("id", 1)]:
        body = {"name": SUSPENDED, name: more}  # type: ignore[dict-item]
        yield case(f"erasure: {name}", line, body, to=(400, "bad_body"), caller="person")
    for tenant in ("nobody", NOTHING_SAID, "%00", "1", "%25", "{suspended}%20"):
        line = ERASE.format(tenant)
        yield case(f"{ERASE}: {tenant}", line, {"name": SUSPENDED}, to=NOT_FOUND, caller="person")
    yield case(
        "erasure: how far one is that nobody asked for", ERASURE.format("{suspended}"),
        to=NOT_FOUND, caller="person",
    )  # fmt: skip


def callers() -> Iterator[Case]:
    """A key of every scope of another tenant, and methods that are none here."""
    for line in (ERASURE, EXPORT):
        yield case(f"{line}: a key", line.format("{tenant}"), to=FORBIDDEN)
    yield case(f"{ERASE}: a key", ERASE.format("{suspended}"), {"name": SUSPENDED}, to=FORBIDDEN)
    for line in ("POST /v1/tenant/export", "DELETE /v1/tenant/export", "PUT /v1/admin/tenants/{tenant}/export",
                 "GET /v1/admin/tenants/{suspended}/erase", "DELETE /v1/admin/tenants/{suspended}/erasure"):  # fmt: skip
        yield case(f"method: {line}", line, to=NOT_HERE, caller="person")
    for tenant in ("nobody", NOTHING_SAID, "' OR 1=1 --"):
        header = f"x-tenant-id: {tenant}"
        yield case(f"{OWN}: visit: {tenant}", OWN, b"", header, to=NOT_FOUND, caller="person")


CASES = (*erasures(), *callers())
