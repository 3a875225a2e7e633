"""Roles and numbered migrations, under an advisory lock, with checksums.

Runs on one connection of the powerful role that DATABASE_URL names. Everything made here is
owned by `atalaia_migrate`; a file that has run is never edited, and a database whose newest
migration this code does not know is refused rather than guessed at.
"""

import hashlib
from importlib import resources
from itertools import count

import asyncpg
import attrs
import structlog

from atalaia.model.errors import StartupRefused

log = structlog.get_logger()

MIGRATION_LOCK = 0x61_74_61_6C  # "atal": one advisory lock per database
LOCK_PAUSE_S = 0.5
SAY_EVERY = 10  # pauses
LOCK_TIMEOUT_MS = 5_000  # how long DDL may wait behind a reader before it gives up
ROLES = ("atalaia_migrate", "atalaia_writer", "atalaia_app", "atalaia_platform")


@attrs.frozen
class Migration:
    """One numbered file: `0001_base.expand.sql`."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def load_migrations() -> tuple[Migration, ...]:
    """The migrations of this release, by number."""
    folder = resources.files("atalaia.storage") / "migrations"
    found = [
        Migration(int(file.name[:4]), file.name, file.read_text())
        for file in folder.iterdir()
        if file.name.endswith(".sql")
    ]
    return tuple(sorted(found, key=lambda migration: migration.version))


async def migrate_aio(connection: asyncpg.Connection) -> list[str]:
    """Bring the database to this release's schema; returns the names of what was run.

    Several processes may start at once: one migrates, the others wait, say so, and find it done.
    Raises StartupRefused for a newer or an altered schema, and when roles cannot be made.
    """
    await _lock_aio(connection)
    try:
        await _make_roles_aio(connection)
        return await _run_pending_aio(connection)
    finally:
        await connection.execute("SELECT pg_advisory_unlock($1)", MIGRATION_LOCK)


async def _lock_aio(connection: asyncpg.Connection) -> None:
    for tries in count(1):
        if await connection.fetchval("SELECT pg_try_advisory_lock($1)", MIGRATION_LOCK):
            return
        if tries % SAY_EVERY == 0:
            log.warning("waiting_for_another_migration", waited_s=tries * LOCK_PAUSE_S,
                        advice="another process migrates this database, or is stuck: "
                        "SELECT * FROM pg_locks WHERE locktype = 'advisory'")  # fmt: skip
        await connection.execute("SELECT pg_sleep($1)", LOCK_PAUSE_S)


async def _make_roles_aio(connection: asyncpg.Connection) -> None:
    existing = {row["rolname"] for row in await connection.fetch("SELECT rolname FROM pg_roles")}
    try:
        for role in ROLES:
            if role not in existing:
                await connection.execute(
                    f"CREATE ROLE {role} NOLOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE"
                )
            if not await connection.fetchval("SELECT pg_has_role($1, 'MEMBER')", role):
                await connection.execute(f"GRANT {role} TO CURRENT_USER")
        await connection.execute("GRANT CREATE, USAGE ON SCHEMA public TO atalaia_migrate")
        await connection.execute(
            "GRANT USAGE ON SCHEMA public TO atalaia_writer, atalaia_app, atalaia_platform"
        )
    except asyncpg.InsufficientPrivilegeError as error:
        raise StartupRefused(
            f"The role of DATABASE_URL may not create the roles {', '.join(ROLES)} or grant on "
            f"schema public ({error}). Use the database's owner with CREATEROLE, or let an "
            "administrator create them and grant them to it."
        ) from error


async def _run_pending_aio(connection: asyncpg.Connection) -> list[str]:
    await connection.execute("SET ROLE atalaia_migrate")
    try:
        await connection.execute(f"SET lock_timeout = {LOCK_TIMEOUT_MS}")
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations (version int4 PRIMARY KEY,"
            " name text NOT NULL, checksum text NOT NULL,"
            " applied_at timestamptz NOT NULL DEFAULT now())"
        )
        rows = await connection.fetch("SELECT version, name, checksum FROM schema_migrations")
        applied = {row["version"]: row for row in rows}
        known = load_migrations()
        newest_known = known[-1].version
        if applied and max(applied) > newest_known:
            raise StartupRefused(
                f"The database has migration {max(applied)}, this release knows {newest_known}: "
                "it belongs to a newer Atalaia. Start that release."
            )
        done = []
        for migration in known:
            before = applied.get(migration.version)
            if before is not None:
                if before["checksum"] != migration.checksum:
                    raise StartupRefused(
                        f"Migration {migration.name} differs from what was run on this database."
                    )
                continue
            async with connection.transaction():
                await connection.execute(migration.sql)
                await connection.execute(
                    "INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3)",
                    migration.version,
                    migration.name,
                    migration.checksum,
                )
            done.append(migration.name)
        return done
    finally:
        await connection.execute("RESET lock_timeout; RESET ROLE")
