"""The database's own walls: roles, policies, group ids, leases, partitions, refusals."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from uuid import uuid4

import asyncpg
import msgspec
import numpy as np
import pytest
import trio
from structlog.testing import capture_logs

from atalaia.bridge import open_bridge
from atalaia.engine.clock import SystemClock
from atalaia.engine.limits import EngineLimits
from atalaia.model.alert import Opening, Samples, Transition
from atalaia.model.batch import SeriesName
from atalaia.model.errors import StartupRefused
from atalaia.model.ids import MINUTE_US, Micros, RuleNo, SeriesNo, TenantNo
from atalaia.ports import CommitItem, Fenced, StoreRefused, StoreUnavailable
from atalaia.storage.cluster import Cluster
from atalaia.storage.commit import commit_group_aio, take_lease_aio
from atalaia.storage.database import prepare_aio, setup_connection_aio
from atalaia.storage.embedded import query
from atalaia.storage.migrate import load_migrations
from atalaia.storage.state import load_state_aio, newest_aio
from atalaia.storage.token_secrets import agree_on_secrets
from tests.stack import START_MS, Stack, make_tenant, row

pytestmark = pytest.mark.postgres
NOW = SystemClock().now_us()
NONE = np.empty(0, np.int64)


def item(
    tenant: int, series: Sequence[int], ts: list[int], received: int, **more: object
) -> CommitItem:
    return CommitItem(
        **{  # type: ignore[arg-type]
            "tenant_no": TenantNo(tenant), "received_at": Micros(received),
            "fresh_series": np.array(series, np.int32), "fresh_ts": np.array(ts, np.int64),
            "fresh_value": np.ones(len(ts)), "old_series": NONE.astype(np.int32), "old_ts": NONE,
            "old_value": NONE.astype(np.float64), "touched": np.array(series, np.int32),
            "newest": np.array(ts, np.int64), "rule_states": b"",
        } | more
    )  # fmt: skip


async def series(stack: Stack, name: str = "s") -> tuple[TenantNo, SeriesNo]:
    """One whose times around NOW have partitions, though midnight may lie between."""
    tenant = await stack.tenant_no()
    around = np.array([NOW - MINUTE_US, NOW], np.int64)
    await stack.store.ensure_partitions(tenant, around, Micros(NOW))
    _, rows = await stack.store.register(tenant, [SeriesName(name, "t")], NOW)
    return tenant, rows[0].series_no


async def as_tenant(stack: Stack, tenant: TenantNo, statement: str) -> int:
    async def work(connection: asyncpg.Connection) -> int:
        return int(await connection.fetchval(statement) or 0)

    return await stack.database.as_tenant(tenant, work)


async def test_a_group_committed_twice_is_stored_once_and_answers_the_same(stack: Stack) -> None:
    """Retrying after an unknown outcome is harmless."""
    tenant, number = await series(stack)
    old = {"old_series": np.array([number, number], np.int32), "old_ts": np.array([NOW - 9, NOW]),
           "old_value": np.array([5.0, 6.0])}  # fmt: skip
    group, work = uuid4(), [item(tenant, [number], [NOW], NOW, **old)]
    assert await stack.store.commit_group(group, work) == [1]
    assert await stack.store.commit_group(group, work) == [1]
    assert (await stack.sql("SELECT count(*) AS n FROM readings"))[0]["n"] == 2


async def test_nothing_is_committed_under_a_lost_lease(stack: Stack) -> None:
    """A takeover fences the old holder off."""
    tenant, number = await series(stack)
    await stack.database.as_writer(take_lease_aio)
    with pytest.raises(Fenced):
        await stack.store.commit_group(uuid4(), [item(tenant, [number], [NOW], NOW)])
    assert (await stack.sql("SELECT count(*) AS n FROM readings"))[0]["n"] == 0


async def test_the_lease_is_taken_from_a_process_that_is_paused_in_the_middle_of_its_rows(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Postgres waits for the rest of them and has no timeout for that: the successor ends it."""
    monkeypatch.setattr("atalaia.storage.commit.LEASE_WAIT_S", 1)

    async def never_aio() -> AsyncIterator[bytes]:
        await asyncio.sleep(3600)
        yield b""

    async def paused_aio() -> None:
        connection = await asyncpg.connect(stack.database_url)
        with suppress(asyncpg.InterfaceError, asyncpg.PostgresError):  # it is ended
            async with connection.transaction():
                await connection.execute("SELECT FROM engine_lease FOR SHARE")
                await connection.copy_to_table("commit_groups", source=never_aio())
        connection.terminate()

    copies = (
        "SELECT FROM pg_stat_activity WHERE query LIKE 'COPY%' AND datname = current_database()"
    )
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stack.bridge.call, paused_aio)
            while not await stack.sql(copies):
                await trio.sleep(0.05)
            assert await stack.database.as_writer(take_lease_aio) == stack.store.epoch + 1
            assert not await stack.sql(copies)
            nursery.cancel_scope.cancel()


