"""Tickets: issued, and used once, whichever process is asked. Only hashes are here."""

import asyncpg

from atalaia.model.errors import Busy
from atalaia.model.ids import TenantNo
from atalaia.model.tickets import TicketHolder
from atalaia.storage.sessions import enter_owner_aio

MOST_LIVING = 100  # of a tenant; it may have 36 streams and sockets at once
SWEPT_AT_ONCE = 10_000


async def issue_ticket_aio(
    connection: asyncpg.Connection,
    tenant_no: TenantNo,
    ticket_hash: bytes,
    holder: TicketHolder,
    lives_s: int,
) -> None:
    """Raises Busy for one too many. Of some that come at once none may have counted the others."""
    await connection.execute("DELETE FROM tickets WHERE expires_at <= now()")
    made = await connection.execute(
        "INSERT INTO tickets (tenant_id, ticket_hash, session_id, key_id, expires_at)"
        " SELECT $1, $2, $3, $4, now() + $5 * interval '1 second'"
        " WHERE (SELECT count(*) FROM tickets) < $6",
        tenant_no,
        ticket_hash,
        holder.session_id,
        holder.key_id,
        lives_s,
        MOST_LIVING,
    )
    if made != "INSERT 0 1":
        raise Busy(
            f"This tenant has {MOST_LIVING} tickets that nobody has used yet; they hold "
            f"{lives_s} s.",
            code="too_many_tickets",
            retry_after_s=5,
        )


async def use_ticket_aio(connection: asyncpg.Connection, ticket_hash: bytes) -> TicketHolder | None:
    if await enter_owner_aio(connection, "find_ticket", ticket_hash) is None:
        return None
    used = await connection.fetchrow(
        "DELETE FROM tickets WHERE ticket_hash = $1 RETURNING session_id, key_id,"
        " expires_at > now() AS holds, (SELECT tenant_uuid FROM tenants) AS tenant_id",
        ticket_hash,
    )
    if used is None or not used["holds"]:
        return None
    return TicketHolder(used["tenant_id"], used["session_id"], used["key_id"])


async def forget_tickets_aio(connection: asyncpg.Connection) -> int:
    return int(await connection.fetchval("SELECT forget_tickets($1)", SWEPT_AT_ONCE))
