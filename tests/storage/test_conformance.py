"""What the engine relies on, the same on Postgres and in memory: simulation stands on this."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Protocol
from uuid import UUID, uuid4

import attrs
import numpy as np
import pytest
import trio

from atalaia.bridge import open_bridge
from atalaia.engine.clock import SystemClock
from atalaia.model.alert import Evidence, Transition, TransitionKind
from atalaia.model.audit import THE_SERVICE, Actor, AuditEntry
from atalaia.model.batch import SeriesName
from atalaia.model.errors import Conflict, Overloaded
from atalaia.model.ids import DAY_US, Micros, RuleNo, SensorNo, SeriesNo, TenantNo, uuid7
from atalaia.model.rule import StoredRule
from atalaia.model.views import AlertFilter, AlertStep, AlertView, OpeningView, Point
from atalaia.ports import (
    CommitItem,
    EngineStore,
    Fenced,
    RuleWrite,
    StoreRefused,
    StoreUnavailable,
    TagsWrite,
    TenantGone,
    TenantImage,
)
from atalaia.storage.database import open_database
from atalaia.storage.engine_store import open_engine_store
from atalaia.storage.memory import MemoryDatabase, MemoryQueries, open_memory_store
from atalaia.storage.queries import PostgresQueries
from tests.stack import fetch_aio, make_tenant

NOW = SystemClock().now_us() // DAY_US * DAY_US
NONE: Sequence[int] = ()
ONE, TWO = TenantNo(1), TenantNo(2)
FOREVER = Micros(1 << 60)
NO_GROUP = 3600 * 10**6
EVERYTHING = -(1 << 62)


class Shown(Protocol):
    """Of `Queries` what shows what a commit did."""

    async def readings(
        self, tenant_no: TenantNo, series: SeriesNo, *, after: Micros, until: Micros, limit: int
    ) -> Sequence[Point]: ...

    async def alerts(
        self,
        tenant_no: TenantNo,
        wanted: AlertFilter,
        *,
        before: tuple[Micros, UUID] | None,
        limit: int,
    ) -> Sequence[AlertView]: ...

    async def alert(
        self, tenant_no: TenantNo, alert_id: UUID
    ) -> tuple[AlertView, Sequence[AlertStep], OpeningView | None] | None: ...


class Opener(Protocol):
    async def __call__(self) -> EngineStore: ...


@attrs.define(eq=False)
class Place:
    """A database with two tenants, its first store, and how to open another one on it."""

    store: EngineStore
    shown: Shown
    again: Opener
    one: TenantNo
    two: TenantNo
    audit: Callable[[], Awaitable[list[tuple[str, str]]]]
    """(action, target) of what was written down of the first tenant."""

    async def image(self) -> TenantImage:
        return await self.store.load_tenant(self.one)

    async def series(self, *names: str) -> list[SeriesNo]:
        """Of sensors of these names, with a partition for today."""
        wanted = [SeriesName(name, "t") for name in names]
        _, rows = await self.store.register(self.one, wanted, Micros(NOW))
        return [row.series_no for row in rows]

    async def commit(self, *items: CommitItem) -> list[int]:
        return await self.store.commit_group(uuid4(), items)

    async def stored(self, series: SeriesNo) -> list[tuple[int, float, int, bool]]:
        points = await self.shown.readings(
            self.one, series, after=Micros(0), until=FOREVER, limit=1000
        )
        return [(p.ts - NOW, p.value, p.received_at - NOW, p.late) for p in points]


async def memory() -> AsyncIterator[Place]:
    database = MemoryDatabase(SystemClock().now_us)
    one, two = database.add_tenant(uuid4(), max_series=3), database.add_tenant(uuid4())
    again = partial(open_memory_store, database, Micros(NOW), chunk_series=1)

    async def audit() -> list[tuple[str, str]]:
        return [(entry.action, entry.target) for entry in database.tenants[one].audit.values()]

    yield Place(await again(), MemoryQueries(database), again, one, two, audit)


async def postgres(url: str) -> AsyncIterator[Place]:
    async with open_bridge() as bridge, open_database(bridge, url) as database:
        await make_tenant(bridge, url, "one")
        await make_tenant(bridge, url, "two")
        await bridge.call(
            fetch_aio, url, "UPDATE tenants SET max_series = 3 WHERE name = 'one'", ()
        )

        async def again() -> EngineStore:
            async with open_engine_store(database, Micros(NOW)) as store:
                return store

        async def audit() -> list[tuple[str, str]]:
            statement = "SELECT action, target FROM audit WHERE tenant_id = 1 ORDER BY seq"
            rows = await bridge.call(fetch_aio, url, statement, ())
            return [(row["action"], row["target"]) for row in rows]

        yield Place(await again(), PostgresQueries(database), again, ONE, TWO, audit)


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.postgres)])
async def place(request: pytest.FixtureRequest, database_url: str) -> AsyncIterator[Place]:
    async for opened in memory() if request.param == "memory" else postgres(database_url):
        yield opened


def item(received: int, **columns: object) -> CommitItem:
    """fresh, old: (series, seconds, value) each; newest: seconds per series; times from NOW."""
    fresh = _columns(columns.pop("fresh", NONE))
    old = _columns(columns.pop("old", NONE))
    newest = columns.pop("newest", {})
    assert isinstance(newest, Mapping)
    return CommitItem(
        tenant_no=columns.pop("tenant", ONE),  # type: ignore[arg-type]
        received_at=Micros(NOW + received),
        fresh_series=fresh[0], fresh_ts=fresh[1], fresh_value=fresh[2],
        old_series=old[0], old_ts=old[1], old_value=old[2],
        touched=np.array(list(newest), np.int32),
        newest=np.array([NOW + ts for ts in newest.values()], np.int64),
        rule_states=columns.pop("states", b""),  # type: ignore[arg-type]
        **columns,  # type: ignore[arg-type]
    )  # fmt: skip


def _columns(rows: object) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    assert isinstance(rows, Sequence)
    return (
        np.array([series for series, _, _ in rows], np.int32),
        np.array([NOW + ts for _, ts, _ in rows], np.int64),
        np.array([value for _, _, value in rows], np.float64),
    )


def rule(name: str, number: int = 1, **more: object) -> RuleWrite:
    stored = StoredRule(
        RuleNo(number), uuid7(Micros(NOW)), name, f"rule {name} on sensors when t > 1", 1, 1, True,
        Micros(NOW), Micros(NOW), Micros(NOW),
    )  # fmt: skip
    return RuleWrite(stored, **more)  # type: ignore[arg-type]


def step(
    kind: TransitionKind, alert: UUID, sensor: SensorNo, at: int, **more: object
) -> Transition:
    return Transition(
        **{  # type: ignore[arg-type]
            "kind": kind, "alert_id": alert, "rule_no": RuleNo(1), "rule_version": 1,
            "sensor_no": sensor, "severity": "info", "at": Micros(NOW + at),
            "arrived": Micros(NOW + at), "value": 1.5,
            "evidence": (Evidence("last(t, 5m)", 1.5),),
            "reason": "condition" if kind == "cleared" else None,
        } | more
    )  # fmt: skip


async def test_a_group_is_stored_once_and_answers_the_same(place: Place) -> None:
    """Under its id, however often it is tried."""
    (one,) = await place.series("a")
    work = item(10, fresh=[(one, 5, 1.0)], old=[(one, 1, 2.0), (one, 5, 3.0), (one, 1, 4.0)])
    group = uuid4()
    for _ in range(3):
        assert await place.store.commit_group(group, [work]) == [1]
    assert await place.stored(one) == [(1, 2.0, 10, True), (5, 1.0, 10, False)]


async def test_the_first_value_stays(place: Place) -> None:
    """What is there already is no new late reading; of equal ones the first in order is."""
    (one,) = await place.series("a")
    await place.commit(item(10, fresh=[(one, 5, 1.0)]))
    counts = await place.commit(
        item(11, old=[(one, 5, 9.0), (one, 3, 2.0), (one, 3, 8.0)]),
        item(12, old=[(one, 3, 7.0), (one, 4, 3.0)]),
    )
    assert counts == [1, 1]
    assert await place.stored(one) == [
        (3, 2.0, 11, True), (4, 3.0, 12, True), (5, 1.0, 10, False),
    ]  # fmt: skip


@pytest.mark.parametrize("what", ["reading", "arrival", "alert", "open", "step", "rule", "sensor"])
async def test_what_is_refused_leaves_no_trace(place: Place, what: str) -> None:
    """Keys and references; the items before it in the group go with it, and can go alone."""
    (one,) = await place.series("a")
    (sensor,) = (await place.image()).sensors
    alert = uuid4()
    opened = step("opened", alert, sensor.sensor_no, 5)
    await place.commit(
        item(10, fresh=[(one, 5, 1.0)], newest={one: 5}, rule_write=rule("r"), transitions=[opened])
    )
    before = await place.image()
    bad = {
        "reading": item(12, fresh=[(one, 5, 2.0)]),
        "arrival": item(10, fresh=[(one, 7, 2.0)]),
        "alert": item(12, transitions=[opened]),
        "open": item(12, transitions=[step("opened", uuid4(), sensor.sensor_no, 6)]),
        "step": item(12, transitions=[step("cleared", uuid4(), sensor.sensor_no, 6)]),
        "rule": item(12, rule_write=rule("r", 2)),
        "sensor": item(12, transitions=[step("opened", uuid4(), SensorNo(999), 6)]),
    }[what]
    good = item(11, fresh=[(one, 6, 1.0)], newest={one: 6}, states=b"s", snapshot=True,
                rule_write=rule("q", 3), tags_write=TagsWrite(sensor.sensor_no, {"zone": "n"}),
                transitions=[step("cleared", alert, sensor.sensor_no, 6)])  # fmt: skip
    good = good if what not in ("alert", "open") else attrs.evolve(good, transitions=())
    group = uuid4()
    with pytest.raises(StoreRefused):
        await place.store.commit_group(group, [good, bad])
    assert _comparable(await place.image()) == _comparable(before)
    assert await place.stored(one) == [(5, 1.0, 10, False)]
    found = await place.shown.alert(place.one, alert)
    assert found is not None
    assert (found[0].state, len(found[1])) == ("open", 1)
    assert await place.store.commit_group(group, [good]) == [0]
    assert len(await place.stored(one)) == 2


def _comparable(image: TenantImage) -> dict[str, object]:
    return {field.name: getattr(image, field.name) for field in attrs.fields(TenantImage)}


MADE = AuditEntry(THE_SERVICE, "sensors.registered", "")


async def test_sensors_are_registered_ahead_and_removed(place: Place) -> None:
    """With their tags, once, all or none; who is gone takes no room and frees its name."""
    made = await place.store.register_sensors(
        place.one, {"b": {"k": "v"}, "a": {}}, Micros(NOW), MADE
    )
    assert [(row.name, dict(row.tags)) for row in made] == [("b", {"k": "v"}), ("a", {})]
    (one,) = await place.series("b")
    assert await place.store.register_sensors(place.one, {"b": {}}, Micros(NOW), MADE) == []
    with pytest.raises(Conflict):
        await place.store.register_sensors(place.one, {"c": {}, "d": {}}, Micros(NOW), MADE)
    assert [row.name for row in (await place.image()).sensors] == ["b", "a"]
    alert = uuid4()
    await place.commit(
        item(10, fresh=[(one, 5, 1.0)], newest={one: 5}, rule_write=rule("r"),
             transitions=[step("opened", alert, made[0].sensor_no, 5)])
    )  # fmt: skip
    closed = step("cleared", alert, made[0].sensor_no, 6, reason="sensor_deleted")
    await place.commit(item(11, transitions=[closed], removal=made[0].sensor_no))
    image = await place.image()
    assert ([row.name for row in image.sensors], list(image.series)) == (["a"], [])
    found = await place.shown.alert(place.one, alert)
    assert found is not None
    assert (found[0].sensor, found[0].clear_reason) == ("b", "sensor_deleted")
    assert await place.stored(one) == [(5, 1.0, 10, False)]
    (again,) = await place.series("b")
    assert again != one
    await place.series("a")
    await place.store.register_sensors(place.one, {"c": {}}, Micros(NOW), MADE)
    assert [row.name for row in (await place.image()).sensors] == ["a", "b", "c"]


async def test_a_lost_lease_commits_nothing(place: Place) -> None:
    """Not even what was stored before: the other process answers now."""
    (one,) = await place.series("a")
    group, work = uuid4(), item(10, fresh=[(one, 5, 1.0)])
    await place.store.commit_group(group, [work])
    newer = await place.again()
    for again in (group, uuid4()):
        with pytest.raises(Fenced):
            await place.store.commit_group(again, [item(11, fresh=[(one, 6, 1.0)])])
    assert await newer.commit_group(uuid4(), [item(11, fresh=[(one, 6, 1.0)])]) == [0]
    assert await newer.commit_group(group, [work]) == [0]
    await newer.outlast_commits()


async def test_state_is_the_snapshot_and_what_came_after(place: Place) -> None:
    """Newest times by their last word, states in the order of commits, and how many deltas."""
    one, two = await place.series("a", "b")
    await place.commit(item(10, newest={one: 1, two: 1}, states=b"lost"))
    await place.commit(item(11, newest={one: 2}, states=b"A", snapshot=True),
                       item(12, newest={one: 3}, states=b"B"))  # fmt: skip
    await place.commit(item(13, newest={two: 4}, states=b"C"))
    image = await place.image()
    assert dict(image.newest) == {one: NOW + 3, two: NOW + 4}
    assert (image.rule_states, image.deltas, image.last_received) == (b"ABC", 2, NOW + 13)
    await place.commit(item(14, newest={one: 3, two: 4}, states=b"D", snapshot=True))
    image = await place.image()
    assert (image.rule_states, image.deltas, image.last_received) == (b"D", 0, NOW + 14)


async def test_a_new_tenant_is_empty_and_an_unknown_one_refused(place: Place) -> None:
    """And neither sees the other's."""
    await place.series("a")
    image = await place.store.load_tenant(place.two)
    assert (image.sensors, image.series, image.rules) == ([], [], [])
    assert (image.newest, image.rule_states, image.last_received) == ({}, b"", 0)
    assert (image.next_rule_no, image.deltas) == (1, 0)
    with pytest.raises(TenantGone):
        await place.store.load_tenant(TenantNo(99))


