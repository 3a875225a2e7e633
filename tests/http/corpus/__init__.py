"""Bad input for every route, as data: each case with the answer that is right."""

from tests.http.corpus import (
    bodies,
    callers,
    conditions,
    management,
    questions,
    rows,
    rules,
    sockets,
    tenants,
)
from tests.http.corpus.case import Case

GROUPS: dict[str, tuple[Case, ...]] = {
    "bodies": bodies.CASES,
    "rows": rows.CASES,
    "management": management.CASES,
    "conditions": conditions.CASES,
    "tenants": tenants.CASES,
    "rules": rules.CASES,
    "questions": questions.CASES,
    "callers": callers.CASES,
    "handshakes": sockets.CASES,
}

CASES = tuple(case for cases in GROUPS.values() for case in cases)
