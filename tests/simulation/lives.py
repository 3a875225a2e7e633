"""The process that comes and goes: started, killed between any two steps, stopped, superseded."""

from itertools import count

import attrs
import trio

from atalaia.engine.engine import open_engine
from atalaia.ports import Fenced
from atalaia.storage.memory import open_memory_store
from tests.simulation.plan import Life
from tests.simulation.port import Killed, Port
from tests.simulation.world import Process, World

PAUSED_S = 6.0  # a superseded process sleeps so long, and then learns that it is
LAST_BREATH_S = 20.0
MOST_IDLE = 1_000  # jumps of the clock that wake nobody


@attrs.define(eq=False)
class Steps(trio.abc.Instrument):
    """Counts the scheduler's steps; kills a process before one of them, and ends endless runs."""

    world: World
    most: int = 400_000
    taken: int = 0
    _idle: int = 0
    _victim: Process | None = None
    _left: int = 0

    def kill_after(self, process: Process, steps: int) -> None:
        self._victim, self._left = process, steps

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.taken += 1
        self._idle = 0
        if self.taken == self.most:
            self.world.fail("the schedule does not end")
        if self._victim is not None:
            self._left -= 1
            if self._left <= 0:
                process, self._victim = self._victim, None
                self.world.note("killed", life=process.number, between="two steps")
                end(self.world, process)

    def before_io_wait(self, timeout: float) -> None:
        self._idle += 1
        if self._idle == MOST_IDLE:
            self.world.fail("nothing can happen any more")
            self.world.kill_all()


def end(world: World, process: Process) -> None:
    process.kill()
    if world.process is process:
        world.process = None


@attrs.define(eq=False)
class Director:
    """Runs one life after the other; the last one until `finish`."""

    world: World
    nursery: trio.Nursery
    steps: Steps
    _number: "count[int]" = attrs.field(factory=count)

    async def run(self) -> None:
        """The lives of the plan, and one more that is listening when this returns."""
        for life in self.world.plan.lives:
            await self._live(await self.start(), life)
        await self.start()

    async def finish(self) -> None:
        """Stop the last life as SIGTERM does."""
        process = self.world.process
        if process is not None:
            process.stopping.set()
            await process.over.wait()

    async def _live(self, process: Process, life: Life) -> None:
        world = self.world
        if life.ending == "killed" and life.after_steps is not None:
            self.steps.kill_after(process, life.after_steps)
        with trio.move_on_after(life.after_s):
            await process.over.wait()
        match life.ending:
            case "killed":
                if not process.dead:
                    world.note("killed", life=process.number)
                    end(world, process)
                await process.over.wait()
            case "stopped":
                world.note("stopping", life=process.number)
                process.stopping.set()
                await process.over.wait()
            case "superseded":
                world.note("paused", life=process.number)
                world.process = None
                process.port.pause()
                self.nursery.start_soon(self._wake, process)
                return
        await trio.sleep(life.down_s)

    async def _wake(self, process: Process) -> None:
        await trio.sleep(PAUSED_S)
        self.world.note("woken", life=process.number)
        process.port.resume()
        with trio.move_on_after(LAST_BREATH_S):
            await process.over.wait()
        process.kill()

    async def start(self) -> Process:
        """A process that is listening; it waits for the lease while a commit hangs."""
        world, number = self.world, next(self._number)
        while world.hung:
            await next(iter(world.hung.values()))[1].wait()
        store = await open_memory_store(
            world.database, world.now_us(), chunk_series=world.plan.chunk_series
        )
        process = Process(number, Port(world, store, number))
        world.processes.append(process)
        world.began_us[number] = world.now_us()
        world.note("started", life=number)
        await self.nursery.start(self._run, process)
        return process

    async def _run(
        self, process: Process, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        world = self.world
        try:
            with process.scope:
                async with open_engine(process.port, world, world.plan.limits) as gate:
                    process.gate = world_gate = gate
                    world.process = process
                    task_status.started()
                    await process.stopping.wait()
                    world.process = None
                world.check(world_gate._budget.rows == 0, "a drained engine holds nothing",
                            rows=world_gate._budget.rows)  # fmt: skip
        except* Killed:
            pass
        except* Fenced:
            world.note("fenced", life=process.number)
        except* Exception as error:
            if not process.dead:
                world.crashed(error)
        finally:
            if world.process is process:
                world.process = None
            process.over.set()
