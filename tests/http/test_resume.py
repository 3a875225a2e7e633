"""Readings of a stream over the times when nobody listens: once, in order, or named as left out."""

import pytest
import trio
from trio.testing import MockClock

from atalaia.engine.clock import SystemClock
from atalaia.engine.limits import EngineLimits
from atalaia.http import stream as routes
from atalaia.http import streamed_readings as streamed
from atalaia.http.missed import REST, LookingBack
from atalaia.model.ids import TenantNo
from atalaia.storage import arrivals
from tests.events import Events, follow
from tests.stack import START_MS, Stack, make_tenant, open_stack, row

pytestmark = pytest.mark.postgres

NOBODY = "?kind=readings&sensor=nobody"


async def now_id(stack: Stack, query: str = "") -> str:
    """The id of who has seen everything so far."""
    async with follow(stack, query) as events:
        assert events.last_id
        return events.last_id


async def values(events: Events, count: int) -> list[float]:
    """The next readings, exactly so many."""
    found: list[float] = []
    while len(found) < count:
        found += [one["value"] for one in await events.of_kind("readings")]
    assert len(found) == count, found
    return found


async def send(stack: Stack, *numbers: int, sensor: str = "s", metric: str = "t") -> None:
    """One commit; the time of each is its number, in seconds."""
    rows = [row(START_MS + 1000 * n, n, metric, sensor) for n in numbers]
    response = await stack.send(rows)
    assert response.json()["accepted"] == len(rows)


async def test_what_came_while_the_client_was_away_comes_first(stack: Stack) -> None:
    """Once, in order, with an id after each commit; then what is committed from then on."""
    await send(stack, 1)
    async with follow(stack, "?kind=readings") as events:
        await send(stack, 2)
        assert await values(events, 1) == [2]
    for n in range(3, 9):
        await send(stack, n, n + 100, sensor="ab"[n % 2])
    async with follow(stack, "?kind=readings", **{"Last-Event-ID": events.last_id or ""}) as again:
        assert await values(again, 12) == [x for n in range(3, 9) for x in (n, n + 100)]
        await send(stack, 300)
        assert await values(again, 1) == [300]
    async with follow(stack, "?kind=readings", **{"Last-Event-ID": again.last_id or ""}) as third:
        await send(stack, 301)
        assert await values(third, 1) == [301]


async def test_readings_go_on_over_a_restart(stack: Stack) -> None:
    """What the service knew of its followers is gone; the notes of the commits are not."""
    last = await now_id(stack)
    await send(stack, 1, 2)
    async with open_stack(stack.database_url, api_key=stack.api_key) as again:
        await send(again, 3)
        async with follow(again, **{"Last-Event-ID": last}) as events:
            assert await values(events, 3) == [1, 2, 3]
            await send(again, 4)
            assert await values(events, 1) == [4]


