"""Writing the audit, within whatever transaction does what it tells of; and checking its chain.

The table's own trigger gives each row its place, its time and its hash.
"""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from uuid import UUID

import asyncpg
import attrs
import msgspec

from atalaia.bridge import Bridge
from atalaia.model.audit import AuditEntry, AuditRow, ChainHead
from atalaia.model.ids import TenantNo
from atalaia.model.people import AuditFilter
from atalaia.ports import CommitItem
from atalaia.storage.accounts import transaction_aio
from atalaia.storage.database import setup_connection_aio

_INSERT = (
    "INSERT INTO audit (tenant_id, actor, actor_name, action, target, detail)"
    " SELECT tenant, actor, name, action, target, detail FROM"
    " unnest($1::int4[], $2::text[], $3::text[], $4::text[], $5::text[], $6::json[])"
    " WITH ORDINALITY AS entry (tenant, actor, name, action, target, detail, nr) ORDER BY nr"
)
_COLUMNS = "seq, at, actor, actor_name, action, target, detail::text AS detail, hash"
CHOSEN = (
    "($1::text IS NULL OR CASE WHEN $1 LIKE '%@%'"
    " THEN actor_name = lower($1) AND actor LIKE 'user:%' ELSE actor = $1 END)"
    " AND ($2::text IS NULL OR action = $2) AND ($3::text IS NULL OR target = $3)"
    " AND ($4::timestamptz IS NULL OR at > $4) AND ($5::timestamptz IS NULL OR at <= $5)"
)
CHECK_ROWS = 5_000


@attrs.frozen
class ChainFault:
    """The first place of a tenant's chain where it is not as it was written."""

    tenant_id: UUID
    seq: int
    what: str


async def write_entry_aio(
    connection: asyncpg.Connection, tenant_no: TenantNo, entry: AuditEntry
) -> None:
    """Last in its transaction: it locks the end of the tenant's chain until the commit."""
    # A process that hangs here must not keep the engine from committing.
    await connection.execute("SELECT set_config('idle_in_transaction_session_timeout', '5s', true)")
    await _insert_aio(connection, [(tenant_no, entry)])


async def write_audit_aio(connection: asyncpg.Connection, items: Sequence[CommitItem]) -> None:
    """The entries of a group, by tenant: so no two transactions can wait for each other."""
    entries = [(item.tenant_no, item.audit) for item in items if item.audit is not None]
    if entries:
        await _insert_aio(connection, sorted(entries, key=lambda one: one[0]))


async def _insert_aio(
    connection: asyncpg.Connection, entries: Sequence[tuple[TenantNo, AuditEntry]]
) -> None:
    await connection.execute(
        _INSERT,
        [tenant_no for tenant_no, _ in entries],
        [entry.actor.subject for _, entry in entries],
        [entry.actor.name for _, entry in entries],
        [entry.action for _, entry in entries],
        [entry.target for _, entry in entries],
        [msgspec.json.encode(entry.detail).decode() for _, entry in entries],
    )


def chosen(wanted: AuditFilter) -> tuple[object, ...]:
    """What CHOSEN asks for."""
    return wanted.actor, wanted.action, wanted.target, wanted.since, wanted.until


async def audit_aio(
    connection: asyncpg.Connection, wanted: AuditFilter, before: int | None, limit: int
) -> list[AuditRow]:
    rows = await connection.fetch(
        f"SELECT {_COLUMNS} FROM audit"  # noqa: S608 - names of our own
        f" WHERE {CHOSEN} AND ($6::int8 IS NULL OR seq < $6) ORDER BY seq DESC LIMIT $7",
        *chosen(wanted), before, limit,
    )  # fmt: skip
    return [AuditRow(*row) for row in rows]


async def heads_aio(connection: asyncpg.Connection) -> list[ChainHead]:
    """Of all tenants; as the writer."""
    rows = await connection.fetch(
        "SELECT tenant_uuid, seq, hash FROM audit_heads JOIN tenants USING (tenant_id)"
        " WHERE seq > 0 ORDER BY tenant_id"
    )
    return [ChainHead(*row) for row in rows]


def chain_hash(tenant_id: UUID, row: AuditRow, before: bytes) -> bytes:
    """What the trigger makes of a row and of the hash before it."""
    fields = (
        str(tenant_id), str(row.seq), str(row.at), row.actor, row.actor_name, row.action,
        row.target, row.detail,
    )  # fmt: skip
    text = ",".join(f"{len(field.encode())}:{field}" for field in fields)
    return hashlib.sha256(before + text.encode()).digest()


async def verify_audit(
    bridge: Bridge, url: str, kept: Sequence[ChainHead] = ()
) -> tuple[list[ChainHead], list[ChainFault]]:
    """Every tenant's chain from its first row to its head.

    kept: where chains ended before; each must still have that row. Raises StartupRefused.
    """
    known: dict[UUID, dict[int, set[bytes]]] = defaultdict(lambda: defaultdict(set))
    for head in kept:
        known[head.tenant_id][head.seq].add(head.hash)
    return await bridge.call(_verify_aio, url, known)


async def _verify_aio(
    url: str, known: Mapping[UUID, Mapping[int, Set[bytes]]]
) -> tuple[list[ChainHead], list[ChainFault]]:
    sound: list[ChainHead] = []
    faults: list[ChainFault] = []
    async with transaction_aio(url, "atalaia_migrate", snapshot=True) as connection:
        await setup_connection_aio(connection)
        tenants = await connection.fetch(
            "SELECT tenant_id, tenant_uuid, coalesce(seq, 0) AS seq, hash FROM tenants"
            " LEFT JOIN audit_heads USING (tenant_id) ORDER BY tenant_id"
        )
        for tenant in tenants:
            kept = known.get(tenant["tenant_uuid"], {})
            found = await _verify_tenant_aio(connection, tenant, kept)
            if isinstance(found, ChainFault):
                faults.append(found)
            else:
                sound.append(found)
    return sound, faults


async def _verify_tenant_aio(
    connection: asyncpg.Connection, tenant: asyncpg.Record, kept: Mapping[int, Set[bytes]]
) -> ChainHead | ChainFault:
    tenant_id, last, before = tenant["tenant_uuid"], 0, b""
    while True:
        rows = await connection.fetch(
            f"SELECT {_COLUMNS} FROM audit"  # noqa: S608 - names of our own
            " WHERE tenant_id = $1 AND seq > $2 ORDER BY seq LIMIT $3",
            tenant["tenant_id"],
            last,
            CHECK_ROWS,
        )
        for record in rows:
            row = AuditRow(*record)
            if row.seq != last + 1:
                return ChainFault(tenant_id, last + 1, "is missing")
            if chain_hash(tenant_id, row, before) != row.hash:
                return ChainFault(tenant_id, row.seq, "is not what was written there")
            if kept.get(row.seq, set()) - {row.hash}:  # one at least was another one
                return ChainFault(tenant_id, row.seq, "is not the one that was kept")
            last, before = row.seq, row.hash
        if not rows:
            break
    if last < max(tenant["seq"], *kept, 0):
        return ChainFault(tenant_id, last + 1, "is missing")
    if last > tenant["seq"] or before != (tenant["hash"] or b""):
        return ChainFault(tenant_id, last, "is beyond the end of the chain")
    return ChainHead(tenant_id, last, before)
