"""One group, one transaction: readings, alerts, rule state, settings, group id, fencing epoch.

The group id goes in first under a unique key, together with the check of the lease: a retry
after an unknown outcome runs into that key and reads the stored answer; a commit under a lost
lease stores nothing. Fresh rows are copied straight into their partitions; the others take
ON CONFLICT, which alone can tell a late reading from a duplicate.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from uuid import UUID

import asyncpg
import numpy as np
import structlog

from atalaia.ports import CommitItem, Fenced
from atalaia.storage.alert_writes import write_alerts_aio
from atalaia.storage.arrivals import write_arrivals_aio
from atalaia.storage.audit import write_audit_aio
from atalaia.storage.binary import encode_readings
from atalaia.storage.evidence import write_evidence_aio
from atalaia.storage.partitions import PartitionMap
from atalaia.storage.rollups import write_notes_aio
from atalaia.storage.rule_writes import (
    write_lateness_aio,
    write_removals_aio,
    write_rules_aio,
    write_tags_aio,
)
from atalaia.storage.state import pack_series, pack_times

log = structlog.get_logger()

SHARD = 0
PROBE_WAIT_S = 1
LEASE_WAIT_S = 8  # longer than a backend lives whose process or network has gone


async def take_lease_aio(connection: asyncpg.Connection) -> int:
    """Take the shard over; returns the new epoch. Waits for a commit under the old one, but not for
    ever: a process that is paused while it sends rows keeps the lease, and no timeout of Postgres
    ends it.
    """
    await connection.execute("SELECT set_config('lock_timeout', $1, true)", f"{LEASE_WAIT_S}s")
    try:
        async with connection.transaction():
            return await _next_epoch_aio(connection)
    except asyncpg.LockNotAvailableError:
        log.warning("lease_holder_ended", backends=await _end_holders_aio(connection))
        return await _next_epoch_aio(connection)


async def _next_epoch_aio(connection: asyncpg.Connection) -> int:
    return int(
        await connection.fetchval(
            "UPDATE engine_lease SET epoch = epoch + 1, taken_at = clock_timestamp()"
            " WHERE shard = $1 RETURNING epoch",
            SHARD,
        )
    )


async def _end_holders_aio(connection: asyncpg.Connection) -> list[int]:
    """Process ids of the backends that were ended: only the login may, not the role."""
    await connection.execute("SELECT set_config('role', 'none', true)")
    holders = await connection.fetch(
        "SELECT pid FROM pg_locks WHERE relation = 'engine_lease'::regclass AND granted"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        " AND pid <> pg_backend_pid()"
    )
    ended = [row["pid"] for row in holders]
    await connection.execute(
        "SELECT pg_terminate_backend(pid, 2000) FROM unnest($1::int[]) pid", ended
    )
    await connection.execute("SELECT set_config('role', 'atalaia_writer', true)")
    return ended


async def outlast_commits_aio(connection: asyncpg.Connection) -> None:
    """Wait for every transaction that may still commit a group: each shares the lease's row."""
    await connection.execute("SELECT FROM engine_lease WHERE shard = $1 FOR UPDATE", SHARD)


async def probe_aio(connection: asyncpg.Connection) -> None:
    """Write as a commit does, in the caller's transaction, and let a file grow; nothing stays."""
    await connection.execute("SELECT set_config('lock_timeout', $1, true)", f"{PROBE_WAIT_S}s")
    with suppress(asyncpg.LockNotAvailableError):  # a dump reads it: then without a new file
        async with connection.transaction():
            await connection.execute("TRUNCATE write_probe")
    await connection.execute("INSERT INTO write_probe VALUES (now())")
    group_id = await connection.fetchval(
        "INSERT INTO commit_groups (group_id) VALUES (gen_random_uuid()) RETURNING group_id"
    )
    await connection.execute("DELETE FROM commit_groups WHERE group_id = $1", group_id)


