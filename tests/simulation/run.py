"""One seed from its beginning to its end: `simulate` says what was broken, if anything."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any
from unittest.mock import patch

import attrs
import structlog
import trio
import trio._core._run as trio_run
from trio.testing import MockClock

from atalaia.engine import engine
from atalaia.model.ids import TenantNo
from tests.simulation.administrator import Administrator
from tests.simulation.clients import Gateway
from tests.simulation.consumer import Consumer
from tests.simulation.lives import Director, Steps
from tests.simulation.plan import make_plan
from tests.simulation.reference import Reference
from tests.simulation.world import World

PATIENCE_S = 300.0  # after the last fault everybody is answered, a quarantine included
LANDED_S = 12.0  # after the last fault the last lost commit has landed
QUIET_S = 30.0  # and until tenants whose rules wait are looked for: every silence has its alert


@attrs.frozen(eq=False)
class Outcome:
    """How a schedule went. failure: the first broken promise; None when all were kept."""

    world: World
    steps: int

    @property
    def failure(self) -> str | None:
        return self.world.failure


def simulate(seed: int) -> Outcome:
    """Run the schedule of this seed: the same seed, the same steps."""
    world = World(make_plan(seed))
    steps = Steps(world)
    often = patch.object(engine, "HOUSEKEEPING_S", world.plan.housekeeping_s)
    with _determined(seed), _listening(world), often:
        try:
            trio.run(
                _main, world, steps, clock=MockClock(autojump_threshold=0), instruments=[steps]
            )
        except BaseExceptionGroup as error:
            world.crashed(error)
    return Outcome(world, steps.taken)


async def _main(world: World, steps: Steps) -> None:
    async with trio.open_nursery() as nursery:
        world.backends = nursery
        with world.scope:
            with trio.move_on_after(world.plan.calm_s + PATIENCE_S) as patience:
                await _live(world, steps)
            world.check(
                not patience.cancelled_caught, "everything drains when the faults have ended"
            )
        nursery.cancel_scope.cancel()
    if world.failure is None:
        _compare(world)


async def _live(world: World, steps: Steps) -> None:
    plan = world.plan
    async with trio.open_nursery() as processes:
        processes.start_soon(_bury_all, world)
        director = Director(world, processes, steps)
        async with trio.open_nursery() as clients:
            for number in range(1, plan.tenants + 1):
                tenant_no = TenantNo(number)
                clients.start_soon(Administrator(world, tenant_no).run)
                for gateway in range(plan.gateways):
                    clients.start_soon(Gateway(world, tenant_no, gateway).run)
                if plan.consumer:
                    clients.start_soon(Consumer(world, tenant_no).run)
            await director.run()
        rules = [w for t in world.database.tenants.values() for w in t.rules.values()]
        waits = any(w.waits and w.rule.enabled and not w.deleted for w in rules)
        quiet_s = 0.0
        if plan.seed % 3 == 0:
            quiet_s = QUIET_S + plan.housekeeping_s if waits else plan.limits.idle_s + 1
        await trio.sleep(max(0.0, plan.calm_s - trio.current_time()) + quiet_s)
        if quiet_s and waits:
            world.quiet_us = world.now_us()
        await director.finish()
        world.note("finished")
        processes.cancel_scope.cancel()


async def _bury_all(world: World) -> None:
    """When the schedule is over no process outlives it, not even one that sleeps in a shield."""
    try:
        await trio.sleep_forever()
    finally:
        world.kill_all()


def _compare(world: World) -> None:
    for number in world.database.tenants:
        reference = Reference(world, number)
        for entry in world.journal:
            if entry.item.tenant_no == number and world.failure is None:
                reference.take(entry)
        if world.failure is None:
            reference.finish()
        set_back = any(step < 0 for _, step in world.plan.clock_steps)
        if world.failure is None and world.quiet_us is not None and not set_back:
            overdue = reference.overdue(world.quiet_us)
            world.check(not overdue, "after a long quiet every silence has its alert",
                        tenant=number, rule_and_sensor=overdue)  # fmt: skip


@contextmanager
def _determined(seed: int) -> Iterator[None]:
    """Trio's order of tasks and the random bits of ids follow from the seed."""
    bits = Random(f"ids/{seed}")
    with (
        patch.object(trio_run, "_ALLOW_DETERMINISTIC_SCHEDULING", True),
        patch.object(secrets, "randbits", bits.getrandbits),
    ):
        trio_run._r.seed(seed)
        yield


@contextmanager
def _listening(world: World) -> Iterator[None]:
    """What the engine logs goes into the trace; a crash that nobody made up is a failure."""
    before = structlog.get_config()

    def take(_: Any, level: str, event: Any) -> Any:
        name = event.pop("event")
        world.note(f"log {name}", **event)
        if name == "drain_cut_short":
            world.cut_short = True
            calm_s = trio.current_time() - world.plan.limits.drain_s - world.plan.calm_s
            world.check(calm_s < LANDED_S, "without faults a drain is in time")
        if name == "actor_crashed":
            world.injected -= 1
            if world.injected < 0:
                error = event.get("exc_info")
                world.crashed(error) if isinstance(error, BaseException) else world.fail(name)
        raise structlog.DropEvent

    structlog.configure(
        processors=[take],
        wrapper_class=structlog.make_filtering_bound_logger(20),
        cache_logger_on_first_use=False,
    )
    try:
        yield
    finally:
        structlog.configure(**before)


def tell(outcome: Outcome) -> str:
    """The schedule and what happened in it, line by line with the simulated time."""
    world = outcome.world
    lines = [f"seed {world.plan.seed}: {attrs.asdict(world.plan)}"]
    for at, event, details in world.trace:
        shown = "  ".join(f"{name}={value}" for name, value in details.items())
        lines.append(f"{at:10.4f}  {event:20}  {shown}")
    lines.append(f"{outcome.steps} steps, {len(world.journal)} items, {dict(world.answers)}")
    lines.append(f"BROKEN: {outcome.failure}" if outcome.failure else "every promise was kept")
    lines.append(f"again: python -m tests.simulation.replay {world.plan.seed}")
    return "\n".join(lines)
