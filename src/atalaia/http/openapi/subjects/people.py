"""Signing in, and the users of a tenant."""

from typing import Annotated, Literal
from uuid import UUID

import msgspec

from atalaia.http import login, users
from atalaia.http.openapi.ids import LINK_TOKEN, REFRESH_TOKEN
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
from atalaia.http.openapi.parameters import PAGES, one_of
from atalaia.http.sessions import MAX_EMAIL_CHARS
from atalaia.model.principal import ROLES, SCOPES
from atalaia.security.passwords import MIN_CHARS

EMAIL = {"maxLength": MAX_EMAIL_CHARS, "examples": ["maria@example.org"]}
PASSWORD = {"description": f"At least {MIN_CHARS} characters.", "minLength": 1}
TOLD_PASSWORD = "a quiet evening by the sea"  # noqa: S105 an example
NEW_PASSWORD = "another evening by the sea"  # noqa: S105 an example
Role = Annotated[str, msgspec.Meta(extra_json_schema={"enum": [*ROLES]})]
Scope = Annotated[str, msgspec.Meta(extra_json_schema={"enum": [*SCOPES]})]


class Tokens(msgspec.Struct):
    """What somebody who signed in carries."""

    access_token: Annotated[str, said("For `Authorization: Bearer`.")]
    token_type: Literal["Bearer"]
    expires_in: Annotated[int, said("Seconds that the access token holds.")]
    refresh_token: Annotated[str, said("For the next pair of tokens; it is used once.")]
    refresh_expires_in: Annotated[int, said("Seconds that the refresh token holds.")]


class Ticket(msgspec.Struct):
    """What stands in an address, once."""

    ticket: Annotated[str, said("For `?ticket=` of `GET /v1/stream` or `/v1/ingest`.")]
    expires_in: Annotated[int, said("Seconds within which to connect.")]


class Detail(msgspec.Struct):
    """A sentence."""

    detail: str


class Me(msgspec.Struct):
    """Who is asking: a key has a name and scopes, a person an address and a role."""

    subject: Annotated[str, said("As the audit has it.", "user:0190…", "key:0123456789abcdef")]
    tenant_id: UUID
    name: str | msgspec.UnsetType = msgspec.UNSET
    scopes: list[Scope] | msgspec.UnsetType = msgspec.UNSET
    email: str | msgspec.UnsetType = msgspec.UNSET
    role: Role | msgspec.UnsetType = msgspec.UNSET
    platform: Annotated[bool | msgspec.UnsetType, said("Looks after all tenants.")] = msgspec.UNSET


class User(msgspec.Struct):
    """Somebody who signs in, or was invited to."""

    id: UUID
    email: str
    role: Role
    platform: Annotated[bool, said("Looks after all tenants.")]
    state: Literal["invited", "active", "disabled"]
    created_at: Time
    last_login_at: Time | None


class Link(msgspec.Struct):
    """What is in the mail that goes out."""

    expires_in: Annotated[int, said("Seconds that it holds.")]
    token: (
        Annotated[
            str,
            said("For `POST /v1/auth/password/reset`. Where mails are sent, in the mail alone."),
        ]
        | msgspec.UnsetType
    ) = msgspec.UNSET


class LinkedUser(User):
    """A user, and the link to choose a password with."""

    link: Link


REFRESH = Body.of(login.RefreshBody, {"refresh_token": {"examples": [REFRESH_TOKEN]}})
TOKENS = Answer("Signed in.", Tokens)
DONE = Answer("Done.")

