"""Sessions, refresh tokens and links, each step in one transaction.

Whoever comes without a tenant is looked up by functions that answer for one exact id, address or
hash; the rest of the transaction then runs as that tenant, under its policies.
"""

from collections.abc import Mapping
from uuid import UUID

import asyncpg

from atalaia.model.audit import Actor, AuditEntry
from atalaia.model.errors import Conflict, Suspended
from atalaia.model.ids import TenantNo, uuid7
from atalaia.model.people import LoginRecord, NewLink, NewSession, Rotation, SessionRecord
from atalaia.model.principal import Person
from atalaia.model.quota import Quota
from atalaia.storage.audit import write_entry_aio

NOBODY = Actor("nobody")

GRACE_S = 10
"""So long a refresh token may be shown again, if what came of it was never used: an answer that was
lost must not make its client look like a thief."""

ELSEWHERE = (
    "This e-mail address signs in to another tenant already. Ask for an invitation to another one."
)
MOST_LINKS = 3
"""Living ones of a user. Whoever asks for more gets no mail, and takes none of these away."""


async def enter_tenant_aio(connection: asyncpg.Connection, tenant_no: TenantNo) -> None:
    """From here on the transaction is this tenant's."""
    await connection.execute("SELECT set_config('app.tenant_id', $1, true)", str(tenant_no))


async def enter_owner_aio(
    connection: asyncpg.Connection, finder: str, secret_hash: bytes
) -> TenantNo | None:
    """From here on the transaction is that of the tenant whose secret has this hash, as `finder`, a
    function of the database, knows it; None: nobody's.
    """
    tenant_no: TenantNo | None = await connection.fetchval(f"SELECT {finder}($1)", secret_hash)
    if tenant_no is not None:
        await enter_tenant_aio(connection, tenant_no)
    return tenant_no


async def find_login_aio(connection: asyncpg.Connection, email: str) -> LoginRecord | None:
    row = await connection.fetchrow("SELECT * FROM find_login($1)", email)
    if row is None:
        return None
    return LoginRecord(
        row["tenant_id"], row["user_id"], email, row["password_hash"], row["token_version"],
        row["suspended"],
    )  # fmt: skip


_FIND = "SELECT * FROM find_session($1) s CROSS JOIN LATERAL find_bounds(s.tenant_id, NULL) b"


async def find_session_aio(
    connection: asyncpg.Connection, session_id: UUID
) -> SessionRecord | None:
    row = await connection.fetchrow(_FIND, session_id)
    if row is None:
        return None
    person = Person(row["user_id"], row["email"], row["role"], session_id, row["platform"])
    quota = Quota(
        row["readings_per_s"],
        row["bytes_per_s"],
        row["max_rules"],
        waiting_bytes=row["waiting_bytes"],
    )
    return SessionRecord(
        row["tenant_id"], row["tenant_uuid"], person, row["token_version"], quota, row["suspended"]
    )


async def begin_session_aio(
    connection: asyncpg.Connection, login: LoginRecord, session: NewSession, rehashed: str | None
) -> bool:
    # The user's row first, as whoever changes the password or the role does: so a session that
    # they do not see yet is not begun after they have ended all.
    still = await connection.execute(
        "UPDATE users SET last_login_at = now(), password_hash = coalesce($3, password_hash)"
        " WHERE user_id = $1 AND token_version = $2 AND disabled_at IS NULL",
        login.user_id,
        login.version,
        rehashed,
    )
    if still != "UPDATE 1":
        return False
    await connection.execute(
        "DELETE FROM sessions WHERE user_id = $1 AND ends_at < now()", login.user_id
    )
    await connection.execute(
        "INSERT INTO sessions (tenant_id, session_id, user_id, ends_at)"
        " VALUES ($1, $2, $3, now() + $4 * interval '1 second')",
        login.tenant_no,
        session.session_id,
        login.user_id,
        session.lives_s,
    )
    await _insert_token_aio(connection, login.tenant_no, session.session_id, session.token_hash)
    actor = Actor(f"user:{login.user_id}", login.email)
    detail = {"address": session.address}
    entry = AuditEntry(actor, "session.began", str(session.session_id), detail)
    await write_entry_aio(connection, login.tenant_no, entry)
    return True


async def _insert_token_aio(
    connection: asyncpg.Connection, tenant_no: TenantNo, session_id: UUID, token_hash: bytes
) -> None:
    await connection.execute(
        "INSERT INTO refresh_tokens (tenant_id, session_id, token_hash) VALUES ($1, $2, $3)",
        tenant_no,
        session_id,
        token_hash,
    )


