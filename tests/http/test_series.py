"""Aggregates, points and pages of readings over HTTP, against what was sent."""

from typing import Any

import numpy as np
import pytest
import trio

from atalaia.buckets.table import AGGREGATES, FILLS
from atalaia.http import series as routes
from atalaia.model.ids import MINUTE_US
from atalaia.wire.times import EARLIEST_US
from tests.buckets.oracle import Reading, buckets, close
from tests.stack import START_MS, Stack, row

pytestmark = pytest.mark.postgres
BASE_MS = START_MS // 300_000 * 300_000
URL = "/v1/sensors/s/readings"


async def fill(
    stack: Stack, count: int = 300, sensor: str = "s", metric: str = "t"
) -> list[Reading]:
    """Readings every seven seconds; returns them as (µs, value)."""
    rows = [row(BASE_MS + 7000 * n, float((n * 37) % 101), metric, sensor) for n in range(count)]
    assert (await stack.send(rows)).json()["accepted"] == count
    return [(1000 * r["ts"], r["value"]) for r in rows]


async def ask(stack: Stack, query: str, status: int = 200) -> dict[str, Any]:
    response = await stack.client.get(f"{URL}?{query}")
    assert response.status_code == status, response.text
    return response.json()  # type: ignore[no-any-return]


def micros(text: str) -> int:
    return int(np.datetime64(text.removesuffix("Z"), "us").astype(np.int64))


def rows_of(series: dict[str, Any]) -> dict[int, dict[str, Any]]:
    names = [name for name in series if name not in ("sensor", "metric", "ts")]
    columns = zip(*(series[name] for name in names), strict=True)
    return {
        micros(ts): dict(zip(names, values, strict=True))
        for ts, values in zip(series["ts"], columns, strict=True)
    }


async def test_every_aggregate_is_that_of_the_readings(stack: Stack) -> None:
    """All of them at once, by buckets of five minutes and of ten seconds."""
    readings = await fill(stack)
    for bucket, size in (("5m", 5 * MINUTE_US), ("10s", 10_000_000)):
        body = await ask(
            stack, f"metric=t&bucket={bucket}&agg={','.join(AGGREGATES)}&from={BASE_MS}"
        )
        (series,) = body["data"]
        assert (series["sensor"], series["metric"], body["bucket"]) == ("s", "t", bucket)
        edges = range(BASE_MS * 1000, readings[-1][0] + size + 1, size)
        expected = buckets(readings, list(edges), AGGREGATES)
        found = rows_of(series)
        assert found.keys() == expected.keys()
        for begin, wanted in expected.items():
            assert all(close(found[begin][name], wanted[name]) for name in AGGREGATES)


async def test_a_range_is_widened_to_whole_buckets(stack: Stack) -> None:
    """No bucket is said to hold less than it does."""
    await fill(stack)
    middle = BASE_MS + 400_000
    body = await ask(stack, f"metric=t&bucket=5m&agg=count&from={middle}&to={middle}")
    (series,) = body["data"]
    assert rows_of(series) == {(BASE_MS + 300_000) * 1000: {"count": 43}}


async def test_empty_buckets_are_filled_as_asked(stack: Stack) -> None:
    """Left out, null, the one before, or on a line; a count there is 0."""
    await stack.send([row(BASE_MS, 10), row(BASE_MS + 4 * 60_000, 30)])
    wanted = {
        "none": [10, 30],
        "null": [10, None, None, None, 30],
        "previous": [10, 10, 10, 10, 30],
        "linear": [10, 15, 20, 25, 30],
    }
    for fill, values in wanted.items():
        body = await ask(stack, f"metric=t&bucket=1m&agg=avg,count&fill={fill}&from={BASE_MS}")
        assert body["data"][0]["avg"] == values
        assert sum(body["data"][0]["count"]) == 2


async def test_several_metrics_and_many_sensors_are_asked_at_once(stack: Stack) -> None:
    """By name, by id, by selector, by metric; in the order of their names."""
    for sensor in ("b", "a", "c"):
        await fill(stack, 3, sensor)
        await fill(stack, 2, sensor, "h")
    tags = await stack.client.put("/v1/sensors/c/tags", json={"tags": {"hall": "3"}})
    for body, names in (
        ({}, ["a h", "a t", "b h", "b t", "c h", "c t"]),
        ({"sensors": ["b", tags.json()["id"], "unknown", "x\0"], "metrics": ["t"]}, ["b t", "c t"]),
        ({"selector": 'sensors where hall = "3"'}, ["c h", "c t"]),
        ({"selector": 'sensors "[ab]*"'}, []),
        ({"selector": 'sensors "?"', "metrics": ["h"], "sensors": ["a"]}, ["a h"]),
    ):
        for kind in ({"bucket": "1h", "agg": ["count"]}, {"points": 3}):
            response = await stack.client.post("/v1/query", json=body | kind)
            assert response.status_code == 200, response.text
            data = response.json()["data"]
            assert [f"{one['sensor']} {one['metric']}" for one in data] == names
            column = "count" if "bucket" in kind else "value"
            assert all(len(one["ts"]) == len(one[column]) > 0 for one in data)
    response = await stack.client.get("/v1/sensors/a/readings?metric=t,h&bucket=1h&agg=sum")
    assert [one["metric"] for one in response.json()["data"]] == ["h", "t"]
    by_id = await stack.client.get(f"/v1/sensors/{tags.json()['id']}/latest")
    assert by_id.json()["sensor"] == "c"