async def test_a_refused_group_stores_nothing(stack: Stack) -> None:
    """One transaction: the good item goes with the bad one."""
    tenant, number = await series(stack)
    good = item(tenant, [number], [NOW], NOW)
    bad = item(tenant, [number], [NOW], NOW)  # the same key and the same state row
    with pytest.raises(StoreRefused):
        await stack.store.commit_group(uuid4(), [good, bad])
    for table in ("readings", "tenant_state", "commit_groups"):
        assert (await stack.sql(f"SELECT count(*) AS n FROM {table}"))[0]["n"] == 0


async def test_a_probe_leaves_nothing_and_sees_what_a_commit_would(stack: Stack) -> None:
    """A file of its own each time, since on a full disk only those that are there have room; and a
    grant that was lost. A database that is read-only: tests/amqp/test_faults.py."""
    file = "SELECT pg_relation_filepath('write_probe') AS at, pg_relation_size('write_probe') AS n"
    seen = []
    for _ in range(2):
        await stack.store.probe()
        seen += await stack.sql(file)
        assert (await stack.sql("SELECT count(*) AS n FROM commit_groups"))[0]["n"] == 0
    assert seen[0]["at"] != seen[1]["at"]
    assert seen[0]["n"] == seen[1]["n"] > 0
    await stack.sql("REVOKE INSERT ON commit_groups FROM atalaia_writer")
    with pytest.raises(StoreUnavailable, match="InsufficientPrivilege"):
        await stack.store.probe()


async def test_a_dump_holds_up_neither_a_start_nor_a_probe(stack: Stack) -> None:
    """Nor, to a change of settings, a transaction that looks for the tenant as foreign keys do."""
    held = await stack.bridge.call(asyncpg.connect, stack.database_url)
    try:
        for statement in (
            "BEGIN",
            "LOCK TABLE write_probe, token_secrets IN ACCESS SHARE MODE",
            "SELECT FROM tenants FOR KEY SHARE",
        ):
            await stack.bridge.call(held.execute, statement)
        with trio.fail_after(20):
            await stack.store.probe()
            for key_id in ("one", "another"):
                await agree_on_secrets(stack.bridge, stack.database_url, [key_id], replace=True)
            kept = await stack.client.put("/v1/settings/retention", json={"days": 9})
            assert kept.status_code == 200
    finally:
        await stack.bridge.call(held.close)


async def test_the_application_role_sees_its_tenant_alone(stack: Stack) -> None:
    """Row-level security by itself, without any check of the application."""
    await stack.send([row(START_MS, 1)])
    tenant = await stack.tenant_no()
    tables = ("tenants", "users", "api_keys", "sensors", "series", "readings", "tenant_state")
    for number, seen in ((tenant, 1), (TenantNo(tenant + 1), 0)):
        for table in tables:
            count = await as_tenant(stack, number, f"SELECT count(*) FROM {table}")
            assert (table, min(count, 1)) == (table, seen)


async def test_the_application_role_cannot_write_or_reach_around(stack: Stack) -> None:
    """No partitions, no readings, no foreign tenant, no other role's functions."""
    await stack.send([row(START_MS, 1)])
    tenant = await stack.tenant_no()
    (partition,) = await stack.sql("SELECT tableoid::regclass::text AS name FROM readings")
    for statement in (
        f"SELECT * FROM {partition['name']}",
        "INSERT INTO readings VALUES (1, 1, now(), 1, now(), false)",
        "UPDATE alerts SET state = 'cleared'",
        "DELETE FROM readings",
        "INSERT INTO sensors (tenant_id, sensor_uuid, name, registered_at)"
        f" VALUES ({tenant + 1}, gen_random_uuid(), 'x', now())",
        "SELECT * FROM ensure_partition(now(), now())",
        "SELECT * FROM commit_groups",
        "SELECT * FROM engine_lease",
    ):
        with pytest.raises(StoreRefused, match=r"InsufficientPrivilege|42501"):
            await as_tenant(stack, tenant, statement)


