"""The API keys of a tenant. A key is shown once, when it is made."""

import re
from functools import partial
from typing import Any

import attrs
from quart import Blueprint, Response, g, request

from atalaia.engine.clock import WallClock
from atalaia.http import params, render
from atalaia.http.bodies import read_body
from atalaia.http.errors import encode
from atalaia.model.errors import Invalid, NotFound
from atalaia.model.ids import SECOND_US, Micros
from atalaia.model.people import KeyView
from atalaia.model.principal import SCOPES
from atalaia.people import Keys
from atalaia.rules.syntax import parse_duration
from atalaia.security.api_keys import NewKey, new_key

MAX_NAME_CHARS = 64
LONGEST_OVERLAP_S = 30 * 86_400
_KEY_ID = re.compile("[0-9a-f]{16}")


@attrs.frozen
class KeyBody:
    """`{"name": "gateway 7", "scopes": ["ingest"], "expires_in": "90d"}`; by default it may only
    send, and goes on until it is revoked.
    """

    name: str
    scopes: list[str] = attrs.field(factory=lambda: ["ingest"])
    expires_in: str | None = None


@attrs.frozen
class RotateBody:
    """`{"overlap": "24h"}`: how long the key before still works."""

    overlap: str = "24h"


def blueprint(keys: Keys, clock: WallClock) -> Blueprint:
    """`/v1/api-keys` and below."""
    routes = Blueprint("api_keys", __name__, url_prefix="/v1/api-keys")

    @routes.get("")
    async def list_keys() -> dict[str, Any]:
        count = params.limit(request.args)
        after = params.cursor(request.args, str, lambda key: "\0" not in key) or ""
        tenant_no = g.principal.tenant_no
        found = await keys.list_keys(tenant_no, after=after, limit=count + 1)
        total = await render.total(partial(keys.total, tenant_no, "api_keys"))
        return render.first(found, count, _render, lambda key: key.key_id, total)

    @routes.post("")
    async def create_key() -> Response:
        body = await read_body(KeyBody)
        name, scopes = _name(body.name), _scopes(body.scopes)
        expires_at = None
        if body.expires_in is not None:
            expires_at = Micros(clock.now_us() + _duration("expires_in", body.expires_in))
        key = new_key()
        principal = g.principal
        made = await keys.create_key(
            principal.tenant_no, key, name, scopes, expires_at, principal.actor
        )
        return _shown_once(made, key)

    @routes.get("/<key>")
    async def read_key(key: str) -> dict[str, Any]:
        found = None
        if _KEY_ID.fullmatch(key):
            found = await keys.key(g.principal.tenant_no, key)
        if found is None:
            raise _no_key()
        return _render(found)

    @routes.post("/<key>/rotate")
    async def rotate_key(key: str) -> Response:
        body = await read_body(RotateBody) if await request.get_data() else RotateBody()
        overlap_s = _duration("overlap", body.overlap, least=0) // SECOND_US
        if overlap_s > LONGEST_OVERLAP_S:
            raise Invalid("overlap: give 30d at most.", code="bad_body")
        new = new_key()
        made = None
        if _KEY_ID.fullmatch(key):
            made = await keys.rotate_key(
                g.principal.tenant_no, key, new, overlap_s, g.principal.actor
            )
        if made is None:
            raise _no_key()
        return _shown_once(made, new)

    @routes.delete("/<key>")
    async def revoke_key(key: str) -> tuple[str, int]:
        known = _KEY_ID.fullmatch(key) and await keys.revoke_key(
            g.principal.tenant_no, key, g.principal.actor
        )
        if not known:
            raise _no_key()
        return "", 204

    return routes


def _name(text: str) -> str:
    if not 0 < len(text) <= MAX_NAME_CHARS or not text.isprintable():
        raise Invalid(
            f"name: a key's name has 1 to {MAX_NAME_CHARS} printable characters.", code="bad_body"
        )
    return text


def _scopes(wanted: list[str]) -> list[str]:
    if not wanted or not set(wanted) <= set(SCOPES):
        raise Invalid(f"scopes: give some of {', '.join(SCOPES)}.", code="bad_body")
    return [scope for scope in SCOPES if scope in wanted]


def _duration(name: str, text: str, *, least: int = SECOND_US) -> int:
    try:
        length_us = parse_duration(text)
    except Invalid as error:
        raise Invalid(f"{name}: {error.detail}", code="bad_body") from error
    if not least <= length_us <= 3_650 * 86_400 * SECOND_US:
        raise Invalid(f"{name}: give a duration up to 3650d.", code="bad_body")
    return length_us


def _no_key() -> NotFound:
    return NotFound("There is no key with this id.")


def _shown_once(key: KeyView, made: NewKey) -> Response:
    response = Response(
        encode(_render(key) | {"key": made.text}), 201, content_type="application/json"
    )
    response.headers["location"] = f"/v1/api-keys/{key.key_id}"
    return response


def _render(key: KeyView) -> dict[str, Any]:
    return {
        "id": key.key_id,
        "name": key.name,
        "scopes": list(key.scopes),
        "readings_per_s": key.readings_per_s,
        "bytes_per_s": key.bytes_per_s,
        "created_at": render.time(key.created_at),
        "expires_at": render.time(key.expires_at),
        "last_used_at": render.time(key.last_used_at),
    }