async def rotate_aio(
    connection: asyncpg.Connection, token_hash: bytes, next_hash: bytes
) -> Rotation | None:
    """One conditional update: of two that come at once, one wins and the other asks again."""
    tenant_no = await enter_owner_aio(connection, "find_refresh_token", token_hash)
    if tenant_no is None:
        return None
    if await connection.fetchval("SELECT suspended_at IS NOT NULL FROM tenants"):
        raise Suspended  # and the token is not used up
    session_id = await connection.fetchval(
        "UPDATE refresh_tokens SET used_at = clock_timestamp(), next_hash = $2"
        " WHERE token_hash = $1 AND used_at IS NULL RETURNING session_id",
        token_hash,
        next_hash,
    )
    row = await connection.fetchrow(
        "SELECT session_id, user_id, email, token_version,"
        " extract(epoch FROM ends_at - now())::int4 AS left_s,"
        " revoked_at IS NULL AND ends_at > now() AND disabled_at IS NULL AS living"
        " FROM refresh_tokens JOIN sessions USING (tenant_id, session_id)"
        " JOIN users USING (tenant_id, user_id) WHERE token_hash = $1",
        token_hash,
    )
    if row is None or not row["living"]:
        return None
    if session_id is not None:
        await _insert_token_aio(connection, tenant_no, session_id, next_hash)
    elif not await _is_asked_again_aio(connection, token_hash, next_hash):
        await _revoke_aio(connection, row["session_id"])
        actor = Actor(f"user:{row['user_id']}", row["email"])
        entry = AuditEntry(actor, "session.token_reused", str(row["session_id"]))
        await write_entry_aio(connection, tenant_no, entry)
        return None
    return Rotation(row["user_id"], row["session_id"], row["token_version"], row["left_s"])


async def _is_asked_again_aio(
    connection: asyncpg.Connection, token_hash: bytes, next_hash: bytes
) -> bool:
    return bool(
        await connection.fetchval(
            "SELECT EXISTS (SELECT FROM refresh_tokens was JOIN refresh_tokens next"
            " ON next.tenant_id = was.tenant_id AND next.token_hash = was.next_hash"
            " WHERE was.token_hash = $1 AND was.next_hash = $2 AND next.used_at IS NULL"
            " AND was.used_at > clock_timestamp() - $3 * interval '1 second')",
            token_hash,
            next_hash,
            GRACE_S,
        )
    )


async def _revoke_aio(connection: asyncpg.Connection, session_id: UUID) -> bool:
    status = await connection.execute(
        "UPDATE sessions SET revoked_at = now() WHERE session_id = $1 AND revoked_at IS NULL",
        session_id,
    )
    return bool(status == "UPDATE 1")


async def end_session_aio(connection: asyncpg.Connection, token_hash: bytes) -> None:
    tenant_no = await enter_owner_aio(connection, "find_refresh_token", token_hash)
    if tenant_no is None:
        return
    row = await connection.fetchrow(
        "SELECT session_id, user_id, email FROM refresh_tokens"
        " JOIN sessions USING (tenant_id, session_id) JOIN users USING (tenant_id, user_id)"
        " WHERE token_hash = $1",
        token_hash,
    )
    if row is not None and await _revoke_aio(connection, row["session_id"]):
        actor = Actor(f"user:{row['user_id']}", row["email"])
        entry = AuditEntry(actor, "session.ended", str(row["session_id"]))
        await write_entry_aio(connection, tenant_no, entry)


async def ask_reset_aio(connection: asyncpg.Connection, email: str, link: NewLink) -> None:
    """For whoever has one; who was invited and has none may be invited again."""
    login = await find_login_aio(connection, email)
    if login is None or login.suspended:
        return
    await enter_tenant_aio(connection, login.tenant_no)
    await connection.execute("DELETE FROM user_links WHERE expires_at < now()")
    living = await connection.fetchval(
        "SELECT count(*) FROM user_links WHERE user_id = $1", login.user_id
    )
    if living >= MOST_LINKS:
        return
    await put_link_aio(connection, login.tenant_no, login.user_id, email, link)
    actor = Actor(f"user:{login.user_id}", email)
    entry = AuditEntry(actor, "user.reset_asked", str(login.user_id))
    await write_entry_aio(connection, login.tenant_no, entry)


