"""Tenants: made, suspended, taken away as an archive, erased."""

from typing import Annotated, Literal
from uuid import UUID

import msgspec

from atalaia.http import tenants
from atalaia.http.archive import ZIP
from atalaia.http.openapi.ids import LEAVING_ID, LEAVING_NAME
from atalaia.http.openapi.operation import (
    Answer,
    Body,
    Example,
    Operation,
    Page,
    Subject,
    Time,
    said,
)
from atalaia.http.openapi.parameters import PAGES
from atalaia.http.openapi.subjects.people import EMAIL, Link


class Tenant(msgspec.Struct):
    """A customer."""

    id: UUID
    name: str
    created_at: Time
    suspended_at: Time | None


class NewTenant(Tenant):
    """A tenant with the invitation of its first administrator."""

    admin_email: str
    link: Link


class Erasure(msgspec.Struct):
    """How far a tenant's erasure is."""

    id: Annotated[UUID, said("Of the tenant.")]
    state: Literal["erasing", "erased"]
    began_at: Time
    finished_at: Annotated[Time | None, said("Null: not yet.")]
    deleted: Annotated[dict[str, int], said("Rows so far, by table.")]


TENANT = Answer("The tenant.", Tenant)
ERASURE = Answer("How far it is.", Erasure)
ARCHIVE = Answer(
    "A ZIP archive. One without its `manifest.json` is not whole.",
    content_types=[ZIP],
    headers=["Content-Disposition"],
)
TAKEN = (
    "Everything of the tenant as it is at one moment, without secrets; `README.txt` in it says "
    "what each file is. What goes wrong on the way breaks the connection."
)
TURNS = "`too_many_archives`: one of a tenant, two by tenants and one by you are taken at a time."
LEAVING = {"tenant": LEAVING_ID}

TENANTS = Subject(
    "Tenants",
    "Customers: all of them for those who look after them, one's own for its administrators.",
    {
        "GET /v1/tenant/export": Operation(
            "exportOwnTenant",
            "One's own tenant as an archive",
            TAKEN,
            answers={200: ARCHIVE},
            errors={409: "`erasing`.", 429: TURNS},
            examples=[Example("all", "All of it")],
        ),
        "GET /v1/admin/tenants": Operation(
            "listTenants",
            "Tenants, the oldest first",
            parameters=PAGES,
            answers={200: Answer("A page of them.", Page[Tenant], headers=["Link"])},
            examples=[Example("all", "The first ten", query={"limit": 10, "count": "true"})],
        ),
        "POST /v1/admin/tenants": Operation(
            "createTenant",
            "Make a tenant",
            "Its first administrator gets a mail with a link, which the answer has where none are"
            " sent.",
            body=Body.of(
                tenants.TenantBody,
                {
                    "name": {"minLength": 1, "maxLength": tenants.MAX_NAME_CHARS},
                    "admin_email": EMAIL,
                },
            ),
            answers={201: Answer("Made.", NewTenant)},
            errors={409: "`email_taken`: the address signs in to another tenant."},
            examples=[
                Example(
                    "bakery",
                    "A bakery",
                    body={"name": "Padaria do Zé", "admin_email": "ze@example.org"},
                )
            ],
        ),
        "GET /v1/admin/tenants/<tenant>": Operation(
            "readTenant",
            "A tenant",
            answers={200: TENANT},
            examples=[Example("one", "A tenant")],
        ),
        "POST /v1/admin/tenants/<tenant>/suspend": Operation(
            "suspendTenant",
            "Suspend a tenant",
            "Its keys and people are out within five seconds, its data stays.",
            answers={200: TENANT},
            errors={409: "It is the tenant of those who look after all."},
            examples=[Example("suspend", "Out")],
        ),
        "POST /v1/admin/tenants/<tenant>/resume": Operation(
            "resumeTenant",
            "Let a tenant in again",
            answers={200: TENANT},
            errors={409: "`erasing`: there is no way back."},
            examples=[Example("resume", "In again")],
        ),
        "GET /v1/admin/tenants/<tenant>/export": Operation(
            "exportTenant",
            "A tenant as an archive",
            TAKEN,
            answers={200: ARCHIVE},
            errors={409: "`erasing`.", 429: TURNS},
            examples=[Example("all", "All of it")],
        ),
        "POST /v1/admin/tenants/<tenant>/erase": Operation(
            "eraseTenant",
            "Begin to erase a suspended tenant",
            "Nothing brings back what is erased. Nothing is stored for the tenant from now on, and "
            "what there is goes in small parts. Asked for again, it says how far that is.",
            body=Body.of(
                tenants.EraseBody, {"name": {"description": "The tenant's, just as it is."}}
            ),
            answers={202: Answer("It began.", Erasure)},
            errors={
                400: "`other_name`: this is not its name. Or no such body.",
                409: "`not_suspended`; or it is the tenant of those who look after all.",
            },
            examples=[
                Example(
                    "mistaken",
                    "The name of another",
                    path=LEAVING,
                    body={"name": "Padaria do Zé"},
                    status=400,
                ),
                Example("served", "It is not suspended", body={"name": "Oficina"}, status=409),
                Example("erase", "It left", path=LEAVING, body={"name": LEAVING_NAME}),
            ],
        ),
        "GET /v1/admin/tenants/<tenant>/erasure": Operation(
            "readErasure",
            "How far the erasure of a tenant is",
            "Answered for good; the tenant itself is 404 then.",
            answers={200: ERASURE},
            examples=[Example("begun", "It has begun", path=LEAVING)],
        ),
    },
)
