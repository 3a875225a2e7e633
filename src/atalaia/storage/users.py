"""The users of one tenant. Whatever changes what somebody may do ends their sessions."""

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from atalaia.bridge import Bridge
from atalaia.model.audit import COMMAND_LINE, Actor, AuditEntry
from atalaia.model.errors import Busy, Conflict, NotFound
from atalaia.model.ids import TenantNo, uuid7
from atalaia.model.people import NewLink, UserView
from atalaia.model.principal import Role
from atalaia.storage.accounts import transaction_aio
from atalaia.storage.audit import write_entry_aio
from atalaia.storage.database import setup_connection_aio
from atalaia.storage.sessions import end_access_aio, put_link_aio, take_links_aio

MOST_USERS = 1_000
MAILS_TO_ONE, MAILS_TO_ALL = 5, 200  # of a tenant in an hour

_VIEW = (
    "user_id, email, role, platform, password_hash IS NOT NULL AS has_password, created_at,"
    " disabled_at, last_login_at"
)


async def list_users_aio(
    connection: asyncpg.Connection, after: str, limit: int
) -> Sequence[UserView]:
    rows = await connection.fetch(
        f"SELECT {_VIEW} FROM users WHERE email > $1 ORDER BY email LIMIT $2",  # noqa: S608
        after,
        limit,
    )
    return [UserView(*row) for row in rows]


async def user_aio(connection: asyncpg.Connection, user_id: UUID) -> UserView | None:
    row = await connection.fetchrow(
        f"SELECT {_VIEW} FROM users WHERE user_id = $1",  # noqa: S608
        user_id,
    )
    return None if row is None else UserView(*row)


async def invite_aio(
    connection: asyncpg.Connection,
    tenant_no: TenantNo,
    email: str,
    role: Role,
    link: NewLink,
    by: Actor,
) -> UserView:
    if await connection.fetchval("SELECT count(*) FROM users") >= MOST_USERS:
        raise Conflict(f"A tenant may have {MOST_USERS} users.", code="too_many_users")
    row = await connection.fetchrow(
        "INSERT INTO users (tenant_id, user_id, email, role) VALUES ($1, $2, $3, $4)"  # noqa: S608
        f" ON CONFLICT (tenant_id, email) DO NOTHING RETURNING {_VIEW}",
        tenant_no,
        uuid7(await connection.fetchval("SELECT now()")),
        email,
        role,
    )
    if row is None:
        raise Conflict("This tenant has a user with this e-mail address.", code="email_taken")
    user = UserView(*row)
    await _put_link_aio(connection, tenant_no, user.user_id, email, link)
    entry = AuditEntry(by, "user.invited", str(user.user_id), {"email": email, "role": role})
    await write_entry_aio(connection, tenant_no, entry)
    return user


async def send_link_aio(
    connection: asyncpg.Connection, tenant_no: TenantNo, user_id: UUID, link: NewLink, by: Actor
) -> UserView | None:
    user = await user_aio(connection, user_id)
    if user is None:
        return None
    if user.disabled_at is not None:
        raise _disabled()
    await take_links_aio(connection, user_id)
    await _put_link_aio(connection, tenant_no, user_id, user.email, link)
    entry = AuditEntry(by, "user.link_sent", str(user_id), {"email": user.email})
    await write_entry_aio(connection, tenant_no, entry)
    return user


async def _put_link_aio(
    connection: asyncpg.Connection, tenant_no: TenantNo, user_id: UUID, email: str, link: NewLink
) -> None:
    """Raises Busy where a tenant has many mails sent: to one address, or at all."""
    to_one, to_all = await connection.fetchrow(
        "SELECT count(*) FILTER (WHERE recipient = $1), count(*) FROM outbox_mails"
        " WHERE created_at > now() - interval '1 hour'",
        email,
    )
    if to_one >= MAILS_TO_ONE or to_all >= MAILS_TO_ALL:
        raise Busy(
            f"A tenant may have {MAILS_TO_ONE} mails an hour sent to one address, and "
            f"{MAILS_TO_ALL} in all.",
            code="too_many_mails",
            retry_after_s=600,
        )
    await put_link_aio(connection, tenant_no, user_id, email, link)


async def change_user_aio(
    connection: asyncpg.Connection,
    tenant_no: TenantNo,
    user_id: UUID,
    role: Role | None,
    disabled: bool | None,
    by: Actor,
) -> UserView | None:
    admins = await _lock_admins_aio(connection, tenant_no)
    user = await user_aio(connection, user_id)
    if user is None:
        return None
    new_role = user.role if role is None else role
    off = user.disabled_at is not None if disabled is None else disabled
    if new_role == user.role and off == (user.disabled_at is not None):
        return user
    if new_role != "admin" or off:
        _check_not_last(admins, user)
    await connection.execute(
        "UPDATE users SET role = $2, token_version = token_version + 1,"
        " disabled_at = CASE WHEN $3 THEN coalesce(disabled_at, now()) END WHERE user_id = $1",
        user_id,
        new_role,
        off,
    )
    await end_access_aio(connection, user_id)
    detail = {"email": user.email, "role": new_role, "role_before": user.role, "disabled": off}
    entry = AuditEntry(by, "user.changed", str(user_id), detail)
    await write_entry_aio(connection, tenant_no, entry)
    return await user_aio(connection, user_id)


