"""The evidence of alerts over real sockets and a real Postgres: kept, counted, drawn."""

import re
from functools import partial
from typing import Any
from xml.etree import ElementTree

import pytest
import trio

from atalaia.http.render import time
from atalaia.model.ids import Micros
from atalaia.ports import StoreRefused, StoreUnavailable
from tests.stack import START_MS, Stack, open_stack, row

pytestmark = pytest.mark.postgres

TEXT = 'rule "<hot> & 1" on sensors when avg(t, 1m) > 20 and count(u, 10s) < 9 severity info,\n' \
       "  critical when max(t, 30s) > 90"  # fmt: skip


async def execute_aio(statement: str, connection: Any) -> None:
    await connection.execute(statement)


def at(ms: int) -> str | None:
    return time(Micros(1000 * ms))


async def read(stack: Stack, query: str = "") -> dict[str, Any]:
    """The one alert there is, in full."""
    (alert,) = await stack.alerts(query)
    return (await stack.client.get(f"/v1/alerts/{alert['id']}")).json()  # type: ignore[no-any-return]


async def test_an_alert_tells_what_it_was_opened_on(stack: Stack) -> None:
    """Rule, aggregates, comparisons and readings as they stood, though the batch went on."""
    await stack.rule(TEXT)
    rows = [row(START_MS + 1000 * n, n % 7) for n in range(50)]
    rows += [row(START_MS + 50_000, 1000), row(START_MS + 50_000, 3, "u")]
    rows += [row(START_MS + 51_000 + 1000 * n, 0) for n in range(70)]
    await stack.send(rows)
    (listed,) = await stack.alerts()
    assert "opening" not in listed
    alert = await read(stack)
    opening = alert["opening"]
    assert alert["evidence"] == listed["evidence"]
    assert opening["rule"] == {"version": 1, "text": TEXT}
    values = [value for metric, value in [(r["metric"], r["value"]) for r in rows[:51]]]
    mean = sum(values) / 51
    assert [(a["expression"], a["metric"], a["window"]) for a in opening["aggregates"]] == [
        ("avg(t, 1m)", "t", "1m"), ("count(u, 10s)", "u", "10s"),
    ]  # fmt: skip
    assert [a["value"] for a in opening["aggregates"]] == pytest.approx([mean, 1.0])
    assert [
        (c["clause"], c["text"], c["operator"], c["threshold"], c["truth"], c["needs"])
        for c in opening["comparisons"]
    ] == [
        ("when", "avg(t, 1m) > 20", ">", 20, True, True),
        ("when", "count(u, 10s) < 9", "<", 9, True, True),
        ("critical", "max(t, 30s) > 90", ">", 90, True, True),
    ]
    first, second = opening["samples"]
    assert (first["metric"], first["window"], first["count"], first["late"]) == ("t", "1m", 51, 0)
    assert (first["from"], first["to"]) == (at(START_MS - 10_000), at(START_MS + 50_000))
    assert first["points"] == [[at(r["ts"]), r["value"]] for r in rows[:51]]
    assert second["points"] == [[at(START_MS + 50_000), 3]]
    assert (opening["late"], opening["silence"]) == (0, None)


async def test_late_readings_in_the_window_are_counted_to_the_batch_that_opens(
    stack: Stack,
) -> None:
    """Those that came before or with it; duplicates, other windows and later ones are not."""
    await stack.rule("rule hot on sensors when t > 10 or last(u, 1h) > 99")
    await stack.send([row(START_MS, 1), row(START_MS, 1, "u"), row(START_MS, 1, sensor="x")])
    await stack.send([row(START_MS - 1000, 2), row(START_MS - 2000, 2), row(START_MS, 5)])
    await stack.send([row(START_MS - 300_000, 2), row(START_MS - 1000, 2, sensor="x")])
    await stack.send([row(START_MS - 3000, 2), row(START_MS - 1800_000, 2, "u"),
                      row(START_MS + 1000, 11)])  # fmt: skip
    await stack.send([row(START_MS - 4000, 2), row(START_MS - 5000, 2, "u")])
    opening = (await read(stack))["opening"]
    assert [(s["metric"], s["window"], s["late"]) for s in opening["samples"]] == [
        ("t", "5m", 3), ("u", "1h", 1),
    ]  # fmt: skip
    assert opening["late"] == 4
    assert [value for _, value in opening["samples"][0]["points"]] == [1, 11]