async def put_link_aio(
    connection: asyncpg.Connection, tenant_no: TenantNo, user_id: UUID, email: str, link: NewLink
) -> None:
    """The link, and the mail that brings it."""
    await connection.execute(
        "INSERT INTO user_links (tenant_id, link_hash, user_id, purpose, expires_at)"
        " VALUES ($1, $2, $3, $4, now() + $5 * interval '1 second')",
        tenant_no,
        link.hash,
        user_id,
        link.purpose,
        link.lives_s,
    )
    await connection.execute(
        "INSERT INTO outbox_mails (tenant_id, mail_id, kind, recipient, params)"
        " VALUES ($1, $2, $3, $4, $5)",
        tenant_no,
        uuid7(await connection.fetchval("SELECT now()")),
        link.purpose,
        email,
        {"token": link.text, "lives_s": link.lives_s},
    )


async def link_owner_aio(connection: asyncpg.Connection, link_hash: bytes) -> str | None:
    tenant_no = await enter_owner_aio(connection, "find_link", link_hash)
    if tenant_no is None:
        return None
    email: str | None = await connection.fetchval(
        "SELECT email FROM user_links JOIN users USING (tenant_id, user_id)"
        " WHERE link_hash = $1 AND expires_at > now() AND disabled_at IS NULL",
        link_hash,
    )
    return email


async def use_link_aio(
    connection: asyncpg.Connection, link_hash: bytes, password_hash: str
) -> bool:
    tenant_no = await enter_owner_aio(connection, "find_link", link_hash)
    if tenant_no is None:
        return False
    used = await connection.fetchrow(
        "DELETE FROM user_links WHERE link_hash = $1 AND expires_at > now()"
        " AND EXISTS (SELECT FROM users u WHERE u.user_id = user_links.user_id"
        " AND disabled_at IS NULL) RETURNING user_id, purpose",
        link_hash,
    )
    if used is None:
        return False
    email = await connection.fetchval("SELECT email FROM users WHERE user_id = $1", used["user_id"])
    actor = Actor(f"user:{used['user_id']}", email)
    try:
        await set_password_aio(
            connection, tenant_no, used["user_id"], password_hash, actor, by_link=used["purpose"]
        )
    except asyncpg.UniqueViolationError as error:
        raise Conflict(ELSEWHERE, code="email_taken") from error
    return True


async def set_password_aio(
    connection: asyncpg.Connection,
    tenant_no: TenantNo,
    user_id: UUID,
    password_hash: str,
    by: Actor,
    *,
    by_link: str | None = None,
) -> None:
    """Every session and every link of the user ends."""
    await connection.execute(
        "UPDATE users SET password_hash = $2, token_version = token_version + 1 WHERE user_id = $1",
        user_id,
        password_hash,
    )
    await end_access_aio(connection, user_id)
    detail = {} if by_link is None else {"by_link": by_link}
    entry = AuditEntry(by, "user.password_set", str(user_id), detail)
    await write_entry_aio(connection, tenant_no, entry)


async def end_access_aio(connection: asyncpg.Connection, user_id: UUID) -> None:
    """Revoke every session of a user and take every link away, those in mails not sent yet too."""
    await connection.execute(
        "UPDATE sessions SET revoked_at = now() WHERE user_id = $1 AND revoked_at IS NULL", user_id
    )
    await take_links_aio(connection, user_id)


async def take_links_aio(connection: asyncpg.Connection, user_id: UUID) -> None:
    """None of a user holds any more, and none is sent any more."""
    await connection.execute("DELETE FROM user_links WHERE user_id = $1", user_id)
    await connection.execute(
        "UPDATE outbox_mails SET outcome = 'expired', ended_at = now(), params = '{}'"
        " WHERE (tenant_id, recipient) = (SELECT tenant_id, email FROM users WHERE user_id = $1)"
        " AND outcome IS NULL",
        user_id,
    )


async def note_failures_aio(connection: asyncpg.Connection, emails: Mapping[str, int]) -> None:
    found = [(await find_login_aio(connection, email), count) for email, count in emails.items()]
    known = [(login, count) for login, count in found if login is not None]
    for login, count in sorted(known, key=lambda one: one[0].tenant_no):  # as the engine's commits
        await enter_tenant_aio(connection, login.tenant_no)
        entry = AuditEntry(NOBODY, "session.refused", str(login.user_id), {"times": count})
        await write_entry_aio(connection, login.tenant_no, entry)
