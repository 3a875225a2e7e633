"""Reading a tenant's rules."""

import asyncpg

from atalaia.model.rule import StoredRule

COLUMNS = (
    "rule_no, rule_id, name, text, version, revision, enabled, active_from, created_at, updated_at"
)


def stored_rule(row: asyncpg.Record) -> StoredRule:
    return StoredRule(**{name: row[name] for name in COLUMNS.split(", ")})


async def load_rules_aio(connection: asyncpg.Connection) -> list[StoredRule]:
    """Every rule that is not deleted, in the order of creation."""
    rows = await connection.fetch(
        f"SELECT {COLUMNS} FROM rules WHERE deleted_at IS NULL ORDER BY rule_no"  # noqa: S608
    )
    return [stored_rule(row) for row in rows]
