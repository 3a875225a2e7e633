"""Bodies to columns: both roads, every form, every fault."""

import json
import tracemalloc
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atalaia.model.batch import Batch
from atalaia.model.errors import Invalid, TooLarge
from atalaia.wire.formats import parse as parse_any
from atalaia.wire.options import WireOptions
from atalaia.wire.readings import MAX_DEPTH

NAME = st.text("abZ09_-:.", min_size=1, max_size=8)
VALUE = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**17), 10**17)
T = 10**12
"""A time of 2001, in ms."""
ROWS = st.lists(
    st.fixed_dictionaries(
        {"sensor": NAME, "metric": NAME, "ts": st.integers(32 * 10**9, 7 * 10**12), "value": VALUE}
    ),
    min_size=1,
    max_size=20,
)


def parse(body: object, **options: Any) -> Batch:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return parse_any(raw, WireOptions(**options))


def readings(batch: Batch) -> list[tuple[str, str, int, float]]:
    return [
        (batch.names[i].sensor, batch.names[i].metric, ts, value)
        for i, ts, value in zip(
            batch.idx.tolist(), batch.ts.tolist(), batch.value.tolist(), strict=True
        )
    ]


@given(ROWS)
def test_every_form_of_the_same_rows_is_the_same_batch(rows: list[dict[str, Any]]) -> None:
    """A list, an envelope, NDJSON, and lists of columns."""
    wanted = [(r["sensor"], r["metric"], r["ts"] * 1000, float(r["value"])) for r in rows]
    columns = [{**r, "ts": [r["ts"]], "value": [r["value"]]} for r in rows]
    lines = "\n".join(json.dumps(r) for r in rows).encode()
    for batch in (parse(rows), parse({"readings": rows}), parse(columns),
                  parse({"readings": columns}), parse(lines, format="ndjson")):  # fmt: skip
        assert readings(batch) == wanted
        assert batch.sent == len(batch) == len(rows)
        assert batch.row.tolist() == list(range(len(rows)))


@given(ROWS)
def test_a_bad_row_changes_nothing_but_itself(rows: list[dict[str, Any]]) -> None:
    """The slow road gives the other rows as the fast one does."""
    fast = parse(rows)
    slow = parse([*rows, {"sensor": "a"}])
    assert readings(slow) == readings(fast)
    assert [(r.index, r.code) for r in slow.rejects] == [(len(rows), "missing_field")]


@given(ROWS, st.data())
def test_times_of_both_kinds_may_stand_in_one_body(
    rows: list[dict[str, Any]], data: st.DataObject
) -> None:
    """Some senders write text and integers side by side."""
    texts = [
        {**row, "ts": datetime.fromtimestamp(row["ts"] // 1000, UTC).isoformat()} for row in rows
    ]
    mixed = [data.draw(st.sampled_from(pair)) for pair in zip(rows, texts, strict=True)]
    lines = "\n".join(json.dumps(row) for row in mixed).encode()
    for batch in (parse(mixed), parse(lines, format="ndjson")):
        assert not batch.rejects
        wanted = [reading for row in mixed for reading in readings(parse([row]))]
        assert readings(batch) == wanted


def test_one_long_text_among_integer_times_costs_its_length_once() -> None:
    """As one array of texts, each of them would be as wide as the longest."""
    good = {"sensor": "a", "metric": "b", "ts": T, "value": 2}
    body = json.dumps([*[good] * 100, {**good, "ts": "9" * 200_000}]).encode()
    tracemalloc.start()
    batch = parse(body)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [reject.code for reject in batch.rejects] == ["bad_ts"]
    assert peak_bytes < 20 * len(body)


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes_are_a_batch_or_a_clear_error(body: bytes) -> None:
    """Nothing else is raised, and the account adds up."""
    for form in ("json", "ndjson"):
        try:
            batch = parse(body, format=form)
        except Invalid as error:
            assert error.detail
        else:
            assert batch.sent == len(batch) + len(batch.rejects)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["sensor", "metric", "ts", "value", "readings", "x"]), inner, max_size=5
    ),
    max_leaves=20,
)  # fmt: skip


@given(JSON)
def test_any_json_is_a_batch_or_a_clear_error(document: object) -> None:
    """Shapes that nobody thought of."""
    try:
        batch = parse(document)
    except Invalid as error:
        assert error.detail
    else:
        assert batch.sent == len(batch) + len(batch.rejects) > 0


@pytest.mark.parametrize(
    ("precision", "ticks", "micros"),
    [("s", 10**9, 10**15), ("ms", T, 10**15), ("us", 10**15, 10**15), ("ns", 10**18 + 999, 10**15)],
)
def test_integer_times_follow_the_precision(precision: str, ticks: int, micros: int) -> None:
    """ns are floored to µs."""
    for body in ({"ts": ticks, "value": 1}, {"ts": [ticks], "value": [1]}):
        batch = parse({"sensor": "a", "metric": "b", **body}, precision=precision)
        assert batch.ts.tolist() == [micros]


