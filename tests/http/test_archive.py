"""A tenant's archive: all of it, nothing of others, exact, and of one moment."""

import base64
import hashlib
import io
import json
import struct
import zipfile
from typing import Any

import httpx
import pytest
import trio

from atalaia.http import archive as archive_module
from atalaia.http import auth
from atalaia.http import sessions as sessions_module
from atalaia.storage.archive_tables import IN_A_WAY_OF_THEIR_OWN, LEFT_OUT, TABLES
from tests.people import add_key, client
from tests.stack import NOW_MS, START_MS, Stack, make_tenant, row
from tests.tenants import (
    METRIC,
    NAME,
    PERSONAL,
    PLACE,
    RULE,
    SENSOR,
    Full,
    above,
    counts,
    fill,
    tables_of_tenants,
)

pytestmark = pytest.mark.postgres


@pytest.fixture(autouse=True)
def nothing_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "KEEP_S", 0.0)
    monkeypatch.setattr(sessions_module, "KEEP_S", 0.0)


class Opened:
    """An archive as whoever got it sees it."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.zip = zipfile.ZipFile(io.BytesIO(content))
        assert self.zip.testzip() is None
        self.manifest = json.loads(self.zip.read("manifest.json"))

    def lines(self, name: str) -> list[Any]:
        return [json.loads(line) for line in self.zip.read(name).decode().splitlines()]

    def text(self) -> str:
        return "\n".join(self.zip.read(name).decode() for name in self.zip.namelist())


async def take(asking: httpx.AsyncClient, path: str = "/v1/tenant/export") -> Opened:
    response = await asking.get(path)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/zip"
    return Opened(response.content)


async def own(stack: Stack, full: Full) -> Opened:
    async with client(stack, {"x-api-key": full.key}) as asking:
        return await take(asking)


async def test_an_archive_holds_all_of_a_tenant_and_nothing_of_another(stack: Stack) -> None:
    """As many lines as the tables have rows, every word of its own, no secret, and of the other,
    who has the same names for everything, neither an id nor a word.
    """
    full, other = await fill(stack), await fill(stack, "Outra casa")
    opened = await own(stack, full)
    rows = await counts(stack, full.number)
    files = {each["name"]: each for each in opened.manifest["files"]}
    for table in TABLES:
        name = f"{table.file}.ndjson"
        wanted = rows[table.table] - (table.table == "audit")  # that it was taken came after
        assert (table.table, len(opened.lines(name)), files[name]["rows"]) == (
            table.table, wanted, wanted,
        )  # fmt: skip
        assert wanted, table.table
    months = [name for name in files if name.startswith("readings/")]
    assert sum(files[name]["rows"] for name in months) == rows["readings"] == 5
    assert len(months) == 2
    for name in opened.zip.namelist():
        if name != "manifest.json":
            content = opened.zip.read(name)
            assert files[name]["sha256"] == hashlib.sha256(content).hexdigest()
            assert files[name]["size"] == len(content)
    assert opened.manifest["tenant"] == {"id": str(full.tenant_id), "name": NAME}
    text = opened.text()
    assert [word for word in PERSONAL if word not in text] == []
    ids = await stack.sql(
        "SELECT sensor_uuid::text AS id FROM sensors WHERE tenant_id = $1 UNION ALL"
        " SELECT user_id::text FROM users WHERE tenant_id = $1 UNION ALL"
        " SELECT rule_id::text FROM rules WHERE tenant_id = $1 UNION ALL"
        " SELECT alert_id::text FROM alerts WHERE tenant_id = $1 UNION ALL SELECT $2",
        other.number,
        str(other.tenant_id),
    )
    assert len(ids) >= 6
    assert [each["id"] for each in ids if each["id"] in text] == []
    assert "Outra casa" not in text
    hashes = await stack.sql(
        "SELECT password_hash AS secret FROM users WHERE password_hash LIKE '$2b$%' UNION ALL"
        " SELECT encode(hash, 'hex') FROM api_keys UNION ALL"
        " SELECT encode(hash, 'base64') FROM api_keys UNION ALL"
        " SELECT encode(token_hash, 'hex') FROM refresh_tokens UNION ALL"
        " SELECT encode(link_hash, 'hex') FROM user_links"
    )
    for secret in (*full.secrets, *(each["secret"] for each in hashes)):
        assert secret not in text


async def test_what_is_in_it_is_exact(stack: Stack) -> None:
    """Numbers bit for bit, times to the microsecond, the evidence of alerts as it was kept; and its
    readings are what POST /v1/readings takes.
    """
    full = await fill(stack)
    opened = await own(stack, full)
    months = [name for name in opened.zip.namelist() if name.startswith("readings/")]
    lines = [line for name in months for line in opened.lines(name)]
    stored = await stack.sql(
        "SELECT value, (extract(epoch FROM ts) * 1000000)::int8 AS ts FROM readings"
        " WHERE tenant_id = $1 ORDER BY ts",
        full.number,
    )
    packed = [struct.pack("<d", line["value"]) for line in lines]
    assert packed == [struct.pack("<d", each["value"]) for each in stored]
    assert 0.1 + 0.2 in [line["value"] for line in lines]
    (sensor,) = opened.lines("sensors.ndjson")
    assert (sensor["name"], sensor["place"]) == (SENSOR, PLACE)
    assert {line["sensor_id"] for line in lines} == {sensor["id"]}
    (rule,) = opened.lines("rules.ndjson")
    (alert,) = opened.lines("alerts.ndjson")
    assert (alert["rule_id"], alert["sensor_id"]) == (rule["id"], sensor["id"])
    (evidence,) = opened.lines("alert-evidence.ndjson")
    ts, value = struct.unpack("<qd", base64.b64decode(evidence["samples"])[-16:])
    assert (ts, value) == ((NOW_MS - 7_200_000) * 1000, 101.5)
    copy = await make_tenant(stack.bridge, stack.database_url, "copy")
    async with client(stack, {"x-api-key": copy}) as other:
        for name in months:
            sent = await other.post(
                "/v1/readings",
                content=opened.zip.read(name),
                headers={"content-type": "application/x-ndjson"},
            )
            assert sent.json()["rejected"] == []
        again = await other.get("/v1/export?format=ndjson&from=2020-01-01T00:00:00Z")
    values = [json.loads(line)["value"] for line in again.text.splitlines()]
    assert values == [line["value"] for line in lines]


async def test_every_table_and_column_is_in_it_or_is_said_not_to_be(stack: Stack) -> None:
    """By the catalogue: what is added later has to say what becomes of it."""
    said = {table.table for table in TABLES} | set(IN_A_WAY_OF_THEIR_OWN) | set(LEFT_OUT)
    assert sorted(said) == await tables_of_tenants(stack)
    for table in TABLES:
        rows = await stack.sql(
            "SELECT attname AS name FROM pg_attribute WHERE attrelid = $1::text::regclass"
            " AND attnum > 0 AND NOT attisdropped AND attname <> 'tenant_id'",
            table.table,
        )
        columns = {each["name"] for each in rows}
        taken = {name for name in columns if _is_taken(name, table.columns)}
        assert columns - taken - set(table.left_out) == set(), table.table
        assert set(table.left_out) - columns == set(), table.table
        assert all(table.left_out.values())
    assert all(LEFT_OUT.values())


def _is_taken(name: str, columns: str) -> bool:
    parts = [part.strip().removeprefix("t.").partition(" AS ")[0] for part in columns.split(", ")]
    return name in parts or any(f"encode({name}" in part for part in parts)


async def test_cells_stand_for_readings_that_are_gone(stack: Stack) -> None:
    """From before the first readings that there are; the others would only say the same again."""
    full = await fill(stack)
    day = 86_400_000_000
    kept = (NOW_MS * 1000) // day * day - 10 * day
    number = (await stack.sql("SELECT series_id AS no FROM series"))[0]["no"]
    cells = b"".join(
        struct.pack("<qqdddddd", at, 2, 0.30000000000000004, 0.1, 0.2, 0.1, 0.2, 0.005)
        for at in (kept - day, kept)
    )
    await stack.sql("DELETE FROM rollups")
    await stack.sql(
        "INSERT INTO rollups VALUES ($1, 2, $2, to_timestamp($3), $4)",
        full.number, number, (kept - 5 * day) // 1_000_000, cells,
    )  # fmt: skip
    await stack.sql("UPDATE rollup_marks SET complete_from = to_timestamp($1)", kept // 1_000_000)
    (cell,) = (await own(stack, full)).lines("rollups.ndjson")
    assert (cell["level"], cell["count"], cell["sum"], cell["min"], cell["last"]) == (
        "day", 2, 0.30000000000000004, 0.1, 0.2,
    )  # fmt: skip
    assert (cell["sensor"], cell["metric"]) == (SENSOR, METRIC)


async def test_an_archive_is_of_one_moment(stack: Stack) -> None:
    """What comes while it is being taken is in none of its files, however long that lasts."""
    full = await fill(stack)
    pieces = stack.sessions.people.archive(full.number, stack.sessions.clock.now_us())
    content = [await anext(pieces)]
    async with client(stack, {"x-api-key": full.key}) as asking:
        await asking.put("/v1/metrics/late", json={"unit": "bar"})
        await asking.post("/v1/rules", json={"text": "rule late on sensors when late > 1"})
        late = row(NOW_MS, 5.0, "late", "late-sensor")
        assert (await asking.post("/v1/readings", json=late)).status_code == 200
    content += [piece async for piece in pieces]
    opened = Opened(b"".join(content))
    assert "late-sensor" not in opened.text()
    assert [line["name"] for line in opened.lines("rules.ndjson")] == [RULE]
    assert [line["metric"] for line in opened.lines("metrics.ndjson")] == [METRIC]


async def test_who_may_take_it(stack: Stack) -> None:
    """The tenant's administrators and keys that may do everything; those who look after all, also
    of a suspended one; nobody else. Each time is written down in the tenant's own audit.
    """
    full = await fill(stack)
    path = f"/v1/admin/tenants/{full.tenant_id}/export"
    for scope in ("read", "rules", "sensors", "ingest"):
        key = await add_key(stack, scope, tenant_no=full.number)
        async with client(stack, {"x-api-key": key}) as asking:
            assert (await asking.get("/v1/tenant/export")).status_code == 403
    async with client(stack, {"x-api-key": full.key}) as asking:
        assert (await asking.get(path)).status_code == 403
        assert (await asking.head("/v1/tenant/export")).status_code == 200
        await take(asking)
        log = (await asking.get("/v1/audit?action=tenant.exported")).json()["data"]
        assert [entry["target"] for entry in log] == [str(full.tenant_id)]
    async with client(stack, await above(stack)) as platform:
        await platform.post(f"/v1/admin/tenants/{full.tenant_id}/suspend")
        opened = await take(platform, path)
        assert opened.manifest["tenant"]["name"] == NAME
        for unknown in (full.number, "x", "00000000-0000-7000-8000-000000000000"):
            missing = await platform.get(f"/v1/admin/tenants/{unknown}/export")
            assert missing.status_code == 404
        await platform.post(f"/v1/admin/tenants/{full.tenant_id}/erase", json={"name": NAME})
        refused = await platform.get(path)
        assert (refused.status_code, refused.json()["code"]) == (409, "erasing")


async def test_few_are_taken_at_once(stack: Stack) -> None:
    """One of a tenant and two of all; and a client that leaves gives its turn back."""
    full, second, third = [await fill(stack, name) for name in ("one", "two", "three")]
    assert archive_module.MOST_OF_ALL == 2
    async with trio.open_nursery() as nursery:

        async def hold(whose: Full, held: trio.Event, leave: trio.Event) -> None:
            async with (
                client(stack, {"x-api-key": whose.key}) as asking,
                asking.stream("GET", "/v1/tenant/export") as response,
            ):
                assert response.status_code == 200
                held.set()
                await leave.wait()

        leave = trio.Event()
        events = [trio.Event(), trio.Event()]
        for whose, held in zip((full, second), events, strict=True):
            await _more_readings(stack, whose)
            nursery.start_soon(hold, whose, held, leave)
            with trio.fail_after(20):
                await held.wait()
        for whose in (full, third):
            async with client(stack, {"x-api-key": whose.key}) as asking:
                refused = await asking.get("/v1/tenant/export")
                assert (refused.status_code, refused.json()["code"]) == (429, "too_many_archives")
                assert int(refused.headers["retry-after"]) >= 1
        async with client(
            stack, await above(stack)
        ) as platform:  # who keeps none waiting, nor waits
            await take(platform, f"/v1/admin/tenants/{third.tenant_id}/export")
        leave.set()
    with trio.fail_after(20):
        while True:
            async with client(stack, {"x-api-key": third.key}) as asking:
                if (await asking.get("/v1/tenant/export")).status_code == 200:
                    break
            await trio.sleep(0.05)


async def _more_readings(stack: Stack, whose: Full) -> None:
    """So many that they do not fit into what a socket takes without a reader."""
    await stack.sql(
        "INSERT INTO readings SELECT $1, series_id,"
        " to_timestamp($2::float8) + n * interval '1 millisecond',"
        " random(), to_timestamp($2::float8), false FROM generate_series(1, 300000) AS n,"
        " (SELECT series_id FROM series WHERE tenant_id = $1) AS s",
        whose.number,
        START_MS / 1000 - 3600,
    )
