"""What is true in one schedule: the durable database, what was sent and answered, the clocks.

Checks whatever can be checked while it happens; a broken promise ends the schedule.
"""

import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID

import attrs
import trio

from atalaia.engine.gate import Gate
from atalaia.engine.receipt import Answer
from atalaia.model.batch import Batch, SeriesName, Tags
from atalaia.model.ids import HOUR_US, Micros, SensorNo, SeriesNo, TenantNo
from atalaia.ports import CommitItem
from atalaia.storage.memory import MemoryDatabase
from tests.simulation.plan import Plan

if TYPE_CHECKING:
    from tests.simulation.port import Port

START_US = 1_700_000_000_250_000
"""A quarter of a second off the grid of silence."""

Key = tuple[SeriesNo, Micros]
NamedRow = tuple[SeriesName, Micros, float]


class Broken(Exception):
    """A promise does not hold."""


@attrs.frozen(eq=False)
class Entry:
    """One item as it was committed, by which life, and how many of its old rows were new."""

    item: CommitItem
    late: int
    life: int

    def rows(self, names: Mapping[SeriesNo, SeriesName]) -> "Counter[NamedRow]":
        item = self.item
        numbers = [*item.fresh_series.tolist(), *item.old_series.tolist()]
        series = [names[number] for number in numbers]
        ts = [*item.fresh_ts.tolist(), *item.old_ts.tolist()]
        value = [*item.fresh_value.tolist(), *item.old_value.tolist()]
        return Counter(zip(series, ts, value, strict=True))


@attrs.define(eq=False)
class Process:
    """One life. Whoever kills it may do so from anywhere, between any two steps."""

    number: int
    port: "Port"
    gate: Gate | None = None
    dead: bool = False
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    stopping: trio.Event = attrs.field(factory=trio.Event)
    over: trio.Event = attrs.field(factory=trio.Event)
    _connections: dict[int, trio.CancelScope] = attrs.field(factory=dict)

    def kill(self) -> None:
        """As kill -9: nothing of it reaches the world any more."""
        self.dead = True
        self.port.kill()
        self.scope.cancel()
        for scope in self._connections.values():
            scope.cancel()

    @contextmanager
    def connection(self) -> Iterator[None]:
        """Cut when the process dies."""
        with trio.CancelScope() as scope:
            self._connections[id(scope)] = scope
            if self.dead:
                scope.cancel()
            try:
                yield
            finally:
                del self._connections[id(scope)]


