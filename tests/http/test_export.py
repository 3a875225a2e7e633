"""Exports: whole, of one moment, in constant memory, and safe to open."""

import asyncio
import csv
import io
import json
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest
import trio

from atalaia.http import formats
from atalaia.model.views import SeriesView
from atalaia.storage import readings, scans
from tests.answer import ask
from tests.stack import START_MS, Stack, row

pytestmark = pytest.mark.postgres
URL = f"/v1/export?from={START_MS - 86_400_000}"


async def fill(stack: Stack, count: int = 40) -> list[tuple[str, str, float, bool]]:
    """Three sensors, two metrics, one late reading; returns what is to be found, in order."""
    rows = [
        row(START_MS + 1000 * n, n / 3, metric, sensor)
        for sensor in ("b", "a", "-c") for metric in ("t", "h/x") for n in range(1, count)
    ]  # fmt: skip
    assert (await stack.send(rows)).json()["accepted"] == len(rows)
    late = row(START_MS, 1e-7, "t", "a")
    assert (await stack.send([late])).json()["late"] == 1
    found = [(r["sensor"], r["metric"], r["ts"], r["value"], False) for r in rows]
    found.append(("a", "t", START_MS, 1e-7, True))
    return [(s, m, v, late) for s, m, _, v, late in sorted(found)]


async def get(stack: Stack, query: str) -> httpx.Response:
    response = await stack.client.get(URL + query)
    assert response.status_code == 200, response.text
    return response


