"""What can never be stored: kept, with why, and never in the way of anything else."""

import json

import attrs
import pytest
import trio

from atalaia.amqp.dead_letters import Selection, drop_aio
from atalaia.amqp.limits import AmqpLimits
from atalaia.amqp.messages import LINE_PROTOCOL, Message
from atalaia.amqp.topology import DEAD, MIB, Topology
from atalaia.engine.limits import EngineLimits
from atalaia.engine.messages import Submission
from atalaia.engine.tenant import TenantActor
from atalaia.telemetry.metrics import REGISTRY
from tests.amqp.stack import QUICK, Road, plain, until
from tests.broker import Node
from tests.stack import NOW_MS, START_MS, make_tenant, open_stack, row

pytestmark = [pytest.mark.postgres, pytest.mark.rabbit]
DROPPED = "atalaia_dead_letters_dropped_total"
NOBODY = "01990000-0000-7000-8000-00000000dead"


def body(*rows: object) -> bytes:
    return json.dumps(rows).encode()


async def test_what_was_sent_is_stored_rejected_or_a_dead_letter(road: Road) -> None:
    """The account is exact: per row, whatever is wrong with its message or with itself."""
    tenant = await road.tenant_id()
    future = row(NOW_MS + 10**9, 9)
    await road.publish(
        plain(tenant, body(row(START_MS, 1), row(START_MS + 1, 2))),  # 2 stored
        plain(tenant, b"{nonsense"),  # a letter
        plain(NOBODY, body(row(START_MS, 1))),  # a letter
        plain("no tenant at all", body(row(START_MS, 1))),  # a letter
        plain(tenant, body(row(START_MS, "x"))),  # a letter
        plain(tenant, body(row(START_MS + 2, 3), row(START_MS + 3, "x"))),  # 1 stored, 1 rejected
        plain(tenant, body(row(START_MS + 4, 5), future)),  # 1 stored, 1 in a letter
        plain(tenant, body(future)),  # a letter
        plain(tenant, body(row(START_MS, 1)), **{"x-atalaia-precision": "years"}),  # a letter
        plain(tenant, body(row(START_MS + 5, 6))),  # 1 stored
    )
    async with road.consumer():
        await road.holds(5)
        await road.until_waiting(0)

        async def buried() -> bool:
            return len(await road.letters()) >= 7

        await until(buried)
    assert await road.waiting() == 0
    letters = await road.letters()
    assert sorted((letter.reason, letter.stage, letter.exc_class) for letter in letters) == [
        ("bad_json", "parse", "Invalid"),
        ("bad_parameter", "parse", "Invalid"),
        ("bad_routing_key", "parse", "Invalid"),
        ("bad_value", "parse", "Reject"),
        ("future_timestamp", "validate", "Reject"),
        ("future_timestamp", "validate", "Reject"),
        ("unknown_tenant", "parse", "Invalid"),
    ]
    for letter in letters:
        assert letter.first_seen.endswith("Z")
        assert letter.attempts == 1
        assert letter.detail
    kept = [json.loads(letter.message.body) for letter in letters if letter.stage == "validate"]
    expected = [{"sensor": "s", "metric": "t", "ts": [future["ts"] * 1000], "value": [9.0]}]
    assert kept == [expected, expected]


async def test_poison_takes_nothing_with_it(road: Road) -> None:
    """Good messages before, between and behind it are stored, in order."""
    tenant = await road.tenant_id()
    messages = [
        plain(tenant, b"{" if n % 5 == 2 else body(row(START_MS + n, n))) for n in range(20)
    ]
    await road.publish(*messages)
    async with road.consumer():
        await road.holds(16)
    assert (await road.stack.sql("SELECT count(*) AS n FROM readings WHERE late"))[0]["n"] == 0
    assert len(await road.letters()) == 4
    assert await road.waiting() == 0


async def test_a_line_that_the_engine_refuses_is_a_letter_though_a_field_of_it_is_bad(
    road: Road,
) -> None:
    """The face has told of that field, and answered 202 for the others."""
    await road.stack.sql("UPDATE tenants SET max_series = 1")
    tenant = await road.tenant_id()
    line = f"m,sensor=s good=2,b\u00e4d=2 {START_MS}".encode()
    headers = {"x-atalaia-paid": True, "x-atalaia-precision": "ms"}
    await road.publish(
        plain(tenant, body(row(START_MS, 1))),
        Message(tenant, line, LINE_PROTOCOL, "identity", headers),
    )
    async with road.consumer():

        async def buried() -> bool:
            return len(await road.letters()) == 1

        await until(buried)
        await road.holds(1)
    (letter,) = await road.letters()
    assert (letter.reason, letter.message.body) == ("too_many_series", line)


