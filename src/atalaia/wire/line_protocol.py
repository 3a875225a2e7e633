"""Influx line protocol to columns.

The fast road (`line_kernel.py`) reads lines without escapes, all at once; the careful road
(`lines.py`) what it leaves, a line at a time, and says what is wrong. Both give the same batch for
the same good line. A line is taken whole or not at all, but for fields whose metric could have no
name here. Fields that are text are counted and ignored.
"""

from collections.abc import Container

import attrs
import numpy as np

from atalaia.model.batch import Batch, Bools, Floats, Int64s, Reject
from atalaia.model.errors import Invalid, TooLarge
from atalaia.wire import line_kernel as k
from atalaia.wire.line_bytes import UNREAD
from atalaia.wire.lines import Names, parse_line, read_time
from atalaia.wire.options import WireOptions
from atalaia.wire.rows import RowFault, check_count, check_hurry
from atalaia.wire.times import EARLIEST_US, LATEST_US, MICROS_PER

MOST_CAREFUL = 10_000
"""Lines of a body that take the careful road: at some 8 µs each nobody else is served meanwhile."""

MOST_NAME_BYTES = 128 * 1024
"""Of the names of series in a body that is read at once: some thousand, in as many hundredths of a
millisecond each."""


def parse_lines(body: bytes, options: WireOptions, *, hurried: bool = False) -> Batch:
    """The readings of one body; the row of each is the number of its line, from 0.

    Raises Invalid (`empty_body`), TooLarge for more than options.max_rows lines or readings;
    hurried: TakesLong for many names, or many lines of the careful road.
    """
    if not body:
        raise Invalid("There is no line in the body.", code="empty_body")
    found = k.scan(body, options.max_rows)
    lines = found.lines[: found.counts[k.C_LINES]]
    fields = found.fields[: found.counts[k.C_FIELDS]]
    check_count(max(len(lines), len(fields)), options.max_rows)
    reading = _Reading(body, options, lines, Names(options))
    check_hurry(hurried, reading.name_bytes(fields), MOST_NAME_BYTES)
    rows = reading.read_fast(fields, found.values[: len(fields)])
    check_hurry(hurried, reading.careful_bytes)
    rows = reading.read_careful(rows)
    return reading.batch(reading.refuse_same(rows))


def select_lines(body: bytes, wanted: Container[int]) -> bytes:
    """Those lines alone that have these numbers, of a body that was parsed before."""
    found = k.scan(body, WireOptions().max_rows)
    lines = found.lines[: found.counts[k.C_LINES], : k.L_NUMBER + 1].tolist()
    kept = [body[start:end] for start, end, number in lines if number in wanted]
    return b"\n".join(kept)


@attrs.frozen(eq=False)
class _Rows:
    """line: the index of each in `lines`; key: which measurement and tags it has."""

    line: Int64s
    idx: Int64s
    key: Int64s
    ts: Int64s
    value: Floats

    def where(self, chosen: Bools | Int64s) -> "_Rows":
        return _Rows(
            self.line[chosen], self.idx[chosen], self.key[chosen], self.ts[chosen],
            self.value[chosen],
        )  # fmt: skip

    def __add__(self, others: "_Rows") -> "_Rows":
        return _Rows(
            np.append(self.line, others.line),
            np.append(self.idx, others.idx),
            np.append(self.key, others.key),
            np.append(self.ts, others.ts),
            np.append(self.value, others.value),
        )