async def test_one_who_comes_and_goes_misses_nothing(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While somebody sends all the time: each reading once, in order, however often it connects."""
    monkeypatch.setattr("atalaia.http.missed.REST", 0)
    count, heard, last = 120, list[float](), await now_id(stack)

    async def sender() -> None:
        for n in range(count):
            await send(stack, n)

    connections = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sender)
        while len(heard) < count:
            connections += 1
            async with follow(stack, "?kind=readings", **{"Last-Event-ID": last}) as events:
                for _ in range(min(3, count - len(heard))):
                    if len(heard) < count:
                        data = await events.of_kind("readings")
                        heard += [one["value"] for one in data]
                assert events.last_id
                last = events.last_id
    assert heard == list(range(count))
    assert connections > 3


async def test_two_clients_go_on_where_each_was(stack: Stack) -> None:
    """At the same time, from different places, and with different wants."""
    first = await now_id(stack)
    await send(stack, 1, sensor="a")
    await send(stack, 2, sensor="b")
    second = await now_id(stack)
    await send(stack, 3, sensor="a")
    async with (
        follow(stack, "?kind=readings", **{"Last-Event-ID": first}) as one,
        follow(stack, "?kind=readings&sensor=a", **{"Last-Event-ID": second}) as other,
    ):
        assert await values(one, 3) == [1, 2, 3]
        assert await values(other, 1) == [3]


async def test_what_is_sent_again_is_what_was_asked_for(stack: Stack) -> None:
    """By sensor, by metric, by kind; and where nothing of it came, the id goes on all the same."""
    last = await now_id(stack)
    for n, (sensor, metric) in enumerate([("a", "t"), ("a", "h"), ("b", "t"), ("a", "t")]):
        await send(stack, n, sensor=sensor, metric=metric)
    async with follow(
        stack, "?kind=readings&sensor=a&metric=t", **{"Last-Event-ID": last}
    ) as events:
        assert await values(events, 2) == [0, 3]
    async with follow(stack, "?kind=alerts", **{"Last-Event-ID": last}) as alerts:
        await send(stack, 9)
        assert alerts.last_id == last  # readings were not sent, and are not taken for seen
    async with follow(stack, "?kind=readings", **{"Last-Event-ID": last}) as events:
        assert await values(events, 5) == [0, 1, 2, 3, 9]


async def test_who_wants_little_is_not_far_behind(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Heartbeats come while others' readings do, and say how far it all went."""
    monkeypatch.setattr(routes, "HEARTBEAT_S", 0.05)
    async with follow(stack, NOBODY) as events:
        before = events.last_id
        await send(stack, 1)
        with trio.fail_after(10):
            while events.last_id == before:
                await events.next()
    assert (events.last_id or "").split("-")[2] == (await now_id(stack)).split("-")[2]


async def test_late_readings_are_sent_again_and_repeats_are_not(stack: Stack) -> None:
    """Whatever their own times are: of a year ago, of the same second, new and old in one batch."""
    await send(stack, 100)
    last = await now_id(stack)
    await send(stack, 50)
    await stack.send([row(START_MS + 50_000, 1), row(START_MS - 30 * 86_400_000, 2)])
    await stack.send([row(START_MS + 100_000, 3), row(START_MS + 101_000, 4)])
    await stack.send([row(START_MS + 51_000, 5), row(START_MS + 102_000, 6)])
    await stack.send([row(START_MS + 51_000, 7)])  # nothing new
    stored = await stack.sql("SELECT value FROM readings ORDER BY received_at, ts")
    async with follow(stack, "?kind=readings", **{"Last-Event-ID": last}) as events:
        found = await values(events, 5)
        assert found == [50, 2, 4, 5, 6]
        assert found == [one["value"] for one in stored][1:]
        await send(stack, 200)
        assert await values(events, 1) == [200]


async def test_readings_out_of_order_within_a_lateness_are_sent_again(stack: Stack) -> None:
    """They are not late, and yet older than what came before."""
    response = await stack.client.patch("/v1/settings", json={"lateness": "10m"})
    assert response.status_code == 200, response.text
    await send(stack, 100)
    last = await now_id(stack)
    await send(stack, 60, 120)
    await send(stack, 110, 90)
    async with follow(stack, "?kind=readings", **{"Last-Event-ID": last}) as events:
        assert await values(events, 4) == [60, 120, 90, 110]


async def left_out(events: Events) -> tuple[str, str, str]:
    """The event that says so, which comes before any reading."""
    kind, event_id, data = await events.next()
    assert kind == "gap"
    assert event_id
    return data["from"], data["to"], data["query"]


async def stored_at(stack: Stack, value: float) -> str:
    """When the reading of this value arrived."""
    rows = await stack.sql(
        "SELECT to_char(received_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') AS at"
        " FROM readings WHERE value = $1",
        value,
    )
    return str(rows[0]["at"])


async def test_beyond_a_bound_it_is_said_what_is_left_out(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole commits: the newest are sent, the others named, and the id goes on from there."""
    monkeypatch.setattr(streamed, "MOST_ROWS", 4)
    await send(stack, 1)
    last = await now_id(stack)
    for n in (10, 20, 30):
        await stack.send([row(START_MS + 1000 * (n + i), n + i, sensor="a") for i in range(2)])
    query = "?kind=readings&sensor=a"
    async with follow(stack, query, **{"Last-Event-ID": last}) as events:
        begin, end, asked = await left_out(events)
        assert (begin, end) == (await stored_at(stack, 1), await stored_at(stack, 11))
        after_gap = events.last_id or ""
        assert await values(events, 4) == [20, 21, 30, 31]
    response = await stack.client.get(asked)
    assert response.status_code == 200, response.text
    assert "sensor=a" in asked
    async with follow(stack, query, **{"Last-Event-ID": after_gap}) as events:
        assert await values(events, 4) == [20, 21, 30, 31]
    await send(stack, 1000, 1001, 1002, 1003, 1004, sensor="a")
    async with follow(stack, query, **{"Last-Event-ID": events.last_id or ""}) as events:
        assert (await left_out(events))[1] == await stored_at(stack, 1004)
        await send(stack, 2000, sensor="a")
        assert await values(events, 1) == [2000]


async def test_the_query_of_a_gap_has_what_was_left_out(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When it came at its own time, as readings mostly do."""
    monkeypatch.setattr(streamed, "MOST_ROWS", 1)
    await stack.send([row(SystemClock().now_us() // 1000, 1)])
    last = await now_id(stack)
    for value in (2, 3, 4):
        await trio.sleep(0.01)
        await stack.send([row(SystemClock().now_us() // 1000, value)])
    async with follow(stack, "?kind=readings&metric=t", **{"Last-Event-ID": last}) as events:
        _, _, query = await left_out(events)
        assert await values(events, 1) == [4]
    lines = (await stack.client.get(query)).text.splitlines()
    assert [float(line.split(",")[3]) for line in lines[1:]] == [2, 3]


async def test_who_was_away_for_too_long_is_told_so(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only where something came that is left out, and nothing is forgotten without a trace."""
    monkeypatch.setattr(arrivals, "BACK_US", 1)
    monkeypatch.setattr(arrivals, "KEPT_US", 1)
    async with open_stack(
        stack.database_url, api_key=stack.api_key, limits=EngineLimits(snapshot_every=0)
    ) as one:
        empty = await now_id(one)
        await send(one, 1)
        async with follow(one, "?kind=readings", **{"Last-Event-ID": empty}) as events:
            assert await values(events, 1) == [1]
        for n in range(2, 6):
            await send(one, n)
        assert len(await one.sql("SELECT FROM arrivals")) == 2
        async with follow(
            one, "?kind=readings", **{"Last-Event-ID": events.last_id or ""}
        ) as events:
            begin, end, _ = await left_out(events)
            assert (begin, end) == (await stored_at(one, 1), await stored_at(one, 4))
            assert await values(events, 1) == [5]


async def test_what_came_before_the_notes_did_is_left_out(stack: Stack) -> None:
    """As after an update of the service: the last state of each tenant is where they begin."""
    last = await now_id(stack)
    await send(stack, 1)
    await send(stack, 2)
    await stack.sql(
        "UPDATE arrivals SET series = NULL"
        " WHERE received_at = (SELECT max(received_at) FROM arrivals)"
    )
    await send(stack, 3)
    async with follow(stack, "?kind=readings", **{"Last-Event-ID": last}) as events:
        assert (await left_out(events))[1] == await stored_at(stack, 2)
        assert await values(events, 1) == [3]


async def test_a_commit_that_breaks_off_comes_again_whole(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Live and sent again: an id says that everything up to it was sent."""
    monkeypatch.setattr(streamed, "EVENT_ROWS", 2)
    await send(stack, 0)
    async with follow(stack, "?kind=readings") as events:
        await send(stack, 1, 2, 3)
        assert await values(events, 2) == [1, 2]
        last = events.last_id or ""
    await send(stack, 4, 5)
    for _ in range(2):
        async with follow(stack, "?kind=readings", **{"Last-Event-ID": last}) as events:
            assert await values(events, 2) == [1, 2]
            last = events.last_id or ""
    async with follow(stack, "?kind=readings", **{"Last-Event-ID": last}) as events:
        assert await values(events, 4) == [1, 2, 3, 4]
        last = events.last_id or ""
    async with follow(stack, "?kind=readings", **{"Last-Event-ID": last}) as events:
        assert await values(events, 2) == [4, 5]


async def test_an_id_opens_nothing(stack: Stack) -> None:
    """Another tenant's is a time like any other; one of the future is as good as none."""
    key = await make_tenant(stack.bridge, stack.database_url, "other")
    theirs = {"X-API-Key": key}
    await stack.client.post("/v1/readings", json=[row(START_MS, 7)], headers=theirs)
    await send(stack, 1)
    mine = await now_id(stack)
    await send(stack, 2)
    await stack.client.post("/v1/readings", json=[row(START_MS + 1, 8)], headers=theirs)
    for forged in (mine, "0-0-0"):
        async with follow(stack, "?kind=readings", **theirs, **{"Last-Event-ID": forged}) as others:
            expected = [8] if forged == mine else [7, 8]
            assert await values(others, len(expected)) == expected
    for text in ("9" * 16 + "-0-" + "9" * 16, "1-0-" + "9" * 16, "1-2-3-4", "1-2-x", "1-2-"):
        async with follow(stack, "?kind=readings", **{"Last-Event-ID": text}) as events:
            await send(stack, int(START_MS % 1000) + len(text) * 10, sensor=f"s{text}")
            assert len(await values(events, 1)) == 1


async def test_a_commit_that_nobody_was_told_of_comes_with_the_next(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its outcome was unknown when it was given up, and it stands."""
    broadcast = stack.gate.broadcast
    tell = type(broadcast).tell
    await send(stack, 1)
    async with follow(stack, "?kind=readings") as events:
        with monkeypatch.context() as patched:
            patched.setattr(type(broadcast), "tell", lambda self, items, late: self.lose(items))
            await send(stack, 2)
        assert type(broadcast).tell is tell
        await send(stack, 3)
        assert await values(events, 2) == [2, 3]
        await send(stack, 4)
        assert await values(events, 1) == [4]


async def test_what_takes_too_long_is_left_out(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream goes on; it would be as slow each time that the client comes back."""
    last = await now_id(stack)
    await send(stack, 1)
    monkeypatch.setattr(arrivals, "_BY_KEY", "SELECT pg_sleep(6)")
    async with follow(stack, "?kind=readings", **{"Last-Event-ID": last}) as events:
        kind, _, data = await events.next()
        assert (kind, data["to"]) == ("gap", await stored_at(stack, 1))
        await send(stack, 2)
        assert await values(events, 1) == [2]


async def test_a_tenant_looks_back_in_turns(autojump_clock: MockClock) -> None:
    """One stream at a time, and three times as long not at all; others do not wait for it."""
    looking_back = LookingBack()
    with looking_back.one(TenantNo(1)):
        assert looking_back.wait_s(TenantNo(1)) == float("inf")
        assert looking_back.wait_s(TenantNo(2)) == 0
        await trio.sleep(2)
    assert looking_back.wait_s(TenantNo(1)) == pytest.approx(2 * REST)
    await trio.sleep(2 * REST)
    assert looking_back.wait_s(TenantNo(1)) == 0
    with looking_back.one(TenantNo(2)):
        pass
    assert TenantNo(1) not in looking_back._free_at


async def test_alerts_do_not_wait_for_a_look_back(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readings do, and come in their order then."""
    await stack.rule("rule hot on sensors when t > 10")
    last = await now_id(stack)
    await send(stack, 1)
    with monkeypatch.context() as patched:
        patched.setattr(LookingBack, "wait_s", lambda self, tenant_no: float("inf"))
        async with follow(stack, **{"Last-Event-ID": last}) as events:
            await send(stack, 20)
            kind, _, data = await events.next()
            assert (kind, data["kind"]) == ("alert", "opened")
            patched.undo()
            assert await values(events, 2) == [1, 20]


async def test_one_that_waits_to_look_back_ends_with_the_service(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is not taken for dead meanwhile."""
    monkeypatch.setattr(routes, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr(LookingBack, "wait_s", lambda self, tenant_no: float("inf"))
    last = await now_id(stack)
    await send(stack, 1)
    heard: list[str] = []
    with trio.fail_after(8):
        async with (
            trio.open_nursery() as nursery,
            open_stack(stack.database_url, api_key=stack.api_key) as again,
        ):
            started = trio.Event()

            async def listen() -> None:
                async with follow(again, "?kind=readings", **{"Last-Event-ID": last}) as events:
                    while (kind := (await events.next())[0]) != "end":
                        heard.append(kind)
                        started.set()

            nursery.start_soon(listen)
            await started.wait()
    assert heard[0] == ""
    assert heard[-1] == "closing"
    assert set(heard) == {"", "closing"}