SIGNING_IN = Subject(
    "Signing in",
    "People sign in; machines have keys.",
    {
        "POST /v1/auth/login": Operation(
            "login",
            "Sign in",
            body=Body.of(login.LoginBody, {"email": EMAIL, "password": PASSWORD}),
            answers={200: TOKENS},
            errors={
                401: "`login_refused`: the address or the password is wrong.",
                403: "`tenant_suspended`.",
                429: "`too_many_attempts`.",
            },
            examples=[
                Example(
                    "login",
                    "Maria signs in",
                    body={"email": "maria@example.org", "password": TOLD_PASSWORD},
                ),
                Example(
                    "wrong",
                    "A wrong password",
                    body={"email": "maria@example.org", "password": "letmein"},
                    status=401,
                ),
            ],
        ),
        "POST /v1/auth/refresh": Operation(
            "refresh",
            "The next pair of tokens",
            "A refresh token that is used twice ends the session.",
            body=REFRESH,
            answers={200: TOKENS},
            errors={401: "The token does not hold (any more).", 403: "`tenant_suspended`."},
            examples=[
                Example("refresh", "A new pair", body={"refresh_token": REFRESH_TOKEN}),
            ],
        ),
        "POST /v1/auth/logout": Operation(
            "logout",
            "Sign out",
            body=REFRESH,
            answers={204: Answer("Signed out, if the token held.")},
            examples=[Example("logout", "Out", body={"refresh_token": REFRESH_TOKEN})],
        ),
        "POST /v1/auth/password/forgot": Operation(
            "forgotPassword",
            "Ask for a link by mail",
            "Answers the same whether there is such a user or not.",
            body=Body.of(login.ForgotBody, {"email": {"examples": ["maria@example.org"]}}),
            answers={202: Answer("If there is such a user, a mail is on its way.", Detail)},
            errors={429: "`too_many_attempts`."},
            examples=[Example("forgot", "A link, please", body={"email": "maria@example.org"})],
        ),
        "POST /v1/auth/password/reset": Operation(
            "resetPassword",
            "Choose a password with a link",
            body=Body.of(
                login.ResetBody, {"token": {"description": "Of the link."}, "password": PASSWORD}
            ),
            answers={204: DONE},
            errors={
                400: "`weak_password`, or no such body.",
                404: "The link does not hold.",
                409: "`email_taken`: the address signs in to another tenant.",
            },
            examples=[
                Example(
                    "reset", "With a link", body={"token": LINK_TOKEN, "password": TOLD_PASSWORD}
                )
            ],
        ),
        "POST /v1/auth/password": Operation(
            "changePassword",
            "Choose another password",
            "All sessions end.",
            body=Body.of(login.PasswordBody, {"current": {}, "password": PASSWORD}),
            answers={204: DONE},
            errors={
                400: "`weak_password`, or no such body.",
                403: "`login_refused`: the current password is wrong. Or `forbidden`.",
            },
            examples=[
                Example(
                    "change",
                    "Another one",
                    body={"current": TOLD_PASSWORD, "password": NEW_PASSWORD},
                )
            ],
        ),
        "GET /v1/me": Operation(
            "whoAmI",
            "Who is asking",
            answers={200: Answer("Whom the credential speaks for.", Me)},
            examples=[Example("me", "A person")],
        ),
        "POST /v1/tickets": Operation(
            "issueTicket",
            "What a page shows once, where a browser sends no headers",
            "For `GET /v1/stream` by an `EventSource` and for the WebSocket `/v1/ingest`, as "
            "`?ticket=`. It may what whoever asks may, as long as they may.",
            answers={201: Answer("A ticket.", Ticket)},
            errors={429: "`too_many_tickets`: a tenant has 100 that nobody has used yet."},
            examples=[Example("ticket", "For a page")],
        ),
    },
)

CHANGED = Answer("The user.", User)
RANK = "`forbidden`, for a user who looks after all tenants too."

USERS = Subject(
    "Users",
    "The people of a tenant.",
    {
        "GET /v1/users": Operation(
            "listUsers",
            "Users, by address",
            parameters=PAGES,
            answers={200: Answer("A page of them.", Page[User], headers=["Link"])},
            examples=[Example("all", "The first ten", query={"limit": 10, "count": "true"})],
        ),
        "POST /v1/users": Operation(
            "inviteUser",
            "Invite somebody",
            "A mail with a link goes out, which the answer has where none are sent.",
            body=Body.of(users.InviteBody, {"email": EMAIL, "role": one_of(*ROLES)}),
            answers={201: Answer("Invited.", LinkedUser)},
            errors={409: "`email_taken` in this tenant, `too_many_users`."},
            examples=[
                Example(
                    "invite",
                    "An operator",
                    body={"email": "jo@example.org", "role": "operator"},
                )
            ],
        ),
        "GET /v1/users/<user>": Operation(
            "readUser",
            "A user",
            answers={200: CHANGED},
            examples=[Example("one", "A user")],
        ),
        "PATCH /v1/users/<user>": Operation(
            "changeUser",
            "Another role, or out",
            "Takes effect within five seconds.",
            body=Body.of(
                users.UserBody,
                {
                    "role": {"enum": [*ROLES, None]},
                    "disabled": {"description": "Whether they are kept out."},
                },
            ),
            answers={200: CHANGED},
            errors={403: RANK, 409: "`last_admin`."},
            examples=[Example("promote", "An administrator", body={"role": "admin"})],
        ),
        "DELETE /v1/users/<user>": Operation(
            "deleteUser",
            "Delete a user",
            answers={204: DONE},
            errors={403: RANK, 409: "`last_admin`."},
            examples=[Example("delete", "Gone")],
        ),
        "POST /v1/users/<user>/link": Operation(
            "sendLink",
            "A new link",
            "An invitation, or one to choose another password.",
            answers={200: Answer("The user and the link.", LinkedUser)},
            errors={403: RANK, 409: "`disabled`: enable them first."},
            examples=[Example("link", "A link")],
        ),
    },
)