async def test_days_of_a_time_zone(stack: Stack) -> None:
    """A reading before midnight in UTC is of the next day in Auckland."""
    noon = BASE_MS // 86_400_000 * 86_400_000 - 12 * 3_600_000
    await stack.send([row(noon, 1), row(noon + 11 * 3_600_000, 2)])
    utc = await ask(stack, f"metric=t&bucket=1d&agg=count&from={noon}&tz=UTC")
    there = await ask(stack, f"metric=t&bucket=1d&agg=count&from={noon}&tz=Pacific/Kiritimati")
    assert utc["data"][0]["count"] == [2]
    assert there["data"][0]["ts"][0].endswith("T10:00:00.000000Z")
    assert sum(there["data"][0]["count"]) == 2


async def test_points_look_like_the_readings(stack: Stack) -> None:
    """So many of them and no other, the first and the last among them."""
    readings = await fill(stack)
    body = await ask(stack, f"metric=t&points=50&from={BASE_MS}")
    (series,) = body["data"]
    found = {(micros(ts), value) for ts, value in zip(series["ts"], series["value"], strict=True)}
    assert len(found) == 50
    assert found < set(readings)
    assert {readings[0], readings[-1]} < found
    whole = await ask(stack, f"metric=t&points=1000&from={BASE_MS}")
    assert len(whole["data"][0]["ts"]) == len(readings)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("metric=t&bucket=5", "bad_parameter"),
        ("metric=t&bucket=0s", "bad_parameter"),
        ("metric=t&bucket=99999d", "bad_parameter"),
        ("metric=t&bucket=5m&agg=mean", "bad_parameter"),
        ("metric=t&bucket=5m&fill=zero", "bad_parameter"),
        ("metric=t&bucket=5m&tz=Europe/Berlin", "bad_parameter"),
        ("metric=t&bucket=1d&tz=../../etc/passwd", "bad_parameter"),
        ("metric=t&agg=avg", "bad_parameter"),
        ("metric=t&bucket=5m&points=9", "bad_parameter"),
        ("metric=t&points=2", "bad_parameter"),
        ("metric=t&points=9&fill=null", "bad_parameter"),
        ("metric=t&bucket=5m&from=9&to=8", "bad_parameter"),
        ("metric=t,h", "bad_parameter"),
        ("bucket=5m", "bad_parameter"),
        ("metric=t&bucket=1ms&from=0", "too_many_buckets"),
        ("metric=t&bucket=1s&from=0&fill=null&to=2199-01-01T00:00:00Z", "too_many_buckets"),
    ],
)  # fmt: skip
async def test_what_cannot_be_asked_is_said(stack: Stack, query: str, code: str) -> None:
    """With a status of 400 and what to do instead."""
    await stack.send([row(BASE_MS, 1), row(BASE_MS, 1, "h")])
    assert (await ask(stack, query, 400))["code"] == code


