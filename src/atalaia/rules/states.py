"""The states of the rules at the sensors of one tenant: a word each, and records for the few
whose condition holds. What is stored of a state is one packed record, whatever it is inside.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from atalaia.model.batch import Bools, Int64s
from atalaia.model.ids import Micros, RuleNo, SensorNo
from atalaia.rules import judging as j
from atalaia.rules.growing import Table
from atalaia.rules.jit import compiled
from atalaia.rules.program import ActiveRule
from atalaia.rules.syntax import SEVERITY_ORDER
from atalaia.rules.windows import NEVER

STORED = np.dtype(
    [
        ("rule_no", "<i4"),
        ("version", "<i4"),
        ("sensor_no", "<i4"),
        ("phase", "u1"),
        ("level", "u1"),
        ("spare", "<u2"),
        ("since", "<i8"),
        ("opened", "<i8"),
        ("last", "<i8"),
    ]
)
"""The stored state of one rule at one sensor. Times in µs; NEVER stands for none."""

PHASES = ("idle", "pending", "open", "clearing")


@attrs.frozen
class Standing:
    """The stored state of a rule at a sensor, in words.

    since: when what goes on began: waiting, clearing, or the alert; None when idle. opened: the
    newest opening, last: the newest judgement while the condition or an alert held.
    """

    phase: str = "idle"
    level: str | None = None
    since: Micros | None = None
    opened: Micros | None = None
    last: Micros | None = None


def find_standing(packed: bytes, rule_no: RuleNo, version: int, sensor_no: SensorNo) -> Standing:
    """Of the stored states in their order, later ones winning, the one of a rule at a sensor."""
    stored = np.frombuffer(packed, STORED)
    mine = (stored["rule_no"] == rule_no) & (stored["sensor_no"] == sensor_no)
    found = stored[mine & (stored["version"] == version)]
    if not len(found):
        return Standing()
    _, _, _, phase, level, _, since, opened, last = found[-1].tolist()
    opened_at = None if opened in (NEVER, j.NEVER_OPENED) else Micros(opened)
    if phase == j.IDLE:
        return Standing(opened=opened_at)
    return Standing(
        phase=PHASES[phase],
        level=SEVERITY_ORDER[level] if phase >= j.OPEN else None,
        since=opened_at if phase == j.OPEN else Micros(since),
        opened=opened_at,
        last=Micros(last),
    )


@compiled
def put_states(
    places: Any,
    phases: Any,
    levels: Any,
    since: Any,
    opened: Any,
    last: Any,
    words: Any,
    records: Any,
    pool: Any,
) -> None:
    """Write stored states in order. Takes a record for each that is not idle."""
    for n in range(len(places)):
        word = words[places[n]]
        if word & j.PHASE != j.IDLE:
            j.give_record(records, pool, word >> j.PAYLOAD_SHIFT)
        payload = j.NEVER_OPENED if opened[n] == NEVER else opened[n]
        if phases[n] != j.IDLE:
            record = j.take_record(records, pool)
            records[record, j.SINCE] = since[n]
            records[record, j.OPENED_AT] = payload
            records[record, j.LAST_AT] = last[n]
            payload = record
        words[places[n]] = j.pack(phases[n], levels[n], payload) & ~j.DIRTY


@attrs.define(eq=False)
class States:
    """State number n belongs to `owner(n)`. Grows; nothing is removed.

    No object is kept per state: of half a million each pass of the garbage collector took a fifth
    of a second, during which nobody was served.
    """

    _rules: list[ActiveRule] = attrs.field(factory=list)
    _sensors: Table = attrs.field(factory=lambda: Table(2))
    """Slot and number of the sensor."""
    pool: Int64s = attrs.field(factory=lambda: np.array([-1, 0], np.int64))
    records: Int64s = attrs.field(factory=lambda: np.empty((0, j.RECORD), np.int64))
    dirty: Int64s = attrs.field(factory=lambda: np.empty(64, np.int64))
    dirty_count: int = 0
    _words: Table = attrs.field(factory=lambda: Table(1))
    _place: dict[int, int] = attrs.field(factory=dict)

    def __len__(self) -> int:
        return len(self._rules)

    def owner(self, place: int) -> tuple[int, SensorNo, ActiveRule]:
        """Slot and number of the sensor, and the rule."""
        slot, sensor_no = self._sensors.rows[place].tolist()
        return slot, sensor_no, self._rules[place]

    @property
    def words(self) -> Int64s:
        return self._words.rows[:, 0]

    @property
    def used_bytes(self) -> int:
        """Words, and the records that are taken."""
        taken = len(self.records) - int(self.pool[j.POOL_COUNT])
        return self.words.nbytes + 8 * j.RECORD * taken

    def add(self, slot: int, sensor_no: SensorNo, rules: Sequence[ActiveRule]) -> None:
        """States as new for these rules at a sensor, one after the other."""
        for place, rule in enumerate(rules, start=len(self)):
            self._place[_key(rule.rule_no, sensor_no)] = place
        self._rules += rules
        self._sensors.add((slot, sensor_no), times=len(rules))
        self._words.add((j.NEVER_OPENED << j.PAYLOAD_SHIFT,), times=len(rules))

    def ensure_records(self, count: int) -> None:
        """Grow until `count` records can be taken."""
        while self.pool[j.POOL_COUNT] < count:
            used, room = len(self.records), max(len(self.records), 16)
            self.records = np.concatenate([self.records, np.empty((room, j.RECORD), np.int64)])
            self.records[used:, j.SINCE] = np.arange(used + 1, used + room + 1)
            self.records[-1, j.SINCE] = self.pool[j.POOL_FREE]
            self.pool[j.POOL_FREE] = used
            self.pool[j.POOL_COUNT] += room

    def ensure_dirty(self, more: int) -> None:
        """Grow until so many more states can be marked."""
        if self.dirty_count + more > len(self.dirty):
            self.dirty = np.concatenate([self.dirty, np.empty(len(self.dirty) + more, np.int64)])

    def take_dirty(self) -> bytes:
        """The stored form of every state changed since the last call."""
        places = self.dirty[: self.dirty_count].copy()
        self.dirty_count = 0
        self.words[places] &= ~j.DIRTY
        return self._pack(places)

    def dump(self) -> bytes:
        """The stored form of every state that is not as new."""
        return self._pack(
            np.flatnonzero(self.words & ~j.DIRTY != j.NEVER_OPENED << j.PAYLOAD_SHIFT)
        )

    def restore(
        self, packed: bytes, slots: Mapping[SensorNo, int], rules: Mapping[RuleNo, ActiveRule]
    ) -> None:
        """Apply stored states in order, later ones winning; other versions are ignored.

        slots, rules: the sensors and rules there are. A rule that does not watch a sensor now
        keeps its state there, so that it opens no alert twice when it watches it again.
        """
        stored = np.frombuffer(packed, STORED)
        versions = {rule_no: rule.version for rule_no, rule in rules.items()}
        places = np.full(len(stored), -1, np.int64)
        named = zip(
            stored["rule_no"].tolist(), stored["version"].tolist(), stored["sensor_no"].tolist(),
            strict=True,
        )  # fmt: skip
        for n, (rule_no, version, sensor_no) in enumerate(named):
            if versions.get(rule_no) != version or sensor_no not in slots:
                continue
            place = self._place.get(_key(rule_no, sensor_no))
            if place is None:
                place = len(self)
                self.add(slots[sensor_no], sensor_no, [rules[rule_no]])
            places[n] = place
        stored, places = stored[places >= 0], places[places >= 0]
        self.ensure_records(int(np.count_nonzero(stored["phase"] != j.IDLE)))
        phases, levels, since, opened, last = (
            stored[name].astype(np.int64) for name in ("phase", "level", "since", "opened", "last")
        )
        put_states(places, phases, levels, since, opened, last, self.words, self.records, self.pool)

    def is_open(self, places: Int64s) -> Bools:
        """Which of these states have an open alert."""
        return self.words[places] & j.PHASE >= j.OPEN

    def open(self, place: int, level: int, at: Micros) -> None:
        """Open an alert at a state that has none."""
        self.ensure_records(1)
        record = j.take_record(self.records, self.pool)
        self.records[record] = (j.NEVER_OPENED, at, at)
        self._mark(place)
        self.words[place] = j.pack(j.OPEN, level, record)

    def opened_before(self, place: int) -> int:
        """When the alert before the open one was opened; NEVER_OPENED when there was none."""
        return int(self.records[self.words[place] >> j.PAYLOAD_SHIFT, j.SINCE])

    def open_places(self, rule_no: int) -> list[int]:
        """The states of a rule that have an open alert, in the order of sensors."""
        return [
            place
            for place in np.flatnonzero(self.words & j.PHASE >= j.OPEN).tolist()
            if self._rules[place].rule_no == rule_no
        ]

    def close(self, place: int) -> tuple[int, int] | None:
        """Take a state back to idle; the level of its open alert and when that was opened."""
        if self.words[place] & j.PHASE == j.IDLE:
            return None
        word = int(self.words[place])
        level, record = word >> j.LEVEL_SHIFT & j.LEVEL, word >> j.PAYLOAD_SHIFT
        opened = int(self.records[record, j.OPENED_AT])
        j.give_record(self.records, self.pool, record)
        self._mark(place)
        self.words[place] = j.pack(j.IDLE, level, opened)
        return (level, opened) if word & j.PHASE >= j.OPEN else None

    def _mark(self, place: int) -> None:
        if not self.words[place] & j.DIRTY:
            self.ensure_dirty(1)
            self.dirty[self.dirty_count] = place
            self.dirty_count += 1

    def _pack(self, places: Int64s) -> bytes:
        if not len(places):
            return b""
        words = self.words[places]
        payload = words >> j.PAYLOAD_SHIFT
        held = words & j.PHASE != j.IDLE
        since, last = np.full(len(places), NEVER), np.full(len(places), NEVER)
        since[held] = self.records[payload[held], j.SINCE]
        last[held] = self.records[payload[held], j.LAST_AT]
        opened = payload.copy()
        opened[held] = self.records[payload[held], j.OPENED_AT]
        rules = [self._rules[place] for place in places.tolist()]
        stored: Any = np.zeros(len(places), STORED)
        stored["rule_no"] = [rule.rule_no for rule in rules]
        stored["version"] = [rule.version for rule in rules]
        stored["sensor_no"] = self._sensors.rows[places, 1]
        stored["phase"] = words & j.PHASE
        stored["level"] = words >> j.LEVEL_SHIFT & j.LEVEL
        stored["since"], stored["last"] = since, last
        stored["opened"] = np.where(opened == j.NEVER_OPENED, NEVER, opened)
        return bytes(stored.tobytes())


def _key(rule_no: int, sensor_no: int) -> int:
    """One number for both."""
    return rule_no << 32 | sensor_no
