"""From a 202 to a committed reading, over a real broker and a real Postgres."""

import gzip
import json

import attrs
import pytest
import trio

from atalaia.cli.connection import Connection
from atalaia.cli.sender import Sender, Tally
from atalaia.engine.clock import SystemClock
from tests.amqp.stack import Road, plain, ready
from tests.http.socket_client import connect
from tests.stack import NOW_MS, START_MS, row

pytestmark = [pytest.mark.postgres, pytest.mark.rabbit]


async def test_a_queued_reading_is_committed_and_judged(road: Road) -> None:
    """202 from the face, then the row, its alert, and an empty queue."""
    await road.stack.rule("rule hot on sensors when t > 10")
    async with road.consumer(), road.face() as (client, publisher):
        await ready(publisher)
        response = await client.post("/v1/readings", json=[row(START_MS, 1), row(START_MS + 1, 11)])
        assert response.status_code == 202, response.text
        assert response.json() == {
            "accepted": 2, "duplicates": 0, "late": 0, "rejected": [], "rejected_count": 0,
            "durability": "queued",
        }  # fmt: skip
        await road.holds(2)
        (alert,) = await road.stack.alerts()
        assert alert["opened_value"] == 11
        assert (await client.get("/v1/alerts")).json()["data"] == [alert]
    assert await road.letters() == []


async def test_rows_are_refused_at_once_and_only_the_others_are_queued(road: Road) -> None:
    """As the engine would: bad rows, and times in the future; none of them comes back later."""
    rows = [row(START_MS, 1), row(START_MS, "x"), row(NOW_MS + 10**9, 1), row(START_MS + 1, 2)]
    async with road.consumer(), road.face() as (client, publisher):
        await ready(publisher)
        answer = (await client.post("/v1/readings", json=rows)).json()
        assert (answer["accepted"], answer["rejected_count"]) == (2, 2)
        assert [r["code"] for r in answer["rejected"]] == ["bad_value", "future_timestamp"]
        refused = await client.post("/v1/readings", json=rows[1:3])
        assert (refused.status_code, refused.json()["code"]) == (422, "all_rejected")
        await road.holds(2)
    assert await road.letters() == []


async def test_bodies_travel_as_they_came(road: Road) -> None:
    """Compressed, in seconds, one object a line, true as 1."""
    async with road.consumer(), road.face() as (client, publisher):
        await ready(publisher)
        lines = b"\n".join(json.dumps(row(START_MS // 1000 + n, True)).encode() for n in range(3))
        response = await client.post(
            "/v1/readings?precision=s&bool=number", content=gzip.compress(lines),
            headers={"content-encoding": "gzip", "content-type": "application/x-ndjson"},
        )  # fmt: skip
        assert response.status_code == 202, response.text
        await road.holds(3)
    values = await road.stack.sql("SELECT DISTINCT value FROM readings")
    assert values == [{"value": 1.0}]


async def test_files_and_simulations_may_be_sent_there_too(road: Road) -> None:
    """What `replay` and `simulate` send with counts a 202 as an answer."""
    async with road.consumer(), road.face() as (client, publisher):
        await ready(publisher)
        sender = Sender(
            Connection(str(client.base_url), road.stack.api_key), client, Tally(), give_up_s=5
        )
        await sender.send([row(1000 * START_MS, 1), row(1000 * START_MS + 1, "x")])
        assert (sender.tally.accepted, sender.tally.rejected) == (1, 1)
        await road.holds(1)


async def test_lines_come_with_their_tags(road: Road) -> None:
    """Through the broker too: 202, the time of their arrival, rules by tag, bad lines told."""
    await road.stack.rule('rule hot on sensors where kind = "boiler" when m_v > 10')
    async with road.face() as (client, publisher):
        await ready(publisher)
        before_us = SystemClock().now_us()
        body = f"m,host=a,kind=boiler v=20 {START_MS}\nm,host=b v=20"
        sent = await client.post("/api/v2/write?precision=ms", content=body)
        assert (sent.status_code, sent.content) == (202, b"")
        after_us = SystemClock().now_us()
        sent = await client.post("/write?precision=ms", content=f"bad\nm,host=c v=1 {START_MS}")
        assert (sent.status_code, sent.json()["line"]) == (400, 1)
        token = road.stack.api_key
        sent = await client.post(f"/api/v1/{token}:boiler/telemetry", json={"t": 1})
        assert (sent.status_code, sent.json()["durability"]) == (202, "queued")
        async with road.consumer():
            await road.holds(4)
    (alert,) = await road.stack.alerts()
    assert alert["sensor"] == "a"
    (found,) = await road.stack.sql(
        "SELECT (extract(epoch FROM ts) * 1000000)::int8 AS us FROM readings"
        " JOIN series USING (tenant_id, series_id) JOIN sensors USING (tenant_id, sensor_id)"
        " WHERE name = 'b'"
    )
    assert before_us <= found["us"] <= after_us


async def test_a_socket_of_the_face_is_answered_when_the_queue_holds_a_message(road: Road) -> None:
    """As a request is, with the id of the message."""
    async with road.face() as (client, publisher):
        await ready(publisher)
        face = attrs.evolve(road.stack, url=str(client.base_url).rstrip("/"))
        async with connect(face) as opened:
            assert "credit" in await opened.answer()
            for number in range(3):
                await opened.send(f"{number}\n{json.dumps(row(START_MS + number, 1))}")
            said = [await opened.answer() for _ in range(3)]
        assert [(one["id"], one["status"], one["durability"]) for one in said] == [
            (str(number), 202, "queued") for number in range(3)
        ]
        async with road.consumer():
            await road.holds(3)


async def test_what_needs_the_engine_says_where_it_is(road: Road) -> None:
    """Rules and tags are not changed here; questions are answered."""
    async with road.face() as (client, publisher):
        await ready(publisher)
        for response in (
            await client.post("/v1/rules", json={"text": "rule hot on sensors when t > 1"}),
            await client.put("/v1/sensors/s/tags", json={"tags": {}}),
        ):
            assert (response.status_code, response.json()["code"]) == (409, "no_engine")
            assert "--role engine" in response.json()["detail"]
        assert (await client.get("/v1/rules")).status_code == 200
        assert (await client.get("/health/ready")).json()["checks"] == {
            "database": "ok", "commits": "ok", "broker": "ok",
        }  # fmt: skip


async def test_a_tenants_order_is_kept(road: Road) -> None:
    """Hundreds of messages of one series, published before anybody consumes: none is late."""
    tenant = await road.tenant_id()
    await road.publish(
        *(plain(tenant, json.dumps(row(START_MS + n, n)).encode()) for n in range(400))
    )
    async with road.consumer():
        await road.holds(400)
    assert (await road.stack.sql("SELECT count(*) AS n FROM readings WHERE late"))[0]["n"] == 0


async def test_what_is_settled_is_acknowledged_before_the_consumer_leaves(road: Road) -> None:
    """A second consumer finds nothing to do."""
    tenant = await road.tenant_id()
    await road.publish(
        *(plain(tenant, json.dumps(row(START_MS + n, n)).encode()) for n in range(50))
    )
    async with road.consumer():
        await road.holds(50)
    before = len(await road.stack.sql("SELECT FROM commit_groups"))
    async with road.consumer():
        await trio.sleep(0.5)
    assert len(await road.stack.sql("SELECT FROM commit_groups")) == before
