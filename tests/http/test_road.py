"""The road of a reading over real sockets and a real Postgres."""

import gzip
import json
import zlib
from typing import Any

import pytest

from atalaia.cli.sender import Tally, read_answer
from atalaia.http.errors import as_error
from atalaia.http.faces import MAX_LISTED
from atalaia.ports import StoreSlow
from atalaia.telemetry.metrics import REGISTRY
from tests.stack import NOW_MS, START_MS, Stack, open_stack, row

pytestmark = pytest.mark.postgres


async def test_an_accepted_reading_is_committed_and_can_be_read(stack: Stack) -> None:
    """200 means the row is in Postgres, as sent."""
    response = await stack.send([row(START_MS, 1.5), row(START_MS + 1000, 2.5)])
    assert response.status_code == 200
    assert response.json() == {
        "accepted": 2, "duplicates": 0, "late": 0, "rejected": [], "rejected_count": 0,
        "durability": "committed",
    }  # fmt: skip
    assert (await stack.sql("SELECT count(*) AS n FROM readings"))[0]["n"] == 2
    points = (await stack.client.get("/v1/sensors/s/readings?metric=t")).json()["data"]
    assert [point["value"] for point in points] == [1.5, 2.5]
    latest = (await stack.client.get("/v1/sensors/s/latest")).json()
    assert latest["metrics"]["t"]["value"] == 2.5
    sensors = (await stack.client.get("/v1/sensors")).json()["data"]
    assert [(s["name"], s["metrics"]) for s in sensors] == [("s", ["t"])]


async def test_the_first_value_of_a_series_and_time_stays(stack: Stack) -> None:
    """A second reading of one series and time counts as duplicate, within a batch too."""
    first = await stack.send([row(START_MS, 1), row(START_MS, 2), row(START_MS + 1, 3)])
    assert (first.json()["accepted"], first.json()["duplicates"]) == (2, 1)
    again = await stack.send([row(START_MS, 9), row(START_MS + 1, 9)])
    assert (again.json()["accepted"], again.json()["duplicates"]) == (0, 2)
    values = await stack.sql("SELECT value FROM readings ORDER BY ts")
    assert [item["value"] for item in values] == [1, 3]


async def test_a_late_reading_is_stored_flagged_and_not_judged(stack: Stack) -> None:
    """Older than its series' newest: stored once, counted late, opens nothing."""
    await stack.rule("rule hot on sensors when t > 10")
    await stack.send([row(START_MS, 1)])
    late = await stack.send([row(START_MS - 5000, 99), row(START_MS - 5000, 98)])
    assert (late.json()["accepted"], late.json()["late"], late.json()["duplicates"]) == (1, 1, 1)
    assert await stack.alerts() == []
    flags = await stack.sql("SELECT value, late FROM readings ORDER BY ts")
    assert [(item["value"], item["late"]) for item in flags] == [(99, True), (1, False)]


async def test_a_batch_is_a_set_so_old_rows_in_it_are_not_late(stack: Stack) -> None:
    """A request's rows are sorted before they are judged."""
    answer = await stack.send([row(START_MS + n * 1000, n) for n in (3, 1, 2, 0)])
    assert (answer.json()["accepted"], answer.json()["late"]) == (4, 0)


async def test_accepted_duplicates_and_rejected_add_up_to_sent(stack: Stack) -> None:
    """Nothing is lost in the account, whatever is wrong with rows."""
    rows = [
        row(START_MS, 1), row(START_MS, 1), row(NOW_MS + 10**9, 1), row(START_MS, 1, sensor="a b"),
        {"sensor": "s"}, row(START_MS + 1, "x"), row(START_MS - 1, 7),
    ]  # fmt: skip
    await stack.send([row(START_MS - 2, 0)])
    body = (await stack.send(rows)).json()
    assert body["accepted"] + body["duplicates"] + body["rejected_count"] == len(rows)
    assert [(r["index"], r["code"]) for r in body["rejected"]] == [
        (2, "future_timestamp"), (3, "bad_sensor"), (4, "missing_field"), (5, "bad_value"),
    ]  # fmt: skip


async def test_every_row_bad_is_422_with_every_reason(stack: Stack) -> None:
    """A batch of which nothing can be taken says so, row by row."""
    response = await stack.send([row(START_MS, 1, metric="a b"), 7])
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["code"] == "all_rejected"
    assert [reject["code"] for reject in body["rejected"]] == ["bad_metric", "bad_row"]


async def test_a_flood_of_bad_rows_is_counted_and_its_beginning_listed(stack: Stack) -> None:
    """The answer stays small, the account exact: in the answer, the metric and the sender's."""
    rows = [row(START_MS, 1), *[row(START_MS, "x")] * (MAX_LISTED + 5)]
    before = REGISTRY.get_sample_value("atalaia_readings_total", {"result": "rejected"}) or 0
    answer = (await stack.send(rows)).json()
    assert (answer["accepted"], answer["rejected_count"]) == (1, MAX_LISTED + 5)
    assert [reject["index"] for reject in answer["rejected"]] == list(range(1, MAX_LISTED + 1))
    after = REGISTRY.get_sample_value("atalaia_readings_total", {"result": "rejected"})
    assert after == before + MAX_LISTED + 5
    tally = Tally()
    tally.add(read_answer(rows, 0, answer))
    assert tally.rejected == answer["rejected_count"]


@pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)]
)
async def test_compressed_bodies_are_taken(stack: Stack, encoding: str, pack: object) -> None:
    """gzip and deflate."""
    body = json.dumps(
        {"sensor": "s", "metric": "t", "ts": [START_MS, START_MS + 1], "value": [1, 2]}
    )
    assert callable(pack)
    response = await stack.client.post(
        "/v1/readings", content=pack(body.encode()), headers={"content-encoding": encoding}
    )
    assert response.json()["accepted"] == 2


async def test_years_of_kept_readings_are_taken_eight_days_or_months_at_a_time(
    stack: Stack,
) -> None:
    """A request opens at most 8 partitions; the rest is asked for again and then taken."""
    day_ms = 86_400_000
    rows = [row(NOW_MS - (400 + 31 * n) * day_ms, n) for n in range(12)]
    first = (await stack.send(rows)).json()
    assert first["accepted"] == 8
    assert {reject["code"] for reject in first["rejected"]} == {"retry_later"}
    again = (await stack.send(rows)).json()
    assert (again["accepted"], again["duplicates"]) == (4, 8)


async def test_an_alert_opens_rises_falls_and_clears(stack: Stack) -> None:
    """One alert per rule and sensor; its history holds every step with evidence."""
    rule = await stack.rule(
        "rule hot on sensors when max(t, 10s) > 10 clear when max(t, 10s) < 5"
        " severity warning, critical when max(t, 10s) > 20"
    )
    for n, value in enumerate([1, 11, 25, 12, 4, 4]):
        await stack.send([row(START_MS + n * 11_000, value)])
    (alert,) = await stack.alerts()
    assert (alert["state"], alert["rule"]["id"], alert["sensor"]) == ("cleared", rule["id"], "s")
    assert alert["evidence"] == [{"expression": "max(t, 10s)", "value": 11.0}]
    full = (await stack.client.get(f"/v1/alerts/{alert['id']}")).json()
    assert [(step["kind"], step["severity"]) for step in full["history"]] == [
        ("opened", "warning"), ("raised", "critical"), ("lowered", "warning"),
        ("cleared", "warning"),
    ]  # fmt: skip


async def test_alerts_are_filtered_and_paged_without_overlap(stack: Stack) -> None:
    """Every filter narrows; pages put together are the whole list."""
    await stack.rule("rule hot on sensors when t > 10 severity critical")
    for n in range(5):
        await stack.send([row(START_MS + n, 11, sensor=f"s{n}")])
    await stack.send([row(START_MS + 99, 0, sensor="s0")])
    assert len(await stack.alerts("&state=open")) == 4
    assert len(await stack.alerts("&severity=critical")) == 5
    assert len(await stack.alerts("&severity=info")) == 0
    assert len(await stack.alerts("&sensor=s3")) == 1
    assert len(await stack.alerts(f"&from={START_MS + 3}&to={START_MS + 3}")) == 1
    seen: list[str] = []
    cursor = ""
    while True:
        page = (await stack.client.get(f"/v1/alerts?limit=2{cursor}")).json()
        seen += [alert["id"] for alert in page["data"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert len(seen) == len(set(seen)) == 5


async def test_readings_and_sensors_are_paged_without_overlap(stack: Stack) -> None:
    """Cursors walk through everything once."""
    await stack.send([row(START_MS + n, n) for n in range(7)])
    await stack.send([row(START_MS, 0, sensor=f"x{n}") for n in range(3)])
    for path, key, count in (
        ("/v1/sensors/s/readings?metric=t&limit=3", "value", 7),
        ("/v1/sensors?limit=3", "name", 4),
    ):
        seen, cursor = [], ""
        while cursor is not None:
            page = (await stack.client.get(f"{path}{cursor and '&cursor=' + cursor}")).json()
            seen += [item[key] for item in page["data"]]
            cursor = page["next_cursor"]
        assert len(seen) == len(set(seen)) == count


async def test_a_restart_is_no_restart(database_url: str) -> None:
    """Cut anywhere between batches, the alerts equal those of one life, to the bit."""
    values = [3.1, 12.7, 13.3, 11.9, 2.2, 14.1, 15.5, 1.0, 20.4, 22.2, 1.5, 13.0]
    text = "rule hot on sensors when avg(t, 1m) > 7.5 for 20s clear when avg(t, 30s) < 6 for 10s"
    async with open_stack(database_url) as one:
        key, url = one.api_key, one.database_url
        await one.rule(text)
        for n, value in enumerate(values):
            await one.send([row(START_MS + n * 10_000, value, sensor="whole")])
    for n, value in enumerate(values):
        async with open_stack(url, api_key=key) as life:
            await life.send([row(START_MS + n * 10_000, value, sensor="cut")])
    async with open_stack(url, api_key=key) as last:
        found = await last.alerts()
        whole, cut = (
            [
                (a["opened_at"], a["opened_value"], a["cleared_at"], a["cleared_value"], a["state"])
                for a in found
                if a["sensor"] == name
            ]
            for name in ("whole", "cut")
        )
    assert whole
    assert whole == cut


async def test_a_question_that_takes_too_long_is_told_from_an_outage(stack: Stack) -> None:
    """It says what to do, and is no fault of the database's."""

    async def slow(connection: Any) -> None:
        await connection.execute("SELECT set_config('statement_timeout', '50', true)")
        await connection.execute("SELECT pg_sleep(5)")

    with pytest.raises(StoreSlow) as raised:
        await stack.database.as_tenant(await stack.tenant_no(), slow)
    assert "took too long" in as_error(raised.value).detail
    assert (await stack.client.get("/health/ready")).status_code == 200
