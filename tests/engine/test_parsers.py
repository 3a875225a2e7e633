"""Bodies that take long to read are read beside the event loop, each tenant's in its turn."""

import json
import threading
from collections.abc import Callable
from functools import partial

import pytest
import trio
import trio.testing

from atalaia.engine.edits import NoEngine
from atalaia.engine.ingest import Body, parse_beside, parse_body
from atalaia.engine.parsers import Parsers
from atalaia.engine.quota import Quotas
from atalaia.model.batch import Batch
from atalaia.model.ids import TenantNo
from atalaia.model.quota import NO_QUOTA
from atalaia.wire.options import WireOptions

ONE, TWO = TenantNo(1), TenantNo(2)
MAX_BYTES = 1 << 21

MS = 978_307_200_000  # 2001
GOOD = [{"sensor": "s", "metric": "t", "ts": MS + n, "value": n} for n in range(500)]
LINES = "\n".join(f"m,sensor=s t={n},b=true {MS + n}" for n in range(1_000))
LONG = {
    "json": (json.dumps([*GOOD, {"sensor": "bad one"}]), WireOptions()),
    "ndjson": (
        "\n".join(json.dumps(row) for row in [*GOOD, {}]),
        WireOptions(format="ndjson"),
    ),
    "line": (LINES.replace("m,", "m\\ ,"), WireOptions(format="line", sensor_tag="sensor")),
    "names": (
        "\n".join(f"m,sensor=s{n},place=somewhere t=1 {MS + n}" for n in range(5_000)),
        WireOptions(format="line", sensor_tag="sensor"),
    ),
    "large": (json.dumps([*GOOD, *[GOOD[0]] * 20_000]), WireOptions()),
    "thingsboard": (
        json.dumps([{"ts": MS + n, "values": {"t": n}} for n in range(500)]),
        WireOptions(format="thingsboard", sensor="s"),
    ),
}
NO_ROWS = parse_body(Body(b"[1]", "identity", WireOptions()), max_bytes=MAX_BYTES)
QUICK = {
    "json": (json.dumps(GOOD), WireOptions()),
    "line": (LINES, WireOptions(format="line", sensor_tag="sensor")),
    "short": (json.dumps([*GOOD[:50], {}]), WireOptions()),
}


async def taken_where(
    monkeypatch: pytest.MonkeyPatch, text: str, options: WireOptions
) -> tuple[Batch, set[int]]:
    """The batch, and the threads in which it was parsed to its end."""
    threads = set()

    async def run(parsers: Parsers, tenant_no: TenantNo, parse: Callable[[], Batch]) -> Batch:
        def noted() -> Batch:
            threads.add(threading.get_ident())
            return parse()

        return await original(parsers, tenant_no, noted)

    original = Parsers.run
    monkeypatch.setattr(Parsers, "run", run)
    gate = NoEngine(None, Quotas(NO_QUOTA))
    body = Body(text.encode(), "identity", options)
    return await parse_beside(gate, ONE, body, MAX_BYTES), threads


@pytest.mark.parametrize("kind", LONG)
async def test_a_body_that_takes_long_is_read_beside_the_event_loop(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """And gives the same batch as it would here."""
    text, options = LONG[kind]
    batch, threads = await taken_where(monkeypatch, text, options)
    assert threads - {threading.get_ident()}
    here = parse_body(Body(text.encode(), "identity", options), max_bytes=MAX_BYTES)
    assert (batch.ts.tolist(), batch.rejects) == (here.ts.tolist(), here.rejects)
    assert batch.sent >= 500


@pytest.mark.parametrize("kind", QUICK)
async def test_what_is_quick_is_read_at_once(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """A thread would cost more than it."""
    batch, threads = await taken_where(monkeypatch, *QUICK[kind])
    assert (batch.sent > 50, threads) == (True, set())


async def test_the_event_loop_goes_on_meanwhile() -> None:
    """What is read waits for what others do."""
    went_on = threading.Event()

    def work() -> Batch:
        assert went_on.wait(10), "the event loop is held"
        return NO_ROWS

    async with trio.open_nursery() as nursery:
        nursery.start_soon(Parsers().run, ONE, work)
        await trio.testing.wait_all_tasks_blocked()
        went_on.set()


async def test_tenants_take_turns() -> None:
    """Who has many waits for who has one."""
    parsers, order, begin = Parsers(), list[str](), threading.Event()

    def work(name: str) -> Batch:
        begin.wait(10)
        order.append(name)
        return NO_ROWS

    async with trio.open_nursery() as nursery:
        for n in range(4):
            nursery.start_soon(parsers.run, ONE, partial(work, f"many {n}"))
            await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(parsers.run, TWO, partial(work, "one"))
        await trio.testing.wait_all_tasks_blocked()
        begin.set()
    assert order.index("one") == 1
    assert len(order) == 5