async def test_an_entry_is_written_with_its_group_or_not_at_all(place: Place) -> None:
    """In the order of the group, once however often it is tried, and none of a refused one."""
    (number,) = await place.series("a")
    items = [
        item(n, audit=AuditEntry(Actor("key:1"), "rule.created", str(n)), tenant=tenant)
        for n, tenant in ((10, ONE), (11, TWO), (12, ONE))
    ]
    group = uuid4()
    for _ in range(2):
        await place.store.commit_group(group, items)
    refused = item(13, audit=AuditEntry(Actor("key:1"), "rule.created", "13"))
    with pytest.raises(StoreRefused):
        await place.commit(refused, item(13, fresh=[(number, 1, 1.0)]))
    assert await place.audit() == [("rule.created", "10"), ("rule.created", "12")]


async def test_rules_and_tags_are_as_they_were_written_last(place: Place) -> None:
    """Deleted rules are gone, their names free and their numbers not."""
    await place.series("a")
    (sensor,) = (await place.image()).sensors
    first, waiting = rule("r"), rule("w", 2, waits=True)
    await place.commit(item(10, rule_write=first), item(11, rule_write=waiting))
    assert (await place.store.waiting_tenants()).awake == [place.one]
    edited = attrs.evolve(first.rule, text="rule r on sensors when t > 2", version=2)
    await place.commit(item(12, rule_write=RuleWrite(edited)),
                       item(13, tags_write=TagsWrite(sensor.sensor_no, {"zone": "n"})))  # fmt: skip
    image = await place.image()
    assert (list(image.rules), image.next_rule_no) == ([edited, waiting.rule], 3)
    assert [dict(row.tags) for row in image.sensors] == [{"zone": "n"}]
    gone = attrs.evolve(waiting.rule, enabled=False)
    await place.commit(item(14, rule_write=RuleWrite(gone, deleted=True)))
    await place.commit(item(15, rule_write=rule("w", 3)))
    image = await place.image()
    assert ([row.name for row in image.rules], image.next_rule_no) == (["r", "w"], 4)
    assert (await place.store.waiting_tenants()).awake == []


