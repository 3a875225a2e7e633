"""Signing in and out, and choosing passwords."""

from typing import Any

import attrs
import trio
from quart import Blueprint, Response, g, request

from atalaia.http.bodies import read_body
from atalaia.http.errors import encode
from atalaia.http.sessions import Sessions, Tokens, is_email, plain
from atalaia.model.errors import Forbidden, Invalid, NotFound, Unauthenticated
from atalaia.model.people import LinkPurpose, NewLink
from atalaia.model.principal import Principal
from atalaia.security.api_keys import hash_secret
from atalaia.security.passwords import find_fault, hash_password
from atalaia.security.tokens import INVITATION_LIVES_S, RESET_LIVES_S, new_link

FORGOT_S = 0.5  # the answer comes after so long, whether there is such a user or not
LINK_LIVES_S = {"invitation": INVITATION_LIVES_S, "reset": RESET_LIVES_S}


@attrs.frozen
class LoginBody:
    """`{"email": ..., "password": ...}`"""

    email: str
    password: str


@attrs.frozen
class RefreshBody:
    """`{"refresh_token": ...}`"""

    refresh_token: str


@attrs.frozen
class ForgotBody:
    """`{"email": ...}`"""

    email: str


@attrs.frozen
class ResetBody:
    """`{"token": ..., "password": ...}`: of a link, and what to sign in with from now on."""

    token: str
    password: str


@attrs.frozen
class PasswordBody:
    """`{"current": ..., "password": ...}`"""

    current: str
    password: str


def make_link(purpose: LinkPurpose) -> NewLink:
    text = new_link()
    return NewLink(text, hash_secret(text), purpose, LINK_LIVES_S[purpose])


def address() -> str:
    """Whence the request comes."""
    client = request.scope.get("client")
    return str(client[0]) if client else ""


def blueprint(sessions: Sessions) -> Blueprint:
    """`/v1/auth` and `/v1/me`."""
    routes = Blueprint("login", __name__)

    @routes.post("/v1/auth/login")
    async def login() -> Response:
        body = await read_body(LoginBody)
        return _answer(await sessions.sign_in(body.email, body.password, address()))

    @routes.post("/v1/auth/refresh")
    async def refresh() -> Response:
        body = await read_body(RefreshBody)
        return _answer(await sessions.refresh(body.refresh_token))

    @routes.post("/v1/auth/logout")
    async def logout() -> tuple[str, int]:
        body = await read_body(RefreshBody)
        await sessions.people.end_session(hash_secret(body.refresh_token))
        return "", 204

    @routes.post("/v1/auth/password/forgot")
    async def forgot() -> tuple[dict[str, Any], int]:
        until = trio.current_time() + FORGOT_S
        email = plain((await read_body(ForgotBody)).email)
        sessions.throttle.check("reset:" + email, address())
        if is_email(email):
            await sessions.people.ask_reset(email, make_link("reset"))
        await trio.sleep_until(until)
        return {"detail": "If there is such a user, a mail with a link is on its way."}, 202

    @routes.post("/v1/auth/password/reset")
    async def reset() -> tuple[str, int]:
        body = await read_body(ResetBody)
        link = hash_secret(body.token)
        email = await sessions.people.link_owner(link)
        if email is None:
            raise _no_link()
        check_new(body.password, email)
        password_hash = await sessions.hashing.run(hash_password, body.password)
        if not await sessions.people.use_link(link, password_hash):
            raise _no_link()
        sessions.throttle.passed(email, address())
        return "", 204

    @routes.post("/v1/auth/password")
    async def change() -> tuple[str, int]:
        principal = g.principal
        body = await read_body(PasswordBody)
        person = principal.person
        try:
            login = await sessions.check_password(person.email, body.current, address())
        except Unauthenticated as error:
            raise Forbidden("The current password is wrong.", code="login_refused") from error
        check_new(body.password, person.email)
        password_hash = await sessions.hashing.run(hash_password, body.password)
        # In one's own tenant, whichever is visited.
        await sessions.people.set_password(
            login.tenant_no, login.user_id, password_hash, principal.actor
        )
        return "", 204

    @routes.get("/v1/me")
    async def me() -> dict[str, Any]:
        return _whoami(g.principal)

    return routes


def check_new(password: str, email: str) -> None:
    """Raises Invalid when this may not be the password of the user with this address."""
    fault = find_fault(password, email)
    if fault is not None:
        raise Invalid(fault, code="weak_password")


def _no_link() -> NotFound:
    return NotFound("This link does not hold (any more); ask for another one.")


def _answer(tokens: Tokens) -> Response:
    body = {
        "access_token": tokens.access,
        "token_type": "Bearer",
        "expires_in": tokens.access_s,
        "refresh_token": tokens.refresh,
        "refresh_expires_in": tokens.refresh_s,
    }
    response = Response(encode(body), content_type="application/json")
    return response


def _whoami(principal: Principal) -> dict[str, Any]:
    said: dict[str, Any] = {"subject": principal.subject, "tenant_id": str(principal.tenant_id)}
    person = principal.person
    if person is None:
        return said | {"name": principal.key_name, "scopes": sorted(principal.scopes)}
    return said | {"email": person.email, "role": person.role, "platform": person.platform}