async def test_late_readings_are_counted_across_days(stack: Stack) -> None:
    """A window over several partitions, of which the old ones have late readings."""
    await stack.rule("rule hot on sensors when max(t, 10d) > 10")
    day_ms = 86_400_000
    for n in (0, -1, -3, -5, -11):
        await stack.send([row(START_MS + n * day_ms, 1)])
    await stack.send([row(START_MS + 1, 11)])
    assert (await read(stack))["opening"]["late"] == 3


async def test_evidence_cannot_be_changed(stack: Stack) -> None:
    """Neither role that the service works with may touch what is written."""
    await stack.rule("rule hot on sensors when t > 10")
    await stack.send([row(START_MS, 11)])
    tenant = await stack.tenant_no()
    for statement in ("UPDATE alert_evidence SET late = '{}'", "DELETE FROM alert_evidence"):
        with pytest.raises(StoreUnavailable, match="permission denied"):
            await stack.database.as_writer(partial(execute_aio, statement))
        with pytest.raises(StoreRefused, match="permission denied"):
            await stack.database.as_tenant(tenant, partial(execute_aio, statement))


async def test_evidence_is_the_same_after_any_restart(database_url: str) -> None:
    """Cut between all batches, the stored bytes equal those of one life."""
    values = [3.1, 12.7, 13.3, 11.9, 2.2, 14.1, 15.5, 1.0, 20.4, 22.2, 1.5, 13.0]
    text = "rule hot on sensors when avg(t, 1m) > 7.5 and last(t, 5m) > 10 clear when t < 2"
    async with open_stack(database_url) as one:
        key = one.api_key
        await one.rule(text)
        rows = [row(START_MS + n * 10_000, v, sensor="whole") for n, v in enumerate(values)]
        await one.send(rows)
    for n, value in enumerate(values):
        async with open_stack(database_url, api_key=key) as life:
            await life.send([row(START_MS + n * 10_000, value, sensor="cut")])
    async with open_stack(database_url, api_key=key) as last:
        found = await last.sql(
            "SELECT s.name, a.opened_at, e.record::text, e.samples, e.late FROM alert_evidence e"
            " JOIN alerts a USING (tenant_id, alert_id) JOIN sensors s USING (tenant_id, sensor_id)"
            " ORDER BY a.opened_at"
        )
    whole, cut = ([{**f, "name": ""} for f in found if f["name"] == s] for s in ("whole", "cut"))
    assert len(whole) > 1
    assert whole == cut


async def test_the_picture_is_whole_escaped_and_runs_nothing(stack: Stack) -> None:
    """SVG that a parser takes, with a title; alone it comes with headers that forbid the rest."""
    await stack.rule('rule r on sensors when avg("a.b", 10s) > 2 and "a.b" > 1')
    await stack.send([row(START_MS + 1000 * n, n, "a.b") for n in range(9)])
    alert = await read(stack)
    drawn = alert["opening"]["sparkline"]
    response = await stack.client.get(f"/v1/alerts/{alert['id']}/sparkline.svg")
    assert response.text == drawn
    assert response.headers["content-type"] == "image/svg+xml"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["content-security-policy"] == "default-src 'none'; sandbox"
    root = ElementTree.fromstring(drawn)
    assert root.get("role") == "img"
    tags = [element.tag.rpartition("}")[2] for element in root]
    assert tags == ["title", "rect", "line", "polyline", "circle"]
    assert root[0].text == (
        'a.b, the 5m before the alert opened: avg("a.b", 10s) was 2.5, with avg("a.b", 10s) > 2'
    )
    assert re.findall(r"href|url\(|<script|style", drawn) == []
    for path in ("none", "00000000-0000-7000-8000-000000000000"):
        missing = await stack.client.get(f"/v1/alerts/{path}/sparkline.svg")
        assert (missing.status_code, missing.json()["code"]) == (404, "not_found")


async def test_a_silence_tells_since_when_and_by_which_clock(stack: Stack) -> None:
    """There are no readings to draw."""
    await stack.rule('rule silent on sensor "s" when no data for 1s')
    await stack.send([row(START_MS, 1)])
    with trio.fail_after(10):
        while not await stack.alerts():
            await trio.sleep(0.1)
    alert = await read(stack)
    opening = alert["opening"]
    (heard,) = await stack.sql("SELECT received_at FROM readings")
    assert opening["silence"]["clock"] == "arrival"
    assert opening["silence"]["since"] >= heard["received_at"].strftime("%Y-%m-%dT%H:%M:%S")
    assert opening["silence"]["since"] < opening["silence"]["deadline"] <= alert["opened_at"]
    assert (opening["samples"], opening["sparkline"], opening["late"]) == ([], None, 0)
    response = await stack.client.get(f"/v1/alerts/{alert['id']}/sparkline.svg")
    assert response.status_code == 404