async def test_an_alert_is_the_sum_of_its_steps(place: Place) -> None:
    """Opened, raised and cleared in one group or in several; closings before openings."""
    await place.series("a")
    (sensor,) = (await place.image()).sensors
    number, one, two = sensor.sensor_no, uuid4(), uuid4()
    await place.commit(item(10, rule_write=rule("r"), transitions=[step("opened", one, number, 5)]))
    await place.commit(
        item(11, transitions=[step("raised", one, number, 6, severity="critical", value=2.5)]),
        item(12, transitions=[
            step("cleared", one, number, 7, severity="critical", value=None),
            step("opened", two, number, 8),
            step("cleared", two, number, 9, reason="rule_changed"),
        ]),
    )  # fmt: skip
    views = await place.shown.alerts(place.one, AlertFilter(), before=None, limit=10)
    assert [(v.alert_id, v.state, v.severity, v.rule, v.sensor) for v in views] == [
        (two, "cleared", "info", "r", "a"), (one, "cleared", "critical", "r", "a"),
    ]  # fmt: skip
    assert [(v.opened_at - NOW, v.opened_value, v.clear_reason) for v in views] == [
        (8, 1.5, "rule_changed"), (5, 1.5, "condition"),
    ]  # fmt: skip
    assert (views[1].cleared_at, views[1].cleared_value) == (NOW + 7, None)
    assert list(views[0].evidence) == [{"expression": "last(t, 5m)", "value": 1.5}]
    found = await place.shown.alert(place.one, one)
    assert found is not None
    assert [(s.kind, s.at - NOW, s.severity, s.value) for s in found[1]] == [
        ("opened", 5, "info", 1.5), ("raised", 6, "critical", 2.5),
        ("cleared", 7, "critical", None),
    ]  # fmt: skip
    assert await place.shown.alert(place.one, uuid4()) is None


