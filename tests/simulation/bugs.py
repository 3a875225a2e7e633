"""Faults made on purpose, and how many schedules it takes to find each.

    python -m tests.simulation.bugs [--most N] [NAME...]

Each is made while its module is imported, in a process of its own. Exits with 1 when one is not
found, or does not apply any more.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

import attrs

ROOT = Path(__file__).resolve().parents[2]


@attrs.frozen
class Bug:
    """In the module, `old` becomes `new`."""

    name: str
    module: str
    old: str
    new: str

    @property
    def path(self) -> Path:
        return ROOT / "src" / f"{self.module.replace('.', '/')}.py"


BUGS = (
    Bug("acknowledged before the commit", "atalaia.engine.tenant",
        "            await self.works.send(Work(",
        "            settle(0)\n            await self.works.send(Work("),
    Bug("duplicates taken for new", "atalaia.engine.judge",
        "fresh = rows.ts > table.newest", "fresh = rows.ts >= table.newest"),
    Bug("late readings judged", "atalaia.engine.judge",
        "fresh = rows.ts > table.newest", "fresh = rows.ts != table.newest"),
    Bug("a new group id after an unknown outcome", "atalaia.engine.flush",
        "self.outcomes.commit(group_id, items)",
        "self.outcomes.commit(uuid7(self.clock.now_us()), items)"),
    Bug("memory stays ahead of a failed commit", "atalaia.engine.flush",
        "        work.incarnation.break_off()\n", "        pass\n"),
    Bug("an actor loads while a lost commit may land", "atalaia.engine.tenant",
        "                await self.outcomes.settle()\n", ""),
    Bug("group ids forgotten by the wrong clock", "atalaia.storage.memory",
        "at < self.database.now() - keep", "at < now - keep"),
    Bug("closing forgets who came during a pause", "atalaia.engine.supervise",
        "                    self._refuse(Closing())  # what came during the pause\n", ""),
    Bug("states lost at a tick", "atalaia.engine.tenant",
        "rule_states=rule_states(state.rules, snapshot=False),\n                transitions=tr",
        "rule_states=b\"\",\n                transitions=tr"),
    Bug("states lost when tags change", "atalaia.engine.editor",
        "states = rule_states(state.rules, snapshot=False)", "states = b\"\""),
    Bug("a snapshot forgets a series", "atalaia.engine.judge",
        "touched = table.seen()", "touched = table.seen()[1:]"),
    Bug("a resting actor's snapshot leaves out what is closed", "atalaia.engine.tenant",
        "rule_states=rule_states(state.rules, snapshot=True)",
        "rule_states=rule_states(state.rules, snapshot=False)"),
    Bug("received_at follows the clock back", "atalaia.engine.state",
        "max(now, Micros(self.last_received + 1))", "now"),
    Bug("a lost lease still commits", "atalaia.storage.memory",
        "if epoch != self.epoch:", "if epoch > self.epoch:"),
    Bug("a tick is not committed", "atalaia.engine.tenant",
        "            await self._send(item, Receipt(), lambda _: None)\n"
        "            await self.incarnation.eased", "            await self.incarnation.eased"),
    Bug("windows cold after a restart", "atalaia.engine.recover",
        "    await _warm(store, state, threads)\n", ""),
    Bug("our downtime counts as silence", "atalaia.engine.tenant",
        "        state.rules.listen_from(self.hearing.since)\n", ""),
    Bug("a tenant overtakes itself", "atalaia.engine.group",
        "line.works.popleft()", "line.works.pop()"),
    Bug("room is not given back", "atalaia.engine.gate",
        "            release()\n            self._outage", "            self._outage"),
    Bug("what waits is forgotten at recovery", "atalaia.engine.recover",
        "        await _wait_again(store, state, state.reorder)\n", "        pass\n"),
    Bug("windows warm beyond what was judged", "atalaia.engine.recover",
        "newest = table.newest if state.reorder is None else state.reorder.judged",
        "newest = table.newest"),
    Bug("a new lateness leaves what waits", "atalaia.engine.state",
        "ready = self.reorder.drain(sensor)", "ready = self.reorder.drain(-1)"),
    Bug("a new lateness is taken up at the next rebuild", "atalaia.engine.tenant",
        "if await self.editor.set_lateness(state, message):\n                        return None",
        "await self.editor.set_lateness(state, message)"),
    Bug("a tenant's lateness is for sensors with their own, too", "atalaia.engine.state",
        "self.reorder.add_sensor(self._own_lateness.get(sensor.sensor_no, self.lateness_us))",
        "self.reorder.add_sensor(self.lateness_us)"),
    Bug("what a part leaves to wait is taken for judged", "atalaia.engine.judge",
        "return newest, unless_equal(self.judged[slot], newest)", "return newest, NO_TIMES"),
    Bug("what a lateness leaves for the next part is taken for judged", "atalaia.engine.state",
        "return unless_equal(self._judged[slots], self._state.table.newest[slots])",
        "return NO_TIMES"),
    Bug("a removed sensor comes back after recovery", "atalaia.storage.memory",
        "sensors=tenant.living(),", "sensors=list(tenant.sensors.values()),"),
    Bug("a removed sensor lives on", "atalaia.engine.tenant",
        "await self.registrar.remove(state, message)\n                    return None",
        "await self.registrar.remove(state, message)"),
    Bug("a registered sensor is not waited for", "atalaia.engine.registrar",
        "        await add_sensors(state, rows, {})\n", ""),
    Bug("who follows a failed batch overtakes it", "atalaia.engine.tenant",
        "if submission.after is not None and submission.after.failed:", "if False:"),
)  # fmt: skip


class _Loader(SourceFileLoader):
    """Makes the fault; what it compiles is not cached."""

    bug: Bug

    def get_code(self, fullname: str) -> CodeType:
        text = self.bug.path.read_text()
        if self.bug.old not in text:
            sys.exit("the fault does not apply any more")
        return compile(text.replace(self.bug.old, self.bug.new), self.path, "exec")


@attrs.frozen
class _Finder(MetaPathFinder):
    bug: Bug

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self.bug.module:
            return None
        spec = PathFinder.find_spec(fullname, path)
        if spec is None or spec.origin is None:
            return None
        loader = _Loader(fullname, spec.origin)
        loader.bug = self.bug
        spec.loader = loader
        return spec


def hunt(bug: Bug, most: int) -> None:
    """Print how many schedules it takes, and what is broken then."""
    sys.meta_path.insert(0, _Finder(bug))
    from tests.simulation.run import simulate

    for seed in range(most):
        failure = simulate(seed).failure
        if failure is not None:
            print(f"{seed + 1}\t{failure.strip().splitlines()[-1 if 'Trace' in failure else 0]}")
            return
    sys.exit("not found")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--most", type=int, default=6_000, help="schedules to try for each")
    parser.add_argument("--hunt", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    unknown = set(options.names) - {bug.name for bug in BUGS}
    if unknown:
        sys.exit(f"no such fault: {', '.join(sorted(unknown))}")
    chosen = [bug for bug in BUGS if not options.names or bug.name in options.names]
    if options.hunt:
        return hunt(chosen[0], options.most)
    print(f"{'fault':50} {'schedules':>9} {'s':>6}  broken", flush=True)
    missed = False
    for bug in chosen:
        began = time.monotonic()
        command = [sys.executable, "-m", "tests.simulation.bugs", "--hunt"]
        done = subprocess.run(
            [*command, "--most", str(options.most), bug.name],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        missed |= done.returncode != 0
        count, _, why = (done.stdout or f"-\t{done.stderr.strip().splitlines()[-1]}").partition(
            "\t"
        )
        print(f"{bug.name:50} {count:>9} {time.monotonic() - began:6.1f}  {why.strip()[:90]}",
              flush=True)  # fmt: skip
    sys.exit(missed)


if __name__ == "__main__":
    main()