async def test_a_query_is_bounded_in_series_points_and_readings(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each bound has an error that says what to do."""
    await fill(stack, 300)
    await fill(stack, 300, metric="h")
    for name, number, body, code in (
        ("MOST_SERIES", 1, {"bucket": "1h"}, "too_many_series"),
        ("MOST_POINTS", 1, {"bucket": "1h"}, "too_many_points"),
        ("MOST_POINTS", 5, {"points": 3}, "too_many_points"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(routes, name, number)
            response = await stack.client.post("/v1/query", json=body)
            assert (response.status_code, response.json()["code"]) == (400, code)
    monkeypatch.setattr("atalaia.engine.asking.MOST_ROWS", 500)
    questions: list[dict[str, Any]] = [
        {"bucket": "1h", "agg": ["p95"]}, {"points": 3}, {"bucket": "30s"}
    ]  # fmt: skip
    for body in questions:
        response = await stack.client.post("/v1/query", json=body | {"from": BASE_MS})
        assert (response.status_code, response.json()["code"]) == (400, "too_many_readings")


async def test_a_bad_body_of_a_query_is_said(stack: Stack) -> None:
    """Fields, types and selectors."""
    for body, code in (
        ({}, "bad_parameter"),
        ({"bucket": 5}, "bad_body"),
        ({"bucket": "5m", "agg": "avg"}, "bad_body"),
        ({"points": True}, "bad_body"),
        ({"points": 5, "color": "red"}, "bad_body"),
        ({"points": 5, "selector": "sensors where"}, "bad_selector"),
        ({"points": 5, "selector": "x" * 30_000}, "bad_selector"),
        ({"points": 5, "from": "yesterday"}, "bad_parameter"),
    ):
        response = await stack.client.post("/v1/query", json=body)
        assert (response.status_code, response.json()["code"]) == (400, code), body


async def test_readings_of_before_a_range_and_of_unknown_sensors(stack: Stack) -> None:
    """No series, no newest reading, a range before everything: empty columns, no error."""
    assert (await stack.client.post("/v1/query", json={"points": 5})).json()["data"] == []
    await fill(stack, 5)
    body = await ask(stack, "metric=t&bucket=1m&from=0&to=1000")
    assert body["data"] == [{"sensor": "s", "metric": "t", "ts": [], "avg": []}]
    body = await ask(stack, "metric=t&bucket=1d&from=3000-01-01T00:00:00Z")
    assert body["data"][0]["ts"] == []


FAR = (
    ("9990-01-01T00:00:00Z", "9999-12-30T00:00:00Z"),
    ("2200-01-01T00:00:00Z", "9999-12-30T00:00:00Z"),
    ("0001-01-03T00:00:00Z", "1969-12-31T23:59:59.999999Z"),
)
"""Ranges in which no reading can be."""


@pytest.mark.parametrize("zone", ["UTC", "America/Sao_Paulo", "Pacific/Kiritimati"])
async def test_a_range_goes_no_further_than_readings_can(stack: Stack, zone: str) -> None:
    """Beyond 1970 to 2200 there are no buckets, whatever they would be filled with; one that
    reaches out at both ends has those of the years between.
    """
    await stack.send([row(EARLIEST_US // 1_000, 1.0), row(BASE_MS, 2.0)])
    for fill in FILLS:
        asked = f"metric=t&bucket=365d&tz={zone}&agg=count,p50&fill={fill}"
        for since, until in FAR:
            assert (await ask(stack, f"{asked}&from={since}&to={until}"))["data"][0]["ts"] == []
            said = {"from": since, "to": until, "bucket": "3660d", "tz": zone, "fill": fill}
            response = await stack.client.post("/v1/query", json=said)
            assert (response.status_code, response.json()["data"][0]["ts"]) == (200, [])
        body = await ask(stack, f"{asked}&from={FAR[2][0]}&to={FAR[0][1]}")
        (series,) = body["data"]
        assert sum(series["count"]) == 2
        assert (series["ts"][0][:4], series["ts"][-1][:4]) >= ("1969", "1970")
        assert series["ts"][-1] < "2200"
    body = await ask(stack, f"metric=t&points=3&from={FAR[2][0]}&to={FAR[0][1]}")
    assert body["data"][0]["value"] == [1.0, 2.0]


async def test_pages_are_of_one_and_the_same_set(stack: Stack) -> None:
    """What is stored while somebody turns pages moves none of them: newer readings are not in
    the range, and nothing comes twice."""
    readings = await fill(stack, 25)
    response = await stack.client.get(f"{URL}?metric=t&limit=10")
    seen = [micros(point["ts"]) for point in response.json()["data"]]
    while "next" in response.links:
        await stack.send([row(readings[-1][0] // 1000 + 1 + len(seen), 5)])
        await stack.send([row(BASE_MS - 1000 - len(seen), 5)])
        link = response.links["next"]["url"]
        assert response.json()["next_cursor"] in link
        response = await stack.client.get(link)
        assert response.status_code == 200
        seen += [micros(point["ts"]) for point in response.json()["data"]]
    assert response.json()["next_cursor"] is None
    assert seen == [ts for ts, _ in readings]


async def test_every_list_names_its_next_page(stack: Stack) -> None:
    """In a Link header that keeps what was asked for."""
    for n in range(3):
        await fill(stack, 1, f"s{n}")
    response = await stack.client.get("/v1/sensors?limit=2")
    assert response.links["next"]["url"].startswith("/v1/sensors?limit=2&cursor=")
    last = await stack.client.get(response.links["next"]["url"])
    assert [one["name"] for one in last.json()["data"]] == ["s2"]
    assert "link" not in last.headers


async def test_one_tenants_questions_leave_room(stack: Stack) -> None:
    """The fifth at once is told to wait; then there is room again."""
    await fill(stack, 5)
    statuses: list[int] = []

    async def one() -> None:
        response = await stack.client.post("/v1/query", json={"bucket": "10s", "fill": "null"})
        statuses.append(response.status_code)

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(one)
    assert set(statuses) == {200, 429}
    await one()
    assert statuses[-1] == 200