@given(st.datetimes(datetime(1971, 1, 1), datetime(2199, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_rfc3339_times_are_exact(moment: datetime) -> None:
    """To the microsecond, through any offset."""
    wanted = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // (datetime.resolution)
    text = moment.isoformat()
    rows = [{"sensor": "a", "metric": "b", "ts": t, "value": 1} for t in (text, text[:-6] + "Z")]
    assert parse(rows).ts.tolist() == [wanted, wanted]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"ts": "2026-01-01T00:00:00"}, "bad_ts"),
        ({"ts": "2026-13-01T00:00:00Z"}, "bad_ts"),
        ({"ts": "yesterday"}, "bad_ts"),
        ({"ts": 1.5}, "bad_ts"),
        ({"ts": True}, "bad_ts"),
        ({"ts": -1}, "bad_ts"),
        ({"ts": T // 1_000}, "bad_ts"),
        ({"ts": T * 1_000}, "bad_ts"),
        ({"ts": "1970-12-31T23:59:59Z"}, "bad_ts"),
        ({"ts": 10**30}, "bad_ts"),
        ({"ts": None}, "bad_ts"),
        ({"value": "1"}, "bad_value"),
        ({"value": True}, "bad_value"),
        ({"value": None}, "bad_value"),
        ({"value": 10**400}, "bad_value"),
        ({"sensor": ""}, "bad_sensor"),
        ({"sensor": "a/b"}, "bad_sensor"),
        ({"sensor": "x" * 129}, "bad_sensor"),
        ({"sensor": 5}, "bad_sensor"),
        ({"sensor": "ação"}, "bad_sensor"),
        ({"sensor": "a\n"}, "bad_sensor"),
        ({"metric": "m" * 65}, "bad_metric"),
        ({"metric": None}, "bad_metric"),
        ({"value": [1]}, "length_mismatch"),
    ],
)
def test_each_fault_has_its_code_and_a_cure(change: dict[str, Any], code: str) -> None:
    """And spoils nothing but its row."""
    good = {"sensor": "a", "metric": "b/c", "ts": T, "value": 2}
    batch = parse([good, {**good, **change}, good])
    assert [(r.index, r.code) for r in batch.rejects] == [(1, code)]
    assert all(len(r.detail) > 10 for r in batch.rejects)
    assert batch.row.tolist() == [0, 2]


def test_numbers_beyond_float64_are_rejected_by_row() -> None:
    """1e400 is one bad value, not a bad body."""
    batch = parse(b'[{"sensor":"a","metric":"b","ts":1000000000000,"value":1e400},'
                  b'{"sensor":"a","metric":"b","ts":1000000000000,"value":1}]')  # fmt: skip
    assert [(r.index, r.code) for r in batch.rejects] == [(0, "bad_value")]


@pytest.mark.parametrize("digits", ["9" * 30, "9" * 5_000, "-" + "9" * 5_000])
def test_an_endless_integer_is_one_bad_value(digits: str) -> None:
    """It spoils neither its neighbours nor the decoder."""
    row = '{"sensor": "s", "metric": "t", "ts": 1767225600000, "value": %s}'
    batch = parse(f"[{row % 1}, {row % digits}, {row % 2}]".encode())
    assert batch.value.tolist() == ([1.0, 1e30, 2.0] if len(digits) == 30 else [1.0, 2.0])
    assert [reject.code for reject in batch.rejects] == ["bad_value"] * (len(digits) > 30)


def test_booleans_count_when_asked() -> None:
    """?bool=number."""
    batch = parse([{"sensor": "a", "metric": "b", "ts": T, "value": True}], bool_as_number=True)
    assert batch.value.tolist() == [1.0]


def test_columns_of_unequal_length_are_rejected_by_the_longer() -> None:
    """No guess about which values belong to which times."""
    batch = parse([{"sensor": "a", "metric": "b", "ts": [T, T + 1, T + 2], "value": [1]},
                   {"sensor": "a", "metric": "b", "ts": T, "value": 1}])  # fmt: skip
    assert [r.index for r in batch.rejects] == [0, 1, 2]
    assert batch.row.tolist() == [3]


def test_ndjson_names_the_broken_line() -> None:
    """Other lines are taken."""
    good = b'{"sensor":"a","metric":"b","ts":1000000000001,"value":2}'
    batch = parse(good + b"\n\n{\n" + good.replace(b"1,", b"2,"), format="ndjson")
    assert [(r.index, r.code) for r in batch.rejects] == [(1, "bad_json")]
    assert "line 3" in batch.rejects[0].detail
    assert batch.ts.tolist() == [(T + 1) * 1_000, (T + 2) * 1_000]


def test_a_line_that_is_not_utf8_spoils_nothing_else() -> None:
    """bad_json for it."""
    good = b'{"sensor":"a","metric":"b","ts":1000000000001,"value":2}'
    batch = parse(good.replace(b'"a"', b'"\xff"') + b"\n" + good, format="ndjson")
    assert [(r.index, r.code) for r in batch.rejects] == [(0, "bad_json")]


def test_nesting_is_bounded() -> None:
    """What is nested deeper than the limit is not read."""
    for levels, code in ((MAX_DEPTH, "bad_row"), (MAX_DEPTH + 1, "bad_json")):
        value = b"[" * levels + b"]" * levels
        batch = parse(value + b"\n1", format="ndjson")
        assert [reject.code for reject in batch.rejects] == [code, "bad_row"]
    assert parse(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH).sent == 1
    with pytest.raises(Invalid) as caught:
        parse(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1))
    assert caught.value.code == "bad_json"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "bad_json"), (b"[]", "empty_body"), (b"{", "bad_json"), (b"[" * 100_000, "bad_json"),
        (b"7", "bad_body"), (b'{"readings": 5}', "bad_body"), (b"\xff", "bad_json"),
        (b'[{"sensor":"a","metric":"b","ts":1,"value":NaN}]', "bad_json"),
    ],
)  # fmt: skip
def test_bodies_that_are_none_are_refused_whole(body: bytes, code: str) -> None:
    """With a code of their own."""
    with pytest.raises(Invalid) as caught:
        parse(body)
    assert caught.value.code == code