@attrs.define(eq=False)
class World:
    plan: Plan
    database: MemoryDatabase = attrs.field(init=False)
    trace: list[tuple[float, str, Mapping[str, Any]]] = attrs.field(factory=list)
    journal: list[Entry] = attrs.field(factory=list)
    hung: dict[UUID, tuple[set[object], trio.Event]] = attrs.field(factory=dict)
    """Commits whose answer was lost and that may still happen: what they lock, and their end."""
    began_us: dict[int, Micros] = attrs.field(factory=dict)
    """When each life began to listen."""
    processes: list[Process] = attrs.field(factory=list)
    process: Process | None = None
    """Who is listening."""
    sent: dict[tuple[TenantNo, SeriesName, Micros], set[float]] = attrs.field(factory=dict)
    acked: dict[tuple[TenantNo, Key], float] = attrs.field(factory=dict)
    first_tags: dict[SensorNo, Tags] = attrs.field(factory=dict)
    """Of sensors that were registered with some."""
    registered: set[tuple[TenantNo, str]] = attrs.field(factory=set)
    """Sensors whose registration was answered."""
    injected: int = 0
    """Bugs that the port made up and nobody has seen yet."""
    crash: trio.Event = attrs.field(factory=trio.Event)
    """The first of them."""
    cut_short: bool = False
    """Whether a process had to end before it had drained."""
    answers: Counter[str] = attrs.field(factory=Counter)
    quiet_us: Micros | None = None
    """The end of a long quiet, when there was one."""
    failure: str | None = None
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    backends: trio.Nursery = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.database = MemoryDatabase(self.database_us)
        for number, most in enumerate(self.plan.max_series, 1):
            tenant_no = self.database.add_tenant(UUID(int=number), most)
            self.database.tenants[tenant_no].lateness_us = self.plan.lateness_us[number - 1]

    def now_us(self) -> Micros:
        """The process' wall clock, which steps."""
        at = trio.current_time()
        steps = sum(step for when, step in self.plan.clock_steps if when <= at)
        return Micros(START_US + round(1e6 * at) + steps)

    def database_us(self) -> Micros:
        return Micros(START_US + round(1e6 * trio.current_time()))

    def note(self, event: str, **details: Any) -> None:
        self.trace.append((trio.current_time(), event, details))

    def fail(self, why: str) -> None:
        """End the schedule; the first failure is the one to look at."""
        if self.failure is None:
            self.failure = why
            self.note("BROKEN", why=why)
            self.scope.cancel()

    def kill_all(self) -> None:
        for process in self.processes:
            process.kill()

    def check(self, holds: bool, why: str, **details: Any) -> None:
        if not holds:
            told = ", ".join(f"{name}={value}" for name, value in details.items())
            self.fail(f"{why} ({told})" if told else why)

    def crashed(self, error: BaseException) -> None:
        self.fail("".join(traceback.format_exception(error)))

    def bystander(self, tenant_no: TenantNo) -> bool:
        """Whether this tenant must not notice that anything is wrong."""
        return self.plan.victim is not None and tenant_no != self.plan.victim

    def commit(
        self, epoch: int, life: int, group_id: UUID, items: Sequence[CommitItem]
    ) -> list[int]:
        """Commit, and keep what was committed in its order."""
        known = group_id in self.database.groups
        late = self.database.commit(epoch, group_id, items)
        if not known:
            self.journal += [Entry(item, n, life) for item, n in zip(items, late, strict=True)]
            self.note("stored", items=[_item(item) for item in items])
        return late

    def names(self, tenant_no: TenantNo) -> dict[SeriesNo, SeriesName]:
        """Of all series, those of removed sensors too: several may have had the same."""
        tenant = self.database.tenants[tenant_no]
        return {
            row.series_no: SeriesName(tenant.sensors[row.sensor_no].name, row.metric)
            for row in tenant.series.values()
        }

    def check_answer(self, tenant_no: TenantNo, batch: Batch, answer: Answer, since: int) -> None:
        """A 200 says that the readings are stored now, and counts them right.

        since: the length of the journal when the batch was sent.
        """
        self.answers["ok"] += 1
        rejected = {reject.index for reject in answer.rejects}
        self.check(
            answer.accepted + answer.duplicates + len(rejected) == batch.sent
            and 0 <= answer.late <= answer.accepted,
            "accepted + duplicates + rejected = sent", answer=answer, sent=batch.sent,
        )  # fmt: skip
        rows: Counter[NamedRow] = Counter()
        firsts: dict[Key, float] = {}
        stored = self.database.tenants[tenant_no].readings
        names = self.names(tenant_no)
        numbers: dict[SeriesName, list[SeriesNo]] = {}
        for number, name in names.items():
            numbers.setdefault(name, []).append(number)
        for n, (ts, value) in enumerate(zip(batch.ts.tolist(), batch.value.tolist(), strict=True)):
            if n in rejected:
                continue
            name = batch.names[batch.idx[n]]
            keys = [(series, ts) for series in numbers.get(name, ()) if (series, ts) in stored]
            if not keys:
                self.fail(f"answered and not stored: {name} at {ts}")
                return
            rows[name, ts, value] += 1
            for key in keys:
                firsts.setdefault(key, value)
                point = stored[key]
                first = self.acked.setdefault((tenant_no, key), point.value)
                self.check(
                    point.value == first and first in self.sent[tenant_no, name, ts],
                    "the first value stays", series=name, ts=ts, stored=point.value, first=first,
                )  # fmt: skip
        mine = [e for e in self.journal[since:] if e.item.tenant_no == tenant_no]
        made = list(_parts(mine, rows, names)) if rows else [[]]
        counts = [
            (sum(len(e.item.fresh_ts) + e.late for e in parts), sum(e.late for e in parts))
            for parts in made
        ]
        self.check(
            (answer.accepted, answer.late) in counts,
            "an answer counts what its commit stored", answer=answer, commits=counts,
        )  # fmt: skip
        arrivals = {entry.item.received_at for parts in made for entry in parts}
        for key, value in firsts.items():
            point = stored[key]
            self.check(
                point.received_at not in arrivals or point.value == value,
                "of equal times in a batch the first is the reading", key=key, stored=point.value,
            )  # fmt: skip

    def check_room(self) -> None:
        """Inboxes are bounded, and what they hold is what is accounted for."""
        gate = self.process.gate if self.process else None
        if gate is None:
            return
        limits = self.plan.limits
        inboxes = [supervisor.inbox for supervisor in gate._tenants.values()]
        for inbox in inboxes:
            self.check(
                0 <= inbox.rows <= max(limits.inbox_rows, MOST_ROWS)
                and 0 <= inbox.edits <= limits.inbox_edits,
                "an inbox is bounded", rows=inbox.rows, edits=inbox.edits,
            )  # fmt: skip
        self.check(
            sum(inbox.rows for inbox in inboxes) <= gate._budget.rows
            <= max(limits.total_rows, MOST_ROWS),
            "all inboxes together are bounded", rows=gate._budget.rows,
        )  # fmt: skip


MOST_ROWS = 120
"""Of a batch."""
DEVICES_US = START_US - HOUR_US
"""Where devices' clocks begin: no step of ours makes their readings lie in the future by chance."""


def _item(item: CommitItem) -> str:
    parts = [f"t{item.tenant_no}@{item.received_at - START_US}", f"{len(item.fresh_ts)} fresh"]
    if len(item.old_ts):
        parts.append(f"{len(item.old_ts)} old")
    if item.snapshot:
        parts.append("snapshot")
    if item.rule_write:
        rule = item.rule_write.rule
        parts.append(f"rule {rule.name} v{rule.version} enabled={rule.enabled}")
    if item.tags_write:
        parts.append(f"tags of {item.tags_write.sensor_no} {dict(item.tags_write.tags)}")
    if item.removal:
        parts.append(f"sensor {item.removal} removed")
    if item.lateness_write:
        write = item.lateness_write
        parts.append(f"lateness of {write.sensor_no or 'all'} {write.lateness_us}")
    parts += [f"{s.kind} r{s.rule_no}/{s.sensor_no} {s.severity}" for s in item.transitions]
    return " ".join(parts)


def _parts(
    entries: Sequence[Entry], rows: "Counter[NamedRow]", names: Mapping[SeriesNo, SeriesName]
) -> Iterator[Sequence[Entry]]:
    """Entries one after the other that make up a batch of these rows: one, or its parts."""
    for start in range(len(entries)):
        found: Counter[NamedRow] = Counter()
        for end in range(start, len(entries)):
            found += entries[end].rows(names)
            if found == rows:
                yield entries[start : end + 1]
                break
            if not found <= rows:
                break