async def test_window_rows_are_the_judged_ones_in_order(place: Place) -> None:
    """(since, until] per series, late ones left out, a series never split."""
    one, two = await place.series("a", "b")
    await place.commit(
        item(
            10, fresh=[(one, ts, float(ts)) for ts in range(1, 6)] + [(two, 3, 3.0), (two, 9, 9.0)]
        )
    )
    await place.commit(item(11, old=[(two, 5, 5.0)]))
    found: dict[int, list[tuple[int, float]]] = {}
    chunks = place.store.window_rows(
        place.one, np.array([two, one], np.int32), np.array([NOW + 2, NOW + 1], np.int64),
        np.array([NOW + 9, NOW + 4], np.int64),
    )  # fmt: skip
    async for series, ts, value in chunks:
        assert not set(series.tolist()) & set(found)
        assert [str(c.dtype) for c in (series, ts, value)] == ["int32", "int64", "float64"]
        rows = zip(series.tolist(), ts.tolist(), value.tolist(), strict=True)
        for number, at, read in rows:
            found.setdefault(number, []).append((at - NOW, read))
    assert found == {one: [(2, 2.0), (3, 3.0), (4, 4.0)], two: [(3, 3.0), (9, 9.0)]}


async def test_a_sensor_is_heard_when_its_newest_reading_arrived(place: Place) -> None:
    """A late one proves nothing; a sensor without readings is left out."""
    one, _ = await place.series("a", "b")
    await place.commit(item(10, fresh=[(one, 5, 1.0)], newest={one: 5}))
    await place.commit(item(20, old=[(one, 3, 1.0)]))
    image = await place.image()
    heard = await place.store.last_heard(place.one, image)
    assert heard == {image.sensors[0].sensor_no: NOW + 10}