async def test_every_table_of_tenants_has_forced_policies(stack: Stack) -> None:
    """Read from the catalogue, so that a table added later cannot forget them."""
    rows = await stack.sql(
        "SELECT c.relname AS name, relrowsecurity AND relforcerowsecurity AS safe,"
        " (SELECT count(*) FROM pg_policy p WHERE p.polrelid = c.oid) AS policies"
        " FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'"
        " WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace"
        " AND NOT c.relispartition"
    )
    assert len(rows) >= 12
    assert [r["name"] for r in rows if not (r["safe"] and r["policies"] == 3)] == []


async def test_the_newest_times_of_some_series_are_those_of_the_whole_state(stack: Stack) -> None:
    """A snapshot and what came after it, later ones winning; nothing but what was asked for."""
    tenant, one = await series(stack, "one")
    _, two = await series(stack, "two")
    for n, (numbers, snapshot) in enumerate(
        [([one, two], False), ([one, two], True), ([two], False), ([two], False)]
    ):
        times = [NOW + n] * len(numbers)
        work = item(tenant, numbers, times, NOW + n, snapshot=snapshot)
        await stack.store.commit_group(uuid4(), [work])

    async def read(connection: asyncpg.Connection) -> tuple[object, ...]:
        whole = (await load_state_aio(connection)).newest
        return whole, await newest_aio(connection, [two]), await newest_aio(connection, [])

    found = await stack.database.as_tenant(tenant, read)
    assert found == ({one: NOW + 1, two: NOW + 3}, {two: NOW + 3}, {})


@pytest.mark.parametrize("setting", ["fsync", "synchronous_commit"])
def test_a_server_that_may_lose_commits_is_refused(
    cluster: Cluster, database_url: str, setting: str
) -> None:
    """And the message names the setting."""
    database = database_url.split("@/")[1].split("?", maxsplit=1)[0]
    if setting == "fsync":
        query(cluster, "ALTER SYSTEM SET fsync = off")
    else:
        query(cluster, f"ALTER DATABASE {database} SET synchronous_commit = off")
    query(cluster, "SELECT pg_reload_conf(), pg_sleep(0.3)")
    try:
        with pytest.raises(StartupRefused, match=setting):
            asyncio.run(prepare_aio(database_url))
    finally:
        query(cluster, "ALTER SYSTEM RESET fsync")
        query(cluster, "SELECT pg_reload_conf(), pg_sleep(0.3)")


@pytest.mark.parametrize(("ahead_s", "said"), [(0.0, False), (30.0, True), (-3_600.0, True)])
async def test_a_clock_that_is_not_the_database_s_is_said(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, ahead_s: float, said: bool
) -> None:
    """At the start, with how much it is ahead."""
    monkeypatch.setattr(
        "atalaia.storage.database.time_ns", lambda: time.time_ns() + round(1e9 * ahead_s)
    )
    with capture_logs() as logs:
        await stack.bridge.call(prepare_aio, stack.database_url)
    found = [line for line in logs if line["event"] == "clock_differs_from_database"]
    assert len(found) == said
    assert all(abs(line["ahead_s"] - ahead_s) < 1 for line in found)


@pytest.mark.parametrize("power", ["SUPERUSER", "BYPASSRLS"])
def test_a_powerful_application_role_is_refused(
    cluster: Cluster, database_url: str, power: str
) -> None:
    """A role that sees past the policies serves nobody."""
    query(cluster, f"ALTER ROLE atalaia_app {power}")
    try:
        with pytest.raises(StartupRefused, match="row-level security"):
            asyncio.run(prepare_aio(database_url))
    finally:
        query(cluster, f"ALTER ROLE atalaia_app NO{power}")


def test_an_absent_server_is_a_clear_refusal() -> None:
    """With what to check."""
    with pytest.raises(StartupRefused, match="DATABASE_URL does not answer"):
        asyncio.run(prepare_aio("postgresql://nobody@127.0.0.1:1/none"))