@pytest.mark.parametrize("value", ["2", "1e400"])
def test_lines_that_are_sent_as_one_value_are_told_their_content_type(value: str) -> None:
    """An export in NDJSON, say; telemetry has no such lines."""
    line = f'{{"sensor": "a", "metric": "b", "ts": {T}, "value": {value}}}\n'
    with pytest.raises(Invalid) as caught:
        parse((line * 2).encode())
    assert caught.value.code == "bad_json"
    assert "Content-Type: application/x-ndjson" in caught.value.detail
    for body, form in (((line * 2).encode(), "thingsboard"), (line[:-2].encode(), "json")):
        with pytest.raises(Invalid) as caught:
            parse(body, format=form, sensor="a")
        assert "ndjson" not in caught.value.detail


def test_too_many_rows_are_too_large() -> None:
    """In every form, whether they are good or bad."""
    rows = [{"sensor": "a", "metric": "b", "ts": n, "value": 1} for n in range(11)]
    columns = {"sensor": "a", "metric": "b", "ts": list(range(11)), "value": [1] * 11}
    lines = "\n".join(json.dumps(r) for r in rows).encode()
    for body, form in ((rows, "json"), ([*rows, 1], "json"), (columns, "json"), (lines, "ndjson"),
                       ([columns, 1], "json"), (lines + b"\n{", "ndjson"),
                       (b"{\n" * 11, "ndjson"), ([1] * 11, "json"),
                       ({"ts": list(range(11))}, "json")):  # fmt: skip
        with pytest.raises(TooLarge):
            parse(body, max_rows=10, format=form)


def test_arrays_have_the_types_that_storage_needs() -> None:
    """int32, int64, float64."""
    batch = parse([{"sensor": "a", "metric": "b", "ts": T, "value": 2}])
    kinds = [array.dtype.name for array in (batch.idx, batch.ts, batch.value, batch.row)]
    assert kinds == ["int32", "int64", "float64", "int32"]


@pytest.mark.parametrize(
    ("precision", "ticks"),
    [("ms", 1_767_225_600), ("us", 1_767_225_600_000), ("ns", 1_767_225_600_000_000)],
)
def test_a_time_in_a_coarser_unit_than_said_is_refused_on_every_wire(
    precision: str, ticks: int
) -> None:
    """It would be stored in January 1970, where nobody looks."""
    row = {"sensor": "a", "metric": "b", "ts": ticks, "value": 1}
    columns = {**row, "ts": [ticks], "value": [1]}
    bodies: list[tuple[str, object]] = [
        *(("json", body) for body in (row, [row], columns, [columns])), ("ndjson", row),
        ("line", f"b,sensor=a value=1 {ticks}".encode()),
    ]  # fmt: skip
    batches = [parse(body, format=form, precision=precision) for form, body in bodies]
    if precision == "ms":
        telemetry = {"ts": ticks, "values": {"b": 1}}
        batches.append(parse(telemetry, format="thingsboard", sensor="a"))
    for batch in batches:
        (reject,) = batch.rejects
        assert reject.code == "bad_ts"
        assert "precision" in reject.detail
        assert len(batch) == 0
