"""Work aside: nobody keeps another tenant from it for longer than a turn."""

import threading
from collections.abc import Callable

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from atalaia.http.aside import Aside
from atalaia.model.ids import TenantNo
from atalaia.rules.steps import Steps

ONE, TWO = TenantNo(1), TenantNo(2)


async def test_a_tenant_has_one_place_in_the_line() -> None:
    """However much it sends: another one comes after what runs."""
    aside, may_go, order = Aside(), threading.Event(), list[str]()

    def held() -> None:
        may_go.wait(10)
        order.append("first")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(aside.run, ONE, held)
        await wait_all_tasks_blocked()
        for _ in range(3):
            nursery.start_soon(aside.run, ONE, order.append, "more of it")
            await wait_all_tasks_blocked()
        nursery.start_soon(aside.run, TWO, order.append, "another's")
        await wait_all_tasks_blocked()
        may_go.set()
    assert order == ["first", "another's", *["more of it"] * 3]


async def test_long_work_gives_up_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """To another tenant and to what the same one sends; its own result is whole."""
    monkeypatch.setattr("atalaia.http.aside.TURN_S", 0.0)
    aside, may_go, order, came = Aside(), threading.Event(), list[str](), list[int]()

    def work() -> Steps[int]:
        may_go.wait(10)
        for n in range(3):
            order.append(f"step {n}")
            yield
        return 7

    async def finish() -> None:
        came.append(await aside.finish(ONE, work()))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(finish)
        await wait_all_tasks_blocked()
        for tenant_no, name in ((ONE, "its own"), (TWO, "another's")):
            nursery.start_soon(aside.run, tenant_no, order.append, name)
            await wait_all_tasks_blocked()
        may_go.set()
    assert order[0] == "step 0"
    assert set(order[1:3]) == {"its own", "another's"}
    assert (order[3:], came) == (["step 1", "step 2"], [7])


async def test_what_fails_frees_its_place() -> None:
    """The error is the sender's, and the line goes on."""
    aside = Aside()

    def fails() -> Steps[None]:
        yield
        raise ValueError

    work: Callable[[], None] = fails().__next__
    await aside.run(ONE, work)
    with pytest.raises(ValueError, match=r"^$"):
        await aside.finish(ONE, fails())
    assert await aside.run(ONE, int, "3") == 3