async def delete_user_aio(
    connection: asyncpg.Connection, tenant_no: TenantNo, user_id: UUID, by: Actor
) -> bool:
    admins = await _lock_admins_aio(connection, tenant_no)
    user = await user_aio(connection, user_id)
    if user is None:
        return False
    _check_not_last(admins, user)
    await take_links_aio(connection, user_id)
    await connection.execute("DELETE FROM users WHERE user_id = $1", user_id)
    entry = AuditEntry(by, "user.deleted", str(user_id), {"email": user.email, "role": user.role})
    await write_entry_aio(connection, tenant_no, entry)
    return True


async def link_for(bridge: Bridge, url: str, email: str, link: NewLink) -> None:
    """A link for a user of any tenant, by the powerful role.

    Raises NotFound, StartupRefused; Conflict where it is not clear which tenant is meant, and for
    who is disabled.
    """
    await bridge.call(_link_for_aio, url, email, link)


async def _link_for_aio(url: str, email: str, link: NewLink) -> None:
    async with transaction_aio(url, "atalaia_migrate") as connection:
        await setup_connection_aio(connection)
        rows = await connection.fetch(
            "SELECT tenant_id, user_id, password_hash IS NULL AS invited, disabled_at FROM users"
            " WHERE email = $1 ORDER BY invited LIMIT 2",
            email,
        )
        if not rows:
            raise NotFound(f"The database knows no user {email}.")
        row = rows[0]
        if row["invited"] and len(rows) > 1:
            raise Conflict(
                f"Several tenants have invited {email}, and none has been joined: "
                "an administrator of the one that is meant sends another link."
            )
        if row["disabled_at"] is not None:
            raise _disabled()
        await put_link_aio(connection, row["tenant_id"], row["user_id"], email, link)
        entry = AuditEntry(COMMAND_LINE, "user.link_sent", str(row["user_id"]), {"email": email})
        await write_entry_aio(connection, row["tenant_id"], entry)


async def set_platform(bridge: Bridge, url: str, email: str, *, platform: bool) -> bool:
    """Whether a user of the first tenant is to look after all tenants, by the powerful role. False:
    it is so already. Else their sessions end.

    Raises NotFound, StartupRefused; Conflict for who is in another tenant or is no administrator
    who can sign in, and for the last one.
    """
    return await bridge.call(_set_platform_aio, url, email, platform)


async def _set_platform_aio(url: str, email: str, platform: bool) -> bool:
    async with transaction_aio(url, "atalaia_migrate") as connection:
        await setup_connection_aio(connection)
        tenant_no = await connection.fetchval("SELECT min(tenant_id) FROM users WHERE platform")
        admins = await _lock_admins_aio(connection, tenant_no)
        rows = await connection.fetch(
            f"SELECT tenant_id, {_VIEW} FROM users WHERE email = $1"  # noqa: S608
            " ORDER BY tenant_id <> $2",
            email,
            tenant_no,
        )
        if not rows:
            raise NotFound(f"The database knows no user {email}.")
        if rows[0]["tenant_id"] != tenant_no:
            raise Conflict(
                f"{email} is a user of another tenant. Who looks after all tenants is a user of "
                "the first one: invite them there, with an address that signs in nowhere else."
            )
        user = UserView(*rows[0][1:])
        if user.platform == platform:
            return False
        if platform and user.user_id not in admins:
            raise Conflict(
                f"{email} is no administrator who can sign in. Let them choose a password, and "
                "make them an administrator (PATCH /v1/users/{id}) first."
            )
        if not platform:
            _check_not_last(admins, user)
        await connection.execute(
            "UPDATE users SET platform = $2, token_version = token_version + 1 WHERE user_id = $1",
            user.user_id,
            platform,
        )
        await end_access_aio(connection, user.user_id)
        detail = {"email": email, "platform": platform}
        entry = AuditEntry(COMMAND_LINE, "user.platform_set", str(user.user_id), detail)
        await write_entry_aio(connection, tenant_no, entry)
        return True


async def _lock_admins_aio(connection: asyncpg.Connection, tenant_no: TenantNo) -> dict[UUID, bool]:
    """Those who can sign in, and whether they look after all tenants. Locked, or two could each
    take the other one's leave for granted.
    """
    rows = await connection.fetch(
        "SELECT user_id, platform FROM users WHERE tenant_id = $1 AND role = 'admin'"
        " AND disabled_at IS NULL AND password_hash IS NOT NULL ORDER BY user_id FOR UPDATE",
        tenant_no,
    )
    return {row["user_id"]: row["platform"] for row in rows}


def _check_not_last(admins: dict[UUID, bool], user: UserView) -> None:
    others = {other: platform for other, platform in admins.items() if other != user.user_id}
    if user.platform and user.user_id in admins and not any(others.values()):
        raise Conflict(
            "This is the last administrator who can look after all tenants: nobody could undo it.",
            code="last_admin",
        )
    if user.user_id in admins and not others:
        raise Conflict(
            "This is the last administrator who can sign in; make another one first.",
            code="last_admin",
        )


def _disabled() -> Conflict:
    return Conflict("This user is disabled; enable them first.", code="disabled")
