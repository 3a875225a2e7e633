"""What is so of a route whatever it does: tags and conditions, keys of requests, what stands in
front of all routes.

The tables by which these are carried out say of which routes; no subject repeats it.
"""

from collections.abc import Mapping, Sequence

import attrs

from atalaia.http import conditions, ingest, once
from atalaia.http.openapi.operation import Answer, Operation, Parameter, Schema

TAGS: Schema = {"type": "string", "pattern": f"^{conditions.TAGS}$"}
UNCHANGED = Answer("It is what is there already.", headers=["ETag"])
KNOWN = Parameter(
    "If-None-Match", "Of what is there already: 304 while its tag is among these.", TAGS, "header"
)
CONDITIONS = (
    Parameter(
        "If-Match",
        "`ETag`s: changed only while what there is has one of these; `*`: any.",
        TAGS,
        "header",
    ),
    Parameter(
        "If-None-Match",
        "`ETag`s: changed only while what there is has none of these; `*`: while there is none.",
        TAGS,
        "header",
    ),
)
KEY = Parameter(
    "Idempotency-Key",
    "Of this request alone, such as a new UUID. Sent again with it within a day, it is not carried "
    "out again: the answer is that of the first time.",
    {"type": "string", "pattern": f"^({once.KEY.pattern})$"},
    "header",
)
BAD_TAGS = "`bad_condition`"
BAD_KEY = "`bad_idempotency_key`"
UNDER_WAY = "`idempotency_in_progress`, with `Retry-After`; `idempotency_answer_lost`"
ANOTHER = "`idempotency_key_reused`"
IN_CLEAR = "`https_required`: it came to the proxy in clear"
OFTEN = "`too_many_requests`, `unread_answers`"
TINY = "`tiny_chunks`: send larger ones"
USUAL = {400: "No such body, or no such parameters."}
"""What is said of an error where nothing else is."""


def is_counted(rule: str) -> bool:
    """Whether requests for it, or the readings in them, are: and whether it must come over TLS."""
    return rule.startswith(("/v1/", "/api/", "/write"))


def complete(route: str, told: Operation) -> Operation:
    """With what is so of this route, by `METHOD /rule` as `access` has it."""
    rule = route.partition(" ")[2]
    if route in (*conditions.READ, *conditions.MADE, *conditions.CHANGED):
        told = _with_headers(told, "ETag")
    if route in conditions.READ:
        told = _with(told, [KNOWN], {400: BAD_TAGS})
        told = attrs.evolve(told, answers={**told.answers, 304: UNCHANGED})
    if route in conditions.CHANGED:
        told = _with(told, CONDITIONS, {400: BAD_TAGS, 412: ""})
    if route in [f"POST {one}" for one in once.ROUTES]:
        told = _with_headers(told, "Idempotency-Replayed")
        told = _with(told, [KEY], {400: BAD_KEY, 409: UNDER_WAY, 422: ANOTHER})
    if not is_counted(rule):
        return told
    also = {403: IN_CLEAR}
    if told.body is not None:
        also |= {400: TINY}
    if rule not in ingest.ROUTES:  # readings have quotas
        also |= {429: OFTEN}
    said = {status: text for status, text in also.items() if status in told.errors}
    return _with(told, (), said)


def _with(told: Operation, parameters: Sequence[Parameter], errors: Mapping[int, str]) -> Operation:
    """errors: by status, what is to be said after what is said of it already."""
    both = {
        status: _and(told.errors.get(status) or USUAL.get(status, ""), text)
        for status, text in errors.items()
    }
    return attrs.evolve(
        told, parameters=[*told.parameters, *parameters], errors={**told.errors, **both}
    )


def _with_headers(told: Operation, name: str) -> Operation:
    """In what is answered when all is well, but where nothing is said."""
    answers = {
        status: attrs.evolve(answer, headers=[*answer.headers, name]) if answer.shapes else answer
        for status, answer in told.answers.items()
    }
    return attrs.evolve(told, answers=answers)


def _and(known: str | Answer, more: str) -> str | Answer:
    if isinstance(known, Answer):
        return attrs.evolve(known, description=_joined(known.description, more))
    return _joined(known, more)


def _joined(known: str, more: str) -> str:
    return " ".join(filter(None, (known, more and f"{more}.")))
