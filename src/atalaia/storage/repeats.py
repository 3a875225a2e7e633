"""What requests with an Idempotency-Key were answered, for a day.

A claim is one statement, so that of two requests at once one gets it. A claim that was never
answered (its process died, or nobody knows what came of it) lapses, for the same request alone.
"""

import asyncpg

from atalaia.model.errors import Overloaded
from atalaia.model.ids import TenantNo
from atalaia.model.repeats import Claim, Claimed

MOST_KEPT = 10_000  # of a tenant, in a day
SWEPT_AT_ONCE = 10_000


async def claim_aio(
    connection: asyncpg.Connection, tenant_no: TenantNo, wanted: Claim, lapses_s: int
) -> Claimed | None:
    """None: it is ours. Raises Overloaded for one too many."""
    ours = await connection.fetchval(
        "INSERT INTO idempotency_keys AS k (tenant_id, key_hash, fingerprint, claim)"
        " SELECT $1, $2, $3, $4 WHERE (SELECT count(*) FROM idempotency_keys) < $6"
        " OR EXISTS (SELECT FROM idempotency_keys WHERE key_hash = $2)"
        " ON CONFLICT (tenant_id, key_hash) DO UPDATE SET fingerprint = excluded.fingerprint,"
        " claim = excluded.claim, claimed_at = clock_timestamp(), answer = NULL"
        " WHERE k.claimed_at < clock_timestamp() - interval '24 hours'"
        " OR (k.answer IS NULL AND k.fingerprint = excluded.fingerprint"
        " AND k.claimed_at < clock_timestamp() - $5 * interval '1 second') RETURNING true",
        tenant_no,
        wanted.key_hash,
        wanted.fingerprint,
        wanted.claim,
        lapses_s,
        MOST_KEPT,
    )
    if ours:
        return None
    row = await connection.fetchrow(
        "SELECT fingerprint, answer, greatest(1, ceil($2 - extract(epoch FROM clock_timestamp()"
        " - claimed_at)))::int4 AS left_s FROM idempotency_keys WHERE key_hash = $1",
        wanted.key_hash,
        lapses_s,
    )
    if row is None:
        raise Overloaded(
            f"This tenant has sent {MOST_KEPT:,} requests with an Idempotency-Key in a day; send "
            "some without, or wait.",
            code="too_many_idempotency_keys",
            retry_after_s=60,
        )
    return Claimed(**dict(row))


async def keep_aio(connection: asyncpg.Connection, held: Claim, answer: bytes) -> bool:
    """Whether the claim was still held."""
    status = await connection.execute(
        "UPDATE idempotency_keys SET answer = $3 WHERE key_hash = $1 AND claim = $2",
        held.key_hash,
        held.claim,
        answer,
    )
    return bool(status == "UPDATE 1")


async def release_aio(connection: asyncpg.Connection, held: Claim) -> None:
    await connection.execute(
        "DELETE FROM idempotency_keys WHERE key_hash = $1 AND claim = $2",
        held.key_hash,
        held.claim,
    )


async def forget_aio(connection: asyncpg.Connection) -> int:
    return int(await connection.fetchval("SELECT forget_answers($1)", SWEPT_AT_ONCE))
