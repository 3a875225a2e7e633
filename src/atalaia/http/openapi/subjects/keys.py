"""Keys, and the audit."""

from typing import Annotated, Any

import msgspec

from atalaia.http import api_keys, audit
from atalaia.http.openapi.operation import (
    DURATION,
    Answer,
    Body,
    Example,
    Operation,
    Page,
    Parameter,
    Subject,
    Time,
    said,
)
from atalaia.http.openapi.parameters import PAGES, SINCE, UNTIL
from atalaia.http.openapi.subjects.people import DONE, Scope
from atalaia.model.principal import SCOPES


class Key(msgspec.Struct):
    """A key, without its secret."""

    id: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{16}$")]
    name: str
    scopes: list[Scope]
    readings_per_s: Annotated[int | None, said("Its quota; null: that of the tenant alone.")]
    bytes_per_s: Annotated[int | None, said("Its quota; null: that of the tenant alone.")]
    created_at: Time
    expires_at: Time | None
    last_used_at: Annotated[Time | None, said("To within a few seconds.")]


class NewKey(Key):
    """A key as it is shown once."""

    key: Annotated[str, msgspec.Meta(pattern="^atl_", description="The key itself.")]


class Entry(msgspec.Struct):
    """What somebody did."""

    seq: Annotated[int, said("Its place in the tenant's chain.")]
    at: Time
    actor: Annotated[str, said("Stays the same, whatever its name.", "user:0190…", "cli")]
    actor_name: Annotated[str, said("As it was called then.")]
    action: Annotated[str, said("What was done.", "rule.created")]
    target: Annotated[str, said("To what.")]
    detail: dict[str, Any]
    hash: Annotated[str, said("Of this entry and the one before.")]


NAME = {"minLength": 1, "maxLength": api_keys.MAX_NAME_CHARS}
MADE = Answer("The key. Keep it: it is not shown again.", NewKey, headers=["Location"])

KEYS = Subject(
    "Keys",
    "Credentials of machines.",
    {
        "GET /v1/api-keys": Operation(
            "listKeys",
            "Keys, by id",
            parameters=PAGES,
            answers={200: Answer("A page of them.", Page[Key], headers=["Link"])},
            examples=[Example("all", "The first ten", query={"limit": 10, "count": "true"})],
        ),
        "POST /v1/api-keys": Operation(
            "createKey",
            "Make a key",
            body=Body.of(
                api_keys.KeyBody,
                {
                    "name": NAME,
                    "scopes": {
                        "items": {"type": "string", "enum": [*SCOPES]},
                        "minItems": 1,
                        "default": ["ingest"],
                    },
                    "expires_in": {"description": "Such as `90d`; null: until it is revoked."},
                },
            ),
            answers={201: MADE},
            errors={409: "`too_many_keys`."},
            examples=[
                Example(
                    "gateway",
                    "For a gateway",
                    body={"name": "gateway 7", "scopes": ["ingest"], "expires_in": "30d"},
                )
            ],
        ),
        "GET /v1/api-keys/<key>": Operation(
            "readKey",
            "A key",
            answers={200: Answer("The key, without its secret.", Key)},
            examples=[Example("one", "A key")],
        ),
        "DELETE /v1/api-keys/<key>": Operation(
            "revokeKey",
            "Revoke a key",
            "It stops within five seconds.",
            answers={204: DONE},
            examples=[Example("revoke", "Gone")],
        ),
        "POST /v1/api-keys/<key>/rotate": Operation(
            "rotateKey",
            "Replace a key",
            "Makes one with the same name and scopes; the old one ends after the overlap.",
            body=Body.of(
                api_keys.RotateBody,
                {
                    "overlap": {
                        "pattern": DURATION,
                        "default": "24h",
                        "description": "How long the old one still works, up to `30d`.",
                    }
                },
                required=False,
            ),
            answers={201: MADE},
            errors={409: "`too_many_keys`."},
            examples=[Example("rotate", "An hour of both", body={"overlap": "1h"})],
        ),
    },
)

_FILTERED = {"type": "string", "maxLength": audit.MAX_FILTER_CHARS}

AUDIT = Subject(
    "Audit",
    "Who did what.",
    {
        "GET /v1/audit": Operation(
            "listAudit",
            "What was done, the newest first",
            parameters=[
                *PAGES,
                Parameter(
                    "actor", "Of this one alone: as the audit has it, or an address.", _FILTERED
                ),
                Parameter("action", "Of this kind alone.", _FILTERED),
                Parameter("target", "What was done to this alone.", _FILTERED),
                SINCE,
                UNTIL,
            ],
            answers={200: Answer("A page of entries.", Page[Entry], headers=["Link"])},
            examples=[Example("newest", "The last one", query={"limit": 1, "count": "true"})],
        )
    },
)