async def test_series_are_registered_once_and_within_the_quota(place: Place) -> None:
    """In the order of names; a sensor whose series has no room is not made."""
    names = [SeriesName("a", "t"), SeriesName("b", "t"), SeriesName("a", "u"), SeriesName("c", "t")]
    sensors, rows = await place.store.register(place.one, names, Micros(NOW))
    assert [sensor.name for sensor in sensors] == ["a", "b"]
    assert [row.metric for row in rows] == ["t", "t", "u"]
    assert [row.sensor_no for row in rows] == [s.sensor_no for s in (*sensors, sensors[0])]
    assert {sensor.registered_at for sensor in sensors} == {NOW}
    again, same = await place.store.register(place.one, names[1:], Micros(NOW + 9))
    assert (again, same) == (sensors, rows[1:])
    image = await place.image()
    assert (list(image.sensors), list(image.series)) == (sensors, rows)


async def test_a_sensor_has_the_tags_of_its_registration(place: Place) -> None:
    """Those of others are left alone, and a second registration changes none."""
    names = [SeriesName("a", "t"), SeriesName("b", "t")]
    tags = {"a": {"kind": 'ção"', "site": ""}, "c": {"x": "y"}}
    sensors, _ = await place.store.register(place.one, names, Micros(NOW), tags)
    assert [dict(sensor.tags) for sensor in sensors] == [tags["a"], {}]
    later = [SeriesName("a", "u"), SeriesName("b", "u")]
    await place.store.register(place.one, later, Micros(NOW), {"a": {}, "b": {"kind": "no"}})
    assert [dict(sensor.tags) for sensor in (await place.image()).sensors] == [tags["a"], {}]


