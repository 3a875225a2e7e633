"""What the engine does not take now, for its tenant's sake, after a 202: tried again, and not a
dead letter before an hour has passed."""

import json
from datetime import UTC, datetime

import attrs
import pytest
import trio

from atalaia.amqp.messages import LINE_PROTOCOL, Message
from atalaia.amqp.topology import DEAD
from atalaia.engine.limits import EngineLimits
from atalaia.engine.messages import Submission
from atalaia.engine.tenant import TenantActor
from tests.amqp.stack import QUICK, Road, plain, until
from tests.broker import Node
from tests.stack import NOW_MS, START_MS, make_tenant, open_stack, row

pytestmark = [pytest.mark.postgres, pytest.mark.rabbit]

PATIENT = attrs.evolve(QUICK, not_now_first_s=0.1, not_now_last_s=1.0)


def times(count: int) -> list[int]:
    """In ms, of so many months, of long ago."""
    at = [datetime(2020 + n // 12, n % 12 + 1, 3, tzinfo=UTC) for n in range(count)]
    return [int(t.timestamp() * 1000) for t in at]


def months(count: int, *more: object) -> bytes:
    """A reading of each of so many months."""
    return json.dumps([*(row(ts, n) for n, ts in enumerate(times(count))), *more]).encode()


async def test_rows_that_need_more_new_months_than_may_be_opened_are_stored_later(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In part at once, the rest as they may be; what comes meanwhile is stored, too."""
    monkeypatch.setattr("atalaia.storage.partitions.MAX_NEW_PER_BATCH", 2)
    tenant = await road.tenant_id()
    await road.publish(plain(tenant, months(5)))
    async with road.consumer(PATIENT):
        await road.publish(plain(tenant, json.dumps(row(START_MS, 1)).encode()))
        await road.holds(6)
    assert await road.letters() == []
    assert await road.waiting() == 0


async def test_patience_ends(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a letter of the rows that were left."""
    monkeypatch.setattr("atalaia.storage.partitions.MAX_NEW_PER_BATCH", 2)
    await road.publish(plain(await road.tenant_id(), months(5)))
    async with road.consumer(attrs.evolve(PATIENT, not_now_s=0.0)):
        await road.holds(2)

        async def buried() -> bool:
            return len(await road.letters()) == 1

        await until(buried)
    (letter,) = await road.letters()
    assert letter.reason == "retry_later"
    assert sum(len(column["ts"]) for column in json.loads(letter.message.body)) == 3


async def test_a_line_that_is_refused_for_now_is_stored_later_though_a_field_of_it_is_bad(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sent it was told of that field alone."""
    monkeypatch.setattr("atalaia.storage.partitions.MAX_NEW_PER_BATCH", 2)
    lines = "\n".join(f"m,sensor=s good=1,b\u00e4d=2 {ts}" for ts in times(5))
    headers = {"x-atalaia-paid": True, "x-atalaia-precision": "ms"}
    tenant = await road.tenant_id()
    await road.publish(Message(tenant, lines.encode(), LINE_PROTOCOL, "identity", headers))
    async with road.consumer(PATIENT):
        await road.holds(5)
    assert await road.letters() == []
    assert await road.waiting() == 0


async def test_what_is_refused_for_good_is_a_letter_before_the_rest_is_acknowledged(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While no letter is taken the message stays, though its other rows were stored later."""
    monkeypatch.setattr("atalaia.storage.partitions.MAX_NEW_PER_BATCH", 2)
    vhost = road.amqp_url.rsplit("/", 1)[1]
    path = f"/api/queues/{vhost}/{DEAD}"
    await trio.to_thread.run_sync(road.broker.api, "DELETE", path)
    future = row(NOW_MS + 10**9, 9)
    await road.publish(plain(await road.tenant_id(), months(5, future)))
    with trio.CancelScope() as killed:
        async with road.consumer(PATIENT):
            await road.holds(5)
            killed.cancel()
    await road.until_waiting(1)
    await road.setup()
    async with road.consumer(PATIENT):

        async def buried() -> bool:
            return len(await road.letters()) == 1

        await until(buried)
    (letter,) = await road.letters()
    assert letter.reason == "future_timestamp"
    assert await road.waiting() == 0


async def test_a_tenant_in_quarantine_waits_in_a_queue_of_its_own(
    database_url: str, amqp_url: str, broker: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others of its shard are stored meanwhile, and its own when it is over: all, in order."""
    limits = EngineLimits(crashes=1, quarantine_s=6)
    async with open_stack(database_url, limits=limits) as stack:
        road = Road(stack, amqp_url, broker)
        await road.setup()
        admit, crashed = TenantActor._admit, list[object]()

        async def crashing(actor: TenantActor, state: object, submission: Submission) -> None:
            if 666.0 in submission.batch.value.tolist() and not crashed:
                crashed.append(submission)
                raise ArithmeticError("a fault of ours")
            await admit(actor, state, submission)  # type: ignore[arg-type]

        monkeypatch.setattr(TenantActor, "_admit", crashing)
        good = await road.tenant_id()
        bad = await road.tenant_id(await make_tenant(stack.bridge, database_url, "bad"))
        async with road.consumer(attrs.evolve(PATIENT, in_hand_s=0.5)):
            await road.publish(
                *(plain(bad, json.dumps(row(START_MS + n, 666)).encode()) for n in range(40)),
                *(plain(good, json.dumps(row(START_MS + n, 1)).encode()) for n in range(5)),
            )
            await road.holds(45)
        assert crashed
        assert await road.letters() == []
        assert await road.waiting() == 0
        (late,) = await stack.sql("SELECT count(*) AS n FROM readings WHERE late")
        assert late["n"] == 0
