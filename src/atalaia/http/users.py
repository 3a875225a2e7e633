"""The users of a tenant: invited by a link, never given a password by somebody else."""

from functools import partial
from typing import Any

import attrs
from quart import Blueprint, Response, g, request

from atalaia.http import params, render
from atalaia.http.bodies import read_body
from atalaia.http.errors import encode
from atalaia.http.login import make_link
from atalaia.http.sessions import is_email, plain
from atalaia.model.errors import Forbidden, Invalid, NotFound
from atalaia.model.people import NewLink, UserView
from atalaia.model.principal import ROLES, Role
from atalaia.people import Users


@attrs.frozen
class InviteBody:
    """`{"email": ..., "role": "viewer"}`"""

    email: str
    role: str = "viewer"


@attrs.frozen
class UserBody:
    """`{"role": "operator", "disabled": true}`, one of the two optional."""

    role: str | None = None
    disabled: bool | None = None


def blueprint(users: Users, *, mailed: bool) -> Blueprint:
    """`/v1/users` and below. mailed: see `with_link`."""
    routes = Blueprint("users", __name__, url_prefix="/v1/users")

    async def find(user: str, *, to_change: bool) -> UserView:
        user_id = params.identifier(user)
        found = None if user_id is None else await users.user(g.principal.tenant_no, user_id)
        if found is None:
            raise _nobody()
        if to_change:
            _check_rank(found)
        return found

    @routes.get("")
    async def list_users() -> dict[str, Any]:
        count = params.limit(request.args)
        after = params.cursor(request.args, str, lambda email: "\0" not in email) or ""
        tenant_no = g.principal.tenant_no
        found = await users.list_users(tenant_no, after=after, limit=count + 1)
        total = await render.total(partial(users.total, tenant_no, "users"))
        return render.first(found, count, _render, lambda user: user.email, total)

    @routes.post("")
    async def invite() -> Response:
        body = await read_body(InviteBody)
        email = check_email(body.email)
        link = make_link("invitation")
        user = await users.invite(
            g.principal.tenant_no, email, _role(body.role), link, g.principal.actor
        )
        return with_link(_render(user), link, 201, mailed=mailed)

    @routes.get("/<user>")
    async def read_user(user: str) -> dict[str, Any]:
        return _render(await find(user, to_change=False))

    @routes.patch("/<user>")
    async def change_user(user: str) -> dict[str, Any]:
        body = await read_body(UserBody)
        role = None if body.role is None else _role(body.role)
        known = await find(user, to_change=True)
        changed = await users.change_user(
            g.principal.tenant_no,
            known.user_id,
            role=role,
            disabled=body.disabled,
            by=g.principal.actor,
        )
        if changed is None:
            raise _nobody()
        return _render(changed)

    @routes.delete("/<user>")
    async def delete_user(user: str) -> tuple[str, int]:
        known = await find(user, to_change=True)
        if not await users.delete_user(g.principal.tenant_no, known.user_id, g.principal.actor):
            raise _nobody()
        return "", 204

    @routes.post("/<user>/link")
    async def send_link(user: str) -> Response:
        known = await find(user, to_change=True)
        link = make_link("reset" if known.has_password else "invitation")
        sent = await users.send_link(g.principal.tenant_no, known.user_id, link, g.principal.actor)
        if sent is None:
            raise _nobody()
        return with_link(_render(sent), link, 200, mailed=mailed)

    return routes


def check_email(text: str) -> str:
    """As it is stored. Raises Invalid."""
    email = plain(text)
    if not email.isascii():
        raise Invalid(
            "email: addresses are ASCII here, and mails go to no others: give one without accents.",
            code="bad_body",
        )
    if not is_email(email):
        raise Invalid("email: this is no e-mail address.", code="bad_body")
    return email


def with_link(said: dict[str, Any], link: NewLink, status: int, *, mailed: bool) -> Response:
    """mailed: whether mails are sent. Then only the mail has the link, so that whoever uses it gets
    the mails of that address; else whoever may ask for it sees it, and hands it over.
    """
    shown: dict[str, Any] = {} if mailed else {"token": link.text}
    body = said | {"link": shown | {"expires_in": link.lives_s}}
    response = Response(encode(body), status, content_type="application/json")
    return response


def _check_rank(user: UserView) -> None:
    """A link to choose a password is the account itself: who looks after all tenants may not be
    taken over by an administrator of one, nor by a key.
    """
    person = g.principal.person
    if user.platform and not (person is not None and person.platform):
        raise Forbidden("This user looks after all tenants, and only such a user may do that.")


def _role(text: str) -> Role:
    if text not in ROLES:
        raise Invalid(f"role: give one of {', '.join(ROLES)}.", code="bad_body")
    return text


def _nobody() -> NotFound:
    return NotFound("There is no user with this id.")


def _render(user: UserView) -> dict[str, Any]:
    return {
        "id": str(user.user_id),
        "email": user.email,
        "role": user.role,
        "platform": user.platform,
        "state": _state(user),
        "created_at": render.time(user.created_at),
        "last_login_at": render.time(user.last_login_at),
    }


def _state(user: UserView) -> str:
    if user.disabled_at is not None:
        return "disabled"
    return "active" if user.has_password else "invited"
