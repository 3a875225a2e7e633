"""Changes of rules, of the tags that say which rules watch a sensor, of how long readings wait for
others, and the ends of sensors travel with the commit of the batch position from which they judge.
"""

from collections.abc import Sequence

import asyncpg

from atalaia.ports import CommitItem


async def write_rules_aio(connection: asyncpg.Connection, items: Sequence[CommitItem]) -> None:
    """Insert or replace the rules of this group, and remember each version's text."""
    for item in items:
        write = item.rule_write
        if write is None:
            continue
        rule = write.rule
        await connection.execute(
            "INSERT INTO rules (tenant_id, rule_no, rule_id, name, text, version, revision,"
            " enabled, active_from, created_at, updated_at, deleted_at, waits)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"
            " ON CONFLICT (tenant_id, rule_no) DO UPDATE SET name = excluded.name,"
            " text = excluded.text, version = excluded.version, revision = excluded.revision,"
            " enabled = excluded.enabled, active_from = excluded.active_from,"
            " updated_at = excluded.updated_at, deleted_at = excluded.deleted_at,"
            " waits = excluded.waits",
            item.tenant_no,
            rule.rule_no,
            rule.rule_id,
            rule.name,
            rule.text,
            rule.version,
            rule.revision,
            rule.enabled,
            rule.active_from,
            rule.created_at,
            rule.updated_at,
            rule.updated_at if write.deleted else None,
            write.waits,
        )
        await connection.execute(
            "INSERT INTO rule_versions (tenant_id, rule_no, version, text, active_from)"
            " VALUES ($1, $2, $3, $4, $5)"
            " ON CONFLICT (tenant_id, rule_no, version) DO NOTHING",
            item.tenant_no,
            rule.rule_no,
            rule.version,
            rule.text,
            rule.active_from,
        )


async def write_tags_aio(connection: asyncpg.Connection, items: Sequence[CommitItem]) -> None:
    """Replace the tags of the sensors of this group."""
    for item in items:
        if item.tags_write is not None:
            await connection.execute(
                "UPDATE sensors SET tags = $3 WHERE tenant_id = $1 AND sensor_id = $2",
                item.tenant_no,
                item.tags_write.sensor_no,
                dict(item.tags_write.tags),
            )


async def write_lateness_aio(connection: asyncpg.Connection, items: Sequence[CommitItem]) -> None:
    """Replace the lateness of the sensors and tenants of this group."""
    for item in items:
        write = item.lateness_write
        if write is None:
            continue
        if write.sensor_no is None:
            await connection.execute(
                "UPDATE tenants SET lateness_us = $2 WHERE tenant_id = $1",
                item.tenant_no,
                write.lateness_us,
            )
            continue
        await connection.execute(
            "UPDATE sensors SET lateness_us = $3 WHERE tenant_id = $1 AND sensor_id = $2",
            item.tenant_no,
            write.sensor_no,
            write.lateness_us,
        )


async def write_removals_aio(connection: asyncpg.Connection, items: Sequence[CommitItem]) -> None:
    """Take sensors of this group out of the register; their rows stay, for their history."""
    for item in items:
        if item.removal is not None:
            await connection.execute(
                "UPDATE sensors SET deleted_at = $3 WHERE tenant_id = $1 AND sensor_id = $2",
                item.tenant_no,
                item.removal,
                item.received_at,
            )