async def test_partitions_are_made_on_demand_and_bounded(place: Place) -> None:
    """At most eight at once; what has none is uncovered, and its commit is no refusal."""
    (one,) = await place.series("a")
    days = [-400 * DAY_US - 31 * n * DAY_US for n in range(10)]
    ts = np.array([NOW + day for day in days], np.int64)
    assert place.store.uncovered(ts).tolist() == list(range(10))
    await place.store.ensure_partitions(place.one, ts, Micros(NOW))
    assert place.store.uncovered(ts).tolist() == [8, 9]
    await place.commit(item(10, old=[(one, days[7], 1.0)]))
    with pytest.raises(StoreUnavailable):
        await place.commit(item(11, old=[(one, days[9], 1.0)]))
    assert (await place.again()).uncovered(ts).tolist() == [8, 9]
    many = np.array([NOW - (2000 + 31 * n) * DAY_US for n in range(200)], np.int64)
    for _ in range(11):
        await place.store.ensure_partitions(place.one, many, Micros(NOW))
    with pytest.raises(Overloaded):
        await place.store.ensure_partitions(place.one, many, Micros(NOW))
    await place.store.ensure_partitions(place.two, many[-1:], Micros(NOW))
    assert len(place.store.uncovered(many)) == 200 - 92 - 1


async def test_what_lies_before_the_retention_is_dropped_with_days_to_spare(place: Place) -> None:
    """By whole days; nothing that is newer, and nothing as long as everything is kept. What was
    loaded before goes on, what is loaded later knows the series and not the readings."""
    one, two = await place.series("a", "b")
    ages = (40, 13, 12, 11, 1)
    times = {days: -days * DAY_US for days in ages}
    for days in ages:
        at = np.array([NOW + times[days]], np.int64)
        await place.store.ensure_partitions(place.one, at, Micros(NOW))
    rows = [(one, times[days], float(days)) for days in ages]
    await place.commit(item(10, fresh=rows, newest={one: times[1]}))
    await place.commit(item(11, fresh=[(two, times[40], 4.0)], newest={two: times[40]}))
    await place.store.housekeep(Micros(NOW), NO_GROUP, EVERYTHING)
    assert [at for at, *_ in await place.stored(one)] == sorted(times.values())
    await place.store.housekeep(Micros(NOW), NO_GROUP, NOW - 10 * DAY_US)
    assert [at for at, *_ in await place.stored(one)] == [times[12], times[11], times[1]]
    gone = np.array([NOW + times[40], NOW + times[13]], np.int64)
    assert place.store.uncovered(gone).tolist() == [0, 1]
    with pytest.raises(StoreUnavailable):
        await place.commit(item(12, old=[(one, times[40], 5.0)]))
    image = await place.image()
    assert image.newest == {one: NOW + times[1], two: NOW + times[40]}
    heard = await place.store.last_heard(place.one, image)
    assert list(heard.values()) == [NOW + 10]
    await place.store.ensure_partitions(place.one, gone, Micros(NOW))
    await place.commit(item(13, old=[(one, times[40], 5.0)]))
    assert (await place.stored(one))[0] == (times[40], 5.0, 13, True)


async def test_a_group_id_is_kept_while_it_may_be_tried_again(place: Place) -> None:
    """And makes the days ahead."""
    (one,) = await place.series("a")
    group, work = uuid4(), item(10, fresh=[(one, 5, 1.0)], old=[(one, 1, 1.0)])
    await place.store.commit_group(group, [work])
    ahead = Micros(SystemClock().now_us() + 2 * DAY_US)
    await place.store.housekeep(ahead, NO_GROUP, EVERYTHING)
    assert await place.store.commit_group(group, [work]) == [1]
    assert not len(place.store.uncovered(np.array([ahead, ahead + DAY_US], np.int64)))
    await trio.sleep(0.01)
    await place.store.housekeep(ahead, 0, EVERYTHING)
    with pytest.raises(StoreRefused):
        await place.store.commit_group(group, [work])
    await place.store.bury([work], "a reason")