async def test_migrations_run_once_and_refuse_strangers(stack: Stack) -> None:
    """Twice is harmless; a newer or altered schema is refused."""
    await stack.bridge.call(prepare_aio, stack.database_url)
    newest = load_migrations()[-1].version
    await stack.sql("UPDATE schema_migrations SET checksum = 'other'")
    with pytest.raises(StartupRefused, match="differs"):
        await stack.bridge.call(prepare_aio, stack.database_url)
    await stack.sql("INSERT INTO schema_migrations VALUES ($1, 'future', '')", newest + 1)
    with pytest.raises(StartupRefused, match="newer"):
        await stack.bridge.call(prepare_aio, stack.database_url)


def test_eight_processes_migrate_one_empty_database(cluster: Cluster) -> None:
    """One does it, the others wait and find it done."""
    query(cluster, "CREATE DATABASE together")

    async def together() -> None:
        await asyncio.gather(*(prepare_aio(cluster.url("together")) for _ in range(8)))

    try:
        asyncio.run(together())
        count = query(cluster, "SELECT count(*) FROM schema_migrations", database="together")
        assert int(count) == len(load_migrations())
    finally:
        query(cluster, "DROP DATABASE together WITH (FORCE)")


async def test_a_killed_backend_is_unavailable_not_a_crash(stack: Stack) -> None:
    """Errors of the outside world are told apart from those of the data."""
    kill = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'"
    )

    async def slow() -> None:
        with pytest.raises(StoreUnavailable):
            await stack.database.as_writer(lambda c: c.execute("SELECT pg_sleep(30)"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(slow)
        with trio.fail_after(10):
            while not await stack.sql(kill):
                await trio.sleep(0.05)
    assert await stack.database.as_writer(lambda c: c.fetchval("SELECT 1")) == 1


async def test_a_writer_that_falls_asleep_lets_go(stack: Stack) -> None:
    """Its transaction holds the lease: it ends, and is told apart from a fault of the data."""

    async def asleep(connection: asyncpg.Connection) -> None:
        limit = "idle_in_transaction_session_timeout"
        assert await connection.fetchval(f"SHOW {limit}") == "5s"
        await connection.execute(f"SET LOCAL {limit} = '100ms'")
        await asyncio.sleep(0.5)
        await connection.execute("SELECT 1")

    with pytest.raises(StoreUnavailable):
        await stack.database.as_writer(asleep)
    assert await stack.database.as_writer(lambda c: c.fetchval("SELECT 1")) == 1


async def test_a_driver_that_loses_its_place_is_unavailable(stack: Stack) -> None:
    """Its own protocol breaks when a connection dies within a query: nobody's data is at fault."""

    async def lost(_: object) -> None:
        raise asyncpg.InternalClientError("cannot switch to state 15")

    with pytest.raises(StoreUnavailable):
        await stack.database.as_writer(lost)
    with pytest.raises(StoreUnavailable):
        await stack.database.as_tenant(await stack.tenant_no(), lost)


async def test_a_lost_transaction_is_outlasted(stack: Stack) -> None:
    """Its connection is given up, its backend may still commit: whoever asks waits for its end."""
    tenant, number = await series(stack)
    known = stack.store._partitions.map

    async def lost_aio() -> None:
        connection = await asyncpg.connect(stack.database_url)
        await setup_connection_aio(connection)
        async with connection.transaction():
            await connection.execute("SELECT set_config('role', 'atalaia_writer', true)")
            work = item(tenant, [number], [NOW], NOW)
            await commit_group_aio(connection, known, stack.store.epoch, uuid4(), [work])
            await asyncio.sleep(1)
        await connection.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stack.bridge.call, lost_aio)
        under_way = (
            "SELECT FROM pg_stat_activity"
            " WHERE state = 'idle in transaction' AND query LIKE 'UPDATE commit_groups%'"
        )
        with trio.fail_after(10):
            while not await stack.sql(under_way):
                await trio.sleep(0.01)
        assert (await stack.sql("SELECT count(*) AS n FROM readings"))[0]["n"] == 0
        await stack.store.outlast_commits()
        assert (await stack.sql("SELECT count(*) AS n FROM readings"))[0]["n"] == 1


async def test_housekeeping_forgets_old_groups_only(stack: Stack) -> None:
    """Ids that nobody can still retry; a clock of ours that is set forward makes none older."""
    await stack.send([row(START_MS, 1)])
    for ahead_us, keep_us, left in ((0, 10**9, 1), (10**10, 10**9, 1), (0, 0, 0)):
        now = Micros(SystemClock().now_us() + ahead_us)
        await stack.store.housekeep(now, keep_us, EngineLimits().oldest(now))
        assert (await stack.sql("SELECT count(*) AS n FROM commit_groups"))[0]["n"] == left


async def test_cancelling_a_query_waits_for_its_end(database_url: str) -> None:
    """No work outlives its scope: the backend is idle when cancellation is over."""
    async with open_bridge() as bridge:

        async def slow() -> None:
            connection = await asyncpg.connect(database_url)
            try:
                await connection.execute("SELECT pg_sleep(30)")
            finally:
                await connection.close()

        with trio.move_on_after(0.5) as scope:
            await bridge.call(slow)
        assert scope.cancelled_caught

        async def sleeping() -> int:
            connection = await asyncpg.connect(database_url)
            try:
                return int(
                    await connection.fetchval(
                        "SELECT count(*) FROM pg_stat_activity"
                        " WHERE state = 'active' AND query LIKE 'SELECT pg_sleep%'"
                    )
                )
            finally:
                await connection.close()

        assert await bridge.call(sleeping) == 0


async def test_other_tenants_readings_do_not_come_back_in_recovery(stack: Stack) -> None:
    """Window rows are read as the tenant."""
    await stack.send([row(START_MS, 1)])
    (found,) = await stack.sql("SELECT series_id FROM readings")
    await make_tenant(stack.bridge, stack.database_url, "other")
    tenant = await stack.tenant_no()
    for number, count in ((tenant, 1), (TenantNo(tenant + 1), 0)):
        chunks = stack.store.window_rows(
            number, np.array([found["series_id"]], np.int32),
            np.array([START_MS * 1000 - 1]), np.array([NOW]),
        )  # fmt: skip
        assert [len(ts) async for _, ts, _ in chunks] == [count]


async def test_late_readings_of_a_later_batch_are_not_evidence(stack: Stack) -> None:
    """Though it is committed with the batch that opens the alert: one group, one transaction."""
    await stack.rule("rule hot on sensors when t > 10")
    tenant, number = await series(stack)
    (sensor,), _ = await stack.queries.register(tenant)
    samples = Samples("t", 60_000_000, 0, b"")
    step = Transition(
        kind="opened", alert_id=uuid4(), rule_no=RuleNo(1), rule_version=1,
        sensor_no=sensor.sensor_no, severity="warning", at=NOW, arrived=Micros(NOW + 1), value=1.0,
        evidence=(), opening=Opening("rule hot", samples=(samples, samples)),
    )  # fmt: skip

    def late(*ages: int) -> dict[str, object]:
        return {
            "old_series": np.full(len(ages), number, np.int32), "old_value": np.ones(len(ages)),
            "old_ts": np.array([NOW - age for age in ages]),
        }  # fmt: skip

    opening = item(tenant, [number], [NOW], NOW + 1, transitions=[step], **late(5, 59_999_999))
    later = item(tenant, [], [], NOW + 2, **late(7, 8, 60_000_000))
    assert await stack.store.commit_group(uuid4(), [opening, later]) == [2, 3]
    (kept,) = await stack.sql("SELECT late FROM alert_evidence")
    assert kept["late"] == [2, 2]


async def test_a_dead_letter_keeps_what_follows(stack: Stack) -> None:
    """Of a batch in parts whose first is refused nothing more comes: the letter has all of it."""
    tenant, one = await series(stack)
    left = (np.array([one, one], np.int32), np.array([NOW, NOW + 1], np.int64), np.array([2.0, 3]))
    await stack.store.bury([item(tenant, [one], [NOW - 1], NOW, following=[left])], "a reason")
    (letter,) = await stack.sql("SELECT rows, payload FROM dead_letters")
    kept = msgspec.json.decode(letter["payload"])
    assert letter["rows"] == 3
    assert kept["ts_us"] == [NOW - 1, NOW, NOW + 1]
    assert kept["value"] == [1, 2, 3]