async def test_the_three_formats_hold_the_same_readings(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them, by sensor, metric and time, to the last bit; however small the pieces."""
    expected = await fill(stack)
    monkeypatch.setattr("atalaia.http.export.PIECE_ROWS", 7)
    monkeypatch.setattr(scans.scan, "__kwdefaults__", {"chunk_rows": 25})
    table = list(csv.DictReader(io.StringIO((await get(stack, "")).text)))
    assert tuple(table[0]) == formats.COLUMNS
    mine = [
        (r["sensor"].removeprefix("'"), r["metric"], float(r["value"]), r["late"] == "true")
        for r in table
    ]
    assert mine == expected
    lines = [json.loads(line) for line in (await get(stack, "&format=ndjson")).text.splitlines()]
    assert [tuple(r[name] for name in ("sensor", "metric", "value", "late")) for r in lines] == mine
    file = await get(stack, "&format=parquet")
    rows = pq.read_table(io.BytesIO(file.content)).to_pylist()
    assert [tuple(r[name] for name in ("sensor", "metric", "value", "late")) for r in rows] == mine
    assert [r["ts"].timestamp() for r in rows] == [pytest.approx(_seconds(r["ts"])) for r in lines]
    assert file.headers["content-disposition"] == 'attachment; filename="readings.parquet"'


def _seconds(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


async def test_an_export_can_be_sent_again(stack: Stack) -> None:
    """NDJSON is what is taken: every reading is known already."""
    expected = await fill(stack)
    body = (await get(stack, "&format=ndjson")).content
    again = await stack.client.post(
        "/v1/readings", content=body, headers={"content-type": "application/x-ndjson"}
    )
    assert again.json()["duplicates"] == len(expected)


async def test_an_export_is_of_what_was_asked_for(stack: Stack) -> None:
    """Sensors, metrics, selector, and both ends of the time."""
    await fill(stack, 4)
    for query, count in (
        ("&sensor=a", 7), ("&sensor=a,b&metric=t", 7), ("&sensor=a&sensor=b", 13),
        ('&selector=sensors "-*"', 6), (f"&to={START_MS + 1000}", 7), ("&sensor=nobody", 0),
    ):  # fmt: skip
        assert len((await get(stack, query)).text.splitlines()) == count + 1, query
    for query, code in (
        ("/v1/export", "bad_parameter"), (URL + "&format=xlsx", "bad_parameter"),
        (URL + "&selector=x", "bad_selector"),
    ):  # fmt: skip
        response = await stack.client.get(query)
        assert (response.status_code, response.json()["code"]) == (400, code)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", 'a"b', "a,b", "a\r\nb", "\tx", "é"])
def test_no_name_is_a_formula_or_breaks_a_line(text: str) -> None:
    """Whatever names may once be: one cell, which no spreadsheet runs, and the name within."""
    (found,) = list(csv.reader(io.StringIO(formats.cell(text) + ",x", newline="")))
    assert found[0].removeprefix("'") == text
    assert found[0][0] not in "=+-@\t"


async def test_an_export_is_of_one_moment(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is committed after it began is not in it, though it is stored where it has yet to
    read."""
    monkeypatch.setattr(scans.scan, "__kwdefaults__", {"chunk_rows": 10})
    monkeypatch.setattr("atalaia.http.export.PIECE_ROWS", 10)
    for sensor in ("a", "b"):
        await stack.send([row(START_MS + 2000 * n, 1, sensor=sensor) for n in range(500)])
    async with ask(stack.url, URL, **{"X-API-Key": stack.api_key}) as answer:
        await answer.line()
        await answer.line()
        late = [row(START_MS + 1001 + 2000 * n, 2, sensor="b") for n in range(400)]
        assert (await stack.send(late)).json()["late"] == 400
        rest = await answer.lines()
    assert len(rest) == 999
    assert {line.split(",")[3] for line in rest} == {"1.0"}


async def test_whoever_reads_slowly_keeps_nothing_waiting(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next chunk is read when the one before is taken: no connection is held meanwhile, and
    not more than the sockets' buffers is read ahead. Whoever leaves ends it."""
    chunks = 0
    real = readings.scan_aio

    async def counted(*args: Any, **options: Any) -> Any:
        nonlocal chunks
        chunks += 1
        return await real(*args, **options)

    monkeypatch.setattr(scans, "scan_aio", counted)
    monkeypatch.setattr(scans.scan, "__kwdefaults__", {"chunk_rows": 1000})
    monkeypatch.setattr("atalaia.http.export.PIECE_ROWS", 1000)
    for n in range(6):
        rows = [row(START_MS - 3_000_000 + 50_000 * n + k, k) for k in range(50_000)]
        await stack.send({"sensor": "s", "metric": "t", "ts": [r["ts"] for r in rows],
                          "value": [r["value"] for r in rows]})  # fmt: skip
    before = chunks
    async with ask(stack.url, URL, **{"X-API-Key": stack.api_key}) as answer:
        await answer.line()
        last = -1
        with trio.fail_after(20):
            while last != chunks:  # until it stands still
                last = chunks
                await trio.sleep(0.5)
        assert chunks - before < 200
        idle = await stack.sql(
            "SELECT count(*) AS n FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"
        )
        assert idle[0]["n"] == 0
    last = chunks
    await trio.sleep(0.5)
    assert chunks <= last + 1
    for _ in range(3):  # its turn is free again
        assert (await stack.client.head(URL)).status_code == 200
        assert (await stack.client.get(URL + "&sensor=nobody")).status_code == 200


async def test_a_tenant_has_few_exports_under_way(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third is told to wait; then there is room again."""
    hold = trio.Event()
    await fill(stack)
    real = readings.scan_aio

    async def held(*args: Any, **options: Any) -> Any:
        while not hold.is_set():
            await asyncio.sleep(0.01)
        return await real(*args, **options)

    looks, real_look = 0, type(stack.queries).find_series

    async def look(*args: Any, **options: Any) -> Any:
        nonlocal looks
        looks += 1
        return await real_look(*args, **options)

    monkeypatch.setattr(scans, "scan_aio", held)
    monkeypatch.setattr(type(stack.queries), "find_series", look)
    key = {"X-API-Key": stack.api_key}
    async with ask(stack.url, URL, **key), ask(stack.url, URL, **key):
        response = await stack.client.get(URL)
        assert (response.status_code, response.json()["code"]) == (429, "too_many_exports")
        assert looks == 2, "and nothing was looked for"
        hold.set()
    with trio.fail_after(10):
        while (await stack.client.get(URL)).status_code != 200:
            await trio.sleep(0.05)


async def test_without_pyarrow_csv_and_ndjson_remain(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A status that says what to install."""
    import sys

    await fill(stack, 3)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    response = await stack.client.get(URL + "&format=parquet")
    assert (response.status_code, response.json()["code"]) == (501, "not_installed")
    assert "pyarrow" in response.json()["detail"]
    assert "uv sync --locked --inexact --no-dev --extra parquet" in response.json()["detail"]
    await get(stack, "&format=csv")


async def test_half_a_file_is_not_taken_for_a_whole(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fails on the way breaks the connection."""
    await fill(stack)
    monkeypatch.setattr(scans.scan, "__kwdefaults__", {"chunk_rows": 10})
    monkeypatch.setattr("atalaia.http.export.PIECE_ROWS", 10)
    real, calls = readings.scan_aio, 0

    async def failing(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            args[0].terminate()
        return await real(*args, **options)

    monkeypatch.setattr(scans, "scan_aio", failing)
    with pytest.raises(httpx.RemoteProtocolError):
        await stack.client.get(URL)


def test_a_series_view_is_what_a_format_writes() -> None:
    """Names are written as JSON and as CSV have them."""
    import numpy as np

    from atalaia.model.stored import Scan

    scan = Scan(np.zeros(1, np.int64), np.zeros(1, np.int64), np.ones(1), np.zeros(1, np.int64),
                np.zeros(1, np.bool_))  # fmt: skip
    view = SeriesView(1, 'a"b', "=x", None)  # type: ignore[arg-type]
    assert json.loads(formats.Ndjson().rows([view], scan))["sensor"] == 'a"b'
    assert formats.Csv().rows([view], scan).startswith(b'"a""b",\'=x,1970-')