async def test_a_flood_of_poison_stops_the_consumer_loudly(road: Road) -> None:
    """Of messages that no single tenant can be blamed for; good ones wait in their queues."""
    limits = AmqpLimits(poison_per_minute=5, poison_per_tenant=2)
    await road.publish(*(plain("nobody", b"{}") for _ in range(30)))
    async with road.consumer(limits) as consumer:

        async def stopped() -> bool:
            return consumer.check() == "stopped"

        await until(stopped)
        await road.publish(plain(await road.tenant_id(), body(row(START_MS, 1))))
        await trio.sleep(0.3)
        assert await road.stored() == 0
    letters = len(await road.letters())
    assert 6 <= letters <= 7
    assert letters + await road.waiting() == 31
    async with road.consumer():
        await road.holds(1)


async def test_one_tenants_poison_does_not_stop_the_others(road: Road) -> None:
    """However much of it there is."""
    other = await make_tenant(road.stack.bridge, road.stack.database_url, "other")
    limits = AmqpLimits(poison_per_minute=5, poison_per_tenant=2)
    noisy = await road.tenant_id()
    await road.publish(*(plain(noisy, b"{") for _ in range(30)))
    async with road.consumer(limits) as consumer:
        await road.publish(plain(await road.tenant_id(other), body(row(START_MS, 1))))
        await road.holds(1)
        await road.until_waiting(0)
        assert consumer.check() == "ok"


async def test_clocks_that_are_wrong_stop_nobody(road: Road) -> None:
    """Of many tenants' devices: the readings of the others are stored, beside the letters."""
    tenants = [
        await road.tenant_id(await make_tenant(road.stack.bridge, road.stack.database_url, f"t{n}"))
        for n in range(4)
    ]
    limits = AmqpLimits(poison_per_minute=5, poison_per_tenant=2)
    future = body(row(NOW_MS + 10**9, 9))
    await road.publish(*(plain(tenant, future) for tenant in tenants for _ in range(5)))
    async with road.consumer(limits) as consumer:
        await road.publish(plain(await road.tenant_id(), body(row(START_MS, 1))))
        await road.holds(1)

        async def buried() -> bool:
            return len(await road.letters()) == 20

        await until(buried)
        assert consumer.check() == "ok"


async def test_a_stop_ends_by_itself(road: Road) -> None:
    """After a while it is tried again: what is good by then is stored, without anybody's doing."""
    limits = AmqpLimits(poison_per_minute=5, poison_per_tenant=2, poison_pause_s=3.0)
    await road.publish(*(plain("nobody", b"{}") for _ in range(8)))
    async with road.consumer(limits) as consumer:

        async def stopped() -> bool:
            return consumer.check() == "stopped"

        await until(stopped)
        await road.publish(plain(await road.tenant_id(), body(row(START_MS, 1))))
        await road.holds(1)
        assert consumer.check() == "ok"


async def test_a_tenants_share_of_the_letters_bounds_what_is_kept(road: Road) -> None:
    """Of one that sends nothing but garbage; another's letter is kept."""
    limits = attrs.evolve(QUICK, letters_per_hour=3)
    key = await make_tenant(road.stack.bridge, road.stack.database_url, "other")
    noisy, other = await road.tenant_id(), await road.tenant_id(key)
    before = REGISTRY.get_sample_value(DROPPED, {"stage": "parse"}) or 0
    async with road.consumer(limits) as consumer:
        await road.publish(*(plain(noisy, b"{") for _ in range(10)), plain(other, b"{"))

        async def buried() -> bool:
            return len(await road.letters()) == 4

        await until(buried)
        await road.until_waiting(0)
        assert consumer.check() == "ok"
    assert await road.waiting() == 0
    assert REGISTRY.get_sample_value(DROPPED, {"stage": "parse"}) == before + 7