async def commit_group_aio(
    connection: asyncpg.Connection,
    partitions: PartitionMap,
    epoch: int,
    group_id: UUID,
    items: Sequence[CommitItem],
) -> list[int]:
    """Store one group inside the caller's transaction; per item, how many old rows were new.

    Raises Fenced when the lease has moved on, UniqueViolationError on commit_groups when this
    group is already stored, StoreUnavailable when a partition is not in the map.
    """
    inserted = await connection.fetchval(
        "WITH lease AS (SELECT FROM engine_lease WHERE shard = $1 AND epoch = $2 FOR SHARE)"
        " INSERT INTO commit_groups (group_id) SELECT $3 FROM lease RETURNING 1",
        SHARD,
        epoch,
        group_id,
    )
    if inserted is None:
        raise Fenced(f"epoch {epoch} of shard {SHARD} has been superseded")
    await _copy_fresh_aio(connection, partitions, items)
    late = [await _insert_old_aio(connection, partitions, item) for item in items]
    await write_notes_aio(connection, items, late)
    await write_arrivals_aio(connection, items, late)
    await write_rules_aio(connection, items)
    await write_tags_aio(connection, items)
    await write_lateness_aio(connection, items)
    await write_alerts_aio(connection, items)
    await write_removals_aio(connection, items)
    await write_evidence_aio(connection, partitions, items)
    await _write_state_aio(connection, items)
    await write_audit_aio(connection, items)
    await connection.execute(
        "UPDATE commit_groups SET late = $2 WHERE group_id = $1", group_id, late
    )
    return late


async def stored_answer_aio(connection: asyncpg.Connection, group_id: UUID) -> list[int] | None:
    """What `commit_group_aio` answered when this group was stored; None when it was not."""
    row = await connection.fetchrow("SELECT late FROM commit_groups WHERE group_id = $1", group_id)
    return None if row is None else list(row["late"])


async def _copy_fresh_aio(
    connection: asyncpg.Connection, partitions: PartitionMap, items: Sequence[CommitItem]
) -> None:
    full = [item for item in items if len(item.fresh_ts)]
    if not full:
        return
    sizes = [len(item.fresh_ts) for item in full]
    tenant = np.repeat(np.array([item.tenant_no for item in full], np.int32), sizes)
    received = np.repeat(np.array([item.received_at for item in full], np.int64), sizes)
    series = np.concatenate([item.fresh_series for item in full])
    ts = np.concatenate([item.fresh_ts for item in full])
    value = np.concatenate([item.fresh_value for item in full])
    for table, rows in partitions.split(ts):
        stream = encode_readings(tenant[rows], series[rows], ts[rows], value[rows], received[rows])
        await connection.copy_to_table(table, source=_whole_aio(stream), format="binary")


async def _whole_aio(stream: bytes) -> AsyncIterator[bytes]:
    """In one piece; a file object would be read piece by piece in a worker thread."""
    yield stream


async def _insert_old_aio(
    connection: asyncpg.Connection, partitions: PartitionMap, item: CommitItem
) -> int:
    """Insert rows that may be stored already; the first in body order wins. Returns the new."""
    if not len(item.old_ts):
        return 0
    new = 0
    for table, rows in partitions.split(item.old_ts):
        status = await connection.execute(
            f"INSERT INTO {table}"  # noqa: S608 - a name of our own making
            " (tenant_id, series_id, ts, value, received_at, late)"
            " SELECT $1, series, ts, value, $2, true"
            " FROM unnest($3::int4[], $4::timestamptz[], $5::float8[]) WITH ORDINALITY"
            " AS old (series, ts, value, nr) ORDER BY nr"
            " ON CONFLICT (series_id, ts) DO NOTHING",
            item.tenant_no,
            item.received_at,
            item.old_series[rows].tolist(),
            item.old_ts[rows].tolist(),
            item.old_value[rows].tolist(),
        )
        new += int(status.rsplit(" ", 1)[1])
    return new


async def _write_state_aio(connection: asyncpg.Connection, items: Sequence[CommitItem]) -> None:
    await connection.execute(
        "INSERT INTO tenant_state"
        " (tenant_id, received_at, snapshot, series, newest, judged, rule_states)"
        " SELECT * FROM unnest($1::int4[], $2::int8[], $3::bool[], $4::bytea[], $5::bytea[],"
        " $6::bytea[], $7::bytea[])",
        [item.tenant_no for item in items],
        [item.received_at for item in items],
        [item.snapshot for item in items],
        [pack_series(item.touched) for item in items],
        [pack_times(item.newest) for item in items],
        [pack_times(item.judged) for item in items],
        [item.rule_states for item in items],
    )
    for item in items:
        if item.snapshot:
            await connection.execute(
                "DELETE FROM tenant_state WHERE tenant_id = $1 AND received_at < $2",
                item.tenant_no,
                item.received_at,
            )
