"""Users for tests, and clients in their names."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cache
from typing import Any
from uuid import UUID, uuid4

import httpx

from atalaia.model.ids import TenantNo
from atalaia.security.api_keys import new_key
from atalaia.security.passwords import hash_password
from tests.stack import Stack

PASSWORD = "a quiet evening by the sea"


@cache
def password_hash() -> str:
    return hash_password(PASSWORD)


async def add_user(
    stack: Stack,
    email: str,
    role: str = "admin",
    *,
    platform: bool = False,
    tenant_no: TenantNo | None = None,
) -> UUID:
    """A user who can sign in with PASSWORD."""
    user_id = uuid4()
    await stack.sql(
        "INSERT INTO users (tenant_id, user_id, email, password_hash, role, platform)"
        " VALUES ($1, $2, $3, $4, $5, $6)",
        tenant_no or await stack.tenant_no(),
        user_id,
        email,
        password_hash(),
        role,
        platform,
    )
    return user_id


async def add_key(stack: Stack, *scopes: str, tenant_no: TenantNo | None = None) -> str:
    """A key with these scopes."""
    key = new_key()
    await stack.sql(
        "INSERT INTO api_keys (tenant_id, key_id, hash, name, scopes) VALUES ($1, $2, $3, 'k', $4)",
        tenant_no or await stack.tenant_no(),
        key.key_id,
        key.hash,
        list(scopes),
    )
    return key.text


@asynccontextmanager
async def client(
    stack: Stack, headers: Mapping[str, str] | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    """Without a credential but those given."""
    async with httpx.AsyncClient(base_url=stack.url, headers=headers, timeout=30) as opened:
        yield opened


async def login(stack: Stack, email: str, password: str = PASSWORD) -> httpx.Response:
    async with client(stack) as stranger:
        return await stranger.post("/v1/auth/login", json={"email": email, "password": password})


async def tokens(stack: Stack, email: str, password: str = PASSWORD) -> dict[str, Any]:
    response = await login(stack, email, password)
    assert response.status_code == 200, response.text
    return response.json()  # type: ignore[no-any-return]


def bearer(signed_in: Mapping[str, Any]) -> dict[str, str]:
    return {"authorization": f"Bearer {signed_in['access_token']}"}


async def post(stack: Stack, path: str, body: object) -> httpx.Response:
    """As a stranger."""
    async with client(stack) as stranger:
        return await stranger.post(path, json=body)