async def test_a_full_queue_of_letters_stops_nobody_and_is_said(road: Road) -> None:
    """Garbage beyond what is kept of it is dropped; good messages of the same shard are stored;
    readiness says what to do, and what was kept is a letter when there is room again."""
    with road.broker.vhost() as url:
        narrow = Road(road.stack, url, road.broker)
        await narrow.setup(Topology(shards=1, shard_bytes=8 * MIB, dead_bytes=40_000))
        key = await make_tenant(road.stack.bridge, road.stack.database_url, "other")
        noisy, other = await road.tenant_id(), await road.tenant_id(key)
        before = REGISTRY.get_sample_value(DROPPED, {"stage": "parse"}) or 0
        async with narrow.consumer() as consumer:
            junk = b"{" + b"x" * 4_000
            await narrow.publish(*(plain(noisy, junk) for _ in range(60)))
            await narrow.publish(*(plain(other, body(row(START_MS + n, n))) for n in range(30)))
            await narrow.holds(30)
            assert consumer.check().startswith("dead_letters_full: atalaia dlq")
            taken = await narrow.stack.bridge.call(drop_aio, url, Selection())

            async def accounted() -> bool:
                gone = (REGISTRY.get_sample_value(DROPPED, {"stage": "parse"}) or 0) - before
                there = taken + len(await narrow.letters())
                return there + gone == 60 and gone > 0 and consumer.check() == "ok"

            await until(accounted)
        assert await narrow.waiting() == 0


async def test_without_a_queue_for_dead_letters_poison_is_held(road: Road) -> None:
    """It is never acknowledged before its letter is confirmed."""
    vhost = road.amqp_url.rsplit("/", 1)[1]
    path = f"/api/queues/{vhost}/{DEAD}"
    await trio.to_thread.run_sync(road.broker.api, "DELETE", path)
    await road.publish(plain(await road.tenant_id(), b"{"))
    with trio.CancelScope() as killed:
        async with road.consumer(QUICK) as consumer:

            async def said() -> bool:
                return consumer.check() == "dead_letters_missing: run atalaia broker setup"

            await until(said)
            assert await road.waiting() == 0
            killed.cancel()
    await road.until_waiting(1)
    await road.setup()
    async with road.consumer():

        async def buried() -> bool:
            return len(await road.letters()) == 1

        await until(buried)


async def test_a_batch_that_the_database_refuses_is_a_dead_letter_too(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the store's reason; those behind it, judged on top of it, are stored all the same."""
    from atalaia.ports import CommitItem, StoreRefused

    commit = type(road.stack.store).commit_group

    async def refusing(store: object, group: object, items: list[CommitItem]) -> list[int]:
        if any(666.0 in item.fresh_value.tolist() for item in items):
            raise StoreRefused("22P05 no such character")
        return await commit(store, group, items)  # type: ignore[arg-type]

    monkeypatch.setattr(type(road.stack.store), "commit_group", refusing)
    tenant = await road.tenant_id()
    values = [1, 2, 666, 3, 4]
    await road.publish(
        *(plain(tenant, body(row(START_MS + n, value))) for n, value in enumerate(values))
    )
    async with road.consumer():
        await road.holds(4)
    (letter,) = await road.letters()
    assert (letter.reason, letter.stage) == ("dead_lettered", "store")
    assert (await road.stack.sql("SELECT count(*) AS n FROM readings WHERE late"))[0]["n"] == 0


async def test_a_tenant_that_crashes_us_goes_to_the_letters_and_leaves_the_others_be(
    database_url: str, amqp_url: str, broker: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one queue with it; its messages can be sent again when it is mended."""
    limits = EngineLimits(crashes=2, quarantine_s=60)
    async with open_stack(database_url, limits=limits) as stack:
        road = Road(stack, amqp_url, broker)
        await road.setup(Topology(shards=1, shard_bytes=8 * MIB, dead_bytes=8 * MIB))
        admit = TenantActor._admit

        async def crashing(actor: TenantActor, state: object, submission: Submission) -> None:
            if 666.0 in submission.batch.value.tolist():
                raise ArithmeticError("a fault of ours")
            await admit(actor, state, submission)  # type: ignore[arg-type]

        monkeypatch.setattr(TenantActor, "_admit", crashing)
        good = await road.tenant_id()
        bad = await road.tenant_id(await make_tenant(stack.bridge, database_url, "bad"))
        await road.publish(
            plain(good, body(row(START_MS, 1))),
            plain(bad, body(row(START_MS, 666))),
            plain(good, body(row(START_MS + 1, 2))),
        )
        async with road.consumer(attrs.evolve(QUICK, not_now_s=0.0)):  # when patience has ended
            await road.holds(2)

            async def buried() -> bool:
                return len(await road.letters()) == 1

            await until(buried)
            await road.publish(plain(good, body(row(START_MS + 2, 3))))
            await road.holds(3)
        (letter,) = await road.letters()
        assert (letter.reason, letter.stage, letter.tenant) == ("quarantined", "evaluate", bad)
        assert letter.attempts > 1