@attrs.define(eq=False)
class _Reading:
    """One body while it is read."""

    _body: bytes
    _options: WireOptions
    _lines: Int64s
    _names: Names
    _ignored: int = 0
    _rejects: list[Reject] = attrs.field(factory=list)

    def name_bytes(self, fields: Int64s) -> int:
        """Of the different names of series, as `read_fast` would look at them one by one."""
        first = fields[fields[:, k.F_SAME] == np.arange(len(fields))]
        keys = self._lines[self._lines[first[:, k.F_LINE], k.L_KEY]]
        spans = keys[:, k.L_KEY_END] - keys[:, k.L_START]
        return int((spans + first[:, k.F_NAME_END] - first[:, k.F_NAME]).sum())

    def read_fast(self, fields: Int64s, values: Floats) -> _Rows:
        """The rows of what the kernel has read. Where anything is wrong with a line, all of it is
        left to the careful road.
        """
        unread = fields[:, k.F_STATE] == UNREAD
        spans = fields[unread][:, [k.F_VALUE, k.F_VALUE_END]].tolist()
        values[unread] = [float(self._body[start:end]) for start, end in spans]
        place, key = self._find_all(fields)
        idx, key = place[fields[:, k.F_SAME]], key[fields[:, k.F_SAME]]
        line = fields[:, k.F_LINE]
        ts, wrong = self._times()
        wrong[line[(idx < 0) | ~np.isfinite(values)]] = True
        self._lines[wrong, k.L_STATE] = k.CAREFUL
        read = self._lines[:, k.L_STATE] != k.CAREFUL
        self._ignored += int(self._lines[read, k.L_TEXTS].sum())
        return _Rows(line, idx, key, ts[line], values).where(~wrong[line])

    @property
    def careful_bytes(self) -> int:
        """How much `read_careful` would look at."""
        careful = self._lines[self._lines[:, k.L_STATE] == k.CAREFUL]
        return int((careful[:, k.L_END] - careful[:, k.L_START]).sum())

    def _find_all(self, fields: Int64s) -> tuple[Int64s, Int64s]:
        """For the first field of each series: its place among the names, and its key; -1 where it
        can have no name.
        """
        place, key = np.full(len(fields), -1, np.int64), np.full(len(fields), -1, np.int64)
        first = np.flatnonzero(fields[:, k.F_SAME] == np.arange(len(fields)))
        lines = self._lines[self._lines[fields[first, k.F_LINE], k.L_KEY]]
        keys = lines[:, [k.L_START, k.L_KEY_END]].tolist()
        names = fields[first][:, [k.F_NAME, k.F_NAME_END]].tolist()
        for number, (start, end), (name, name_end) in zip(first.tolist(), keys, names, strict=True):
            try:
                series = self._names.find(self._body[start:end], self._body[name:name_end])
            except RowFault:
                continue
            place[number], key[number] = series.place, series.key
        return place, key

    def _times(self) -> tuple[Int64s, Bools]:
        """Of each line that the kernel has read, in µs; and which are none."""
        ticks, state = self._lines[:, k.L_TICKS], self._lines[:, k.L_STATE]
        if self._options.precision == "ns":
            ts = ticks // 1_000
            bad = (ts < EARLIEST_US) | (ts >= LATEST_US)
        else:
            factor = MICROS_PER[self._options.precision]
            bad = (ticks < EARLIEST_US // factor) | (ticks >= LATEST_US // factor)
            ts = np.where(bad, 0, ticks) * factor
        timeless = state == k.TIMELESS
        if self._options.now_us is None:
            return ts, bad | timeless
        return np.where(timeless, self._options.now_us, ts), bad & ~timeless

    def read_careful(self, rows: _Rows) -> _Rows:
        """With the rows of the other lines, in the order of the body."""
        found: list[tuple[int, int, int, int, float]] = []
        texts = 0
        careful = np.flatnonzero(self._lines[:, k.L_STATE] == k.CAREFUL)
        if len(careful) > MOST_CAREFUL:
            raise TooLarge(
                f"More than {MOST_CAREFUL:,} lines are wrong or hard to read; send smaller batches."
            )
        spans = self._lines[careful][:, [k.L_START, k.L_END]].tolist()
        for number, (start, end) in zip(careful.tolist(), spans, strict=True):
            try:
                point = parse_line(self._body[start:end], self._options.max_rows)
                ts = read_time(point.time, self._options)
                if point.fields:
                    self._names.check(point.key)
            except RowFault as fault:
                self._reject(number, fault)
                continue
            texts += point.texts
            for name, value in point.fields:
                try:
                    series = self._names.find(point.key, name)
                except RowFault as fault:
                    self._reject(number, fault)
                else:
                    found.append((number, series.place, series.key, ts, value))
            read = len(rows.line) + len(found) + len(self._rejects)
            check_count(read + texts, self._options.max_rows)
        self._ignored += texts
        if not found:
            return rows
        line, idx, key, times, values = zip(*found, strict=True)
        both = rows + _Rows(
            np.array(line, np.int64), np.array(idx, np.int64), np.array(key, np.int64),
            np.array(times, np.int64), np.array(values, np.float64),
        )  # fmt: skip
        return both.where(np.argsort(both.line, kind="stable"))

    def refuse_same(self, rows: _Rows) -> _Rows:
        """Without those that only a tag tells from an earlier one: they would be taken for
        duplicates of it.
        """
        if not self._names.mixed:
            return rows
        order = np.lexsort((rows.ts, rows.idx))
        idx, ts, key = rows.idx[order], rows.ts[order], rows.key[order]
        begins = np.ones(len(order), np.bool_)
        begins[1:] = (idx[1:] != idx[:-1]) | (ts[1:] != ts[:-1])
        first = np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0))
        keep = np.ones(len(order), np.bool_)
        keep[order] = key == key[first]
        for number in rows.line[~keep].tolist():
            self._reject(number, RowFault(
                "same_series",
                "an earlier line has the same sensor, metric and time, and other tags; name those "
                "that tell them apart with metric_tags",
            ))  # fmt: skip
        return rows.where(keep)

    def _reject(self, line: int, fault: RowFault) -> None:
        number = int(self._lines[line, k.L_NUMBER])
        self._rejects.append(Reject(number, fault.code, fault.detail))

    def batch(self, rows: _Rows) -> Batch:
        names = tuple(self._names.names)
        used = {name.sensor for name in names}
        return Batch(
            names=names,
            idx=rows.idx.astype(np.int32),
            ts=rows.ts,
            value=rows.value,
            row=self._lines[rows.line, k.L_NUMBER].astype(np.int32),
            rejects=tuple(sorted(self._rejects, key=lambda reject: reject.index)),
            sent=len(rows.line) + len(self._rejects),
            tags={name: tags for name, tags in self._names.tags.items() if name in used and tags},
            ignored=self._ignored,
        )
