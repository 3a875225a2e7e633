"""Server-sent events over real sockets: after the commit, each once, bounded, and ended in time."""

import pytest
import trio

from atalaia.engine import broadcast
from atalaia.http import stream as routes
from tests.answer import ask
from tests.events import follow
from tests.stack import NOW_MS, START_MS, Stack, make_tenant, open_stack, row

pytestmark = pytest.mark.postgres


async def test_readings_come_after_their_commit(stack: Stack) -> None:
    """As rows, of all series, new ones too; a repeat is none."""
    await stack.send([row(START_MS, 1)])
    async with follow(stack) as events:
        await stack.send([row(START_MS, 5), row(START_MS + 1000, 2), row(START_MS, 3, "h", "new")])
        data = await events.of_kind("readings")
        assert [(r["sensor"], r["metric"], r["value"]) for r in data] == [
            ("s", "t", 2.0), ("new", "h", 3.0),
        ]  # fmt: skip
        assert data[0]["ts"].endswith("Z")
        stored = await stack.sql("SELECT count(*) AS n FROM readings")
        assert stored[0]["n"] == 3


async def test_late_readings_come_and_their_repeats_do_not(stack: Stack) -> None:
    """The store alone can tell them apart: all new, some new."""
    await stack.send([row(START_MS, 1), row(START_MS + 9000, 1)])
    async with follow(stack, "?kind=readings") as events:
        await stack.send([row(START_MS + 1000, 2), row(START_MS + 2000, 3)])
        assert [r["value"] for r in await events.of_kind("readings")] == [2, 3]
        await stack.send([row(START_MS, 9), row(START_MS + 3000, 4), row(START_MS + 3000, 5)])
        assert [r["value"] for r in await events.of_kind("readings")] == [4]


async def test_a_stream_is_of_what_was_asked_for(stack: Stack) -> None:
    """By sensor, by metric, by kind."""
    await stack.rule("rule hot on sensors when t > 10")
    rows = [row(START_MS + n, 20, metric, sensor) for n, (sensor, metric) in enumerate(
        [("a", "t"), ("a", "h"), ("b", "t")]
    )]  # fmt: skip
    async with (
        follow(stack, "?kind=readings&sensor=a&metric=t") as narrow,
        follow(stack, "?kind=alerts&sensor=b") as alerts,
    ):
        await stack.send(rows)
        (only,) = await narrow.of_kind("readings")
        assert (only["sensor"], only["metric"]) == ("a", "t")
        kind, _, data = await alerts.next()
        assert (kind, data["sensor"], data["kind"]) == ("alert", "b", "opened")
    response = await stack.client.get("/v1/stream?kind=weather")
    assert (response.status_code, response.json()["code"]) == (400, "bad_parameter")


async def test_alerts_go_on_where_the_client_left(stack: Stack) -> None:
    """With Last-Event-ID none is lost and none comes twice, over a restart of the service too."""
    await stack.rule("rule hot on sensors when t > 10")
    heard = []

    async def hear(running: Stack, count: int, last: str | None) -> str | None:
        headers = {} if last is None else {"Last-Event-ID": last}
        async with follow(running, "?kind=alerts", **headers) as events:
            if last is None:
                await running.send([row(START_MS, 20)])
            for _ in range(count):
                data = await events.of_kind("alert")
                heard.append((data["kind"], data["at"]))
            return events.last_id

    last = await hear(stack, 1, None)
    for n in range(1, 6):
        await stack.send([row(START_MS + 1000 * n, 20 if n % 2 == 0 else 1)])
    last = await hear(stack, 2, last)
    async with open_stack(stack.database_url, api_key=stack.api_key) as again:
        last = await hear(again, 2, last)
        await again.send([row(START_MS + 60_000, 20)])
        await hear(again, 2, last)
    stored = await stack.sql("SELECT kind, at FROM alert_events ORDER BY arrival, ordinal")
    assert [kind for kind, _ in heard] == [step["kind"] for step in stored]
    assert len(set(heard)) == len(heard) == 7


async def test_an_id_of_somebody_elses_is_as_good_as_none(stack: Stack) -> None:
    """A browser sends what it has; nothing of it reaches the database."""
    await stack.send([row(START_MS, 1)])
    for text in ("x", "-1-2", "9" * 40 + "-1", "1-" + "9" * 40, "٣-1", "", "1"):
        async with follow(stack, **{"Last-Event-ID": text.encode().decode("latin-1")}):
            pass


async def test_silence_is_filled_with_heartbeats(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that nobody on the way takes the connection for dead."""
    monkeypatch.setattr(routes, "HEARTBEAT_S", 0.05)
    async with follow(stack) as events:
        assert (await events.next())[0] == ": still here".partition(": ")[0]


async def test_who_does_not_keep_up_is_let_go_with_a_last_event(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The buffer is bounded, and what it held is gone; the others hear everything."""
    monkeypatch.setattr(broadcast, "MOST_ROWS", 100)
    async with follow(stack) as events:
        rows = [row(START_MS + n, n) for n in range(101)]
        await stack.send(rows)
        assert await events.of_kind("dropped")
        assert (await events.next())[0] == "end"
    async with follow(stack) as events:
        await stack.send([row(START_MS + 1000, 1)])
        assert await events.of_kind("readings")


async def test_a_tenant_has_so_many_streams_and_a_closed_one_is_none(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One too many is told to wait; another tenant has its own."""
    monkeypatch.setattr(routes, "MOST_STREAMS", 1)
    async with open_stack(stack.database_url, api_key=stack.api_key) as one:
        async with follow(one):
            response = await one.client.get("/v1/stream")
            assert (response.status_code, response.json()["code"]) == (429, "too_many_streams")
            assert "retry-after" in response.headers
            key = await make_tenant(one.bridge, one.database_url, "other")
            async with follow(one, **{"X-API-Key": key}) as others:
                await one.send([row(START_MS, 1)])
                await one.client.post(
                    "/v1/readings", json=[row(NOW_MS, 7)], headers={"X-API-Key": key}
                )
                assert [r["value"] for r in await others.of_kind("readings")] == [7]
        with trio.fail_after(10):
            while True:
                async with ask(one.url, "/v1/stream", **{"X-API-Key": one.api_key}) as answer:
                    if answer.status == 200:
                        break
                await trio.sleep(0.05)
        for _ in range(3):
            assert (await one.client.head("/v1/stream")).status_code == 200


async def test_a_stream_ends_with_its_key(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is revoked hears no more, whatever goes on."""
    monkeypatch.setattr(routes, "CHECK_S", 0.05)
    monkeypatch.setattr(routes, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr("atalaia.http.auth.KEEP_S", 0.05)
    async with follow(stack) as events:
        await stack.send([row(START_MS, 1)])
        assert await events.of_kind("readings")
        await stack.sql("UPDATE api_keys SET revoked_at = now()")
        assert await events.of_kind("unauthenticated")
        assert (await events.next())[0] == "end"


async def test_a_stream_ends_when_the_service_shuts_down(stack: Stack) -> None:
    """With an event that says so, and without keeping the service for its grace."""
    heard: list[str] = []
    with trio.fail_after(8):
        async with (
            trio.open_nursery() as nursery,
            open_stack(stack.database_url, api_key=stack.api_key) as again,
        ):
            started = trio.Event()

            async def listen() -> None:
                async with follow(again) as events:
                    started.set()
                    while (kind := (await events.next())[0]) != "end":
                        heard.append(kind)

            nursery.start_soon(listen)
            await started.wait()
    assert heard == ["closing"]
