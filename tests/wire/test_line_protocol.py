"""Line protocol, good and bad, on both roads; PyPI's line-protocol-parser as the oracle."""

import itertools
import re
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from line_protocol_parser import (  # type: ignore[import-untyped]
    LineFormatError,
    parse_line,
)

from atalaia.model.batch import Batch
from atalaia.model.errors import Invalid, TooLarge
from atalaia.wire import line_kernel, line_protocol
from atalaia.wire.line_protocol import select_lines
from atalaia.wire.options import WireOptions

NOW_US = 1_767_225_600_123_456
T = 10**18
"""A time of 2001, in ns."""
T_US = 10**15
Row = tuple[int, str, str, int, float]


def parse(body: bytes | str, **options: Any) -> Batch:
    given: dict[str, Any] = {"format": "line", "precision": "ns", "now_us": NOW_US} | options
    data = body.encode() if isinstance(body, str) else body
    batch = line_protocol.parse_lines(data, WireOptions(**given))
    assert batch.sent == len(batch) + len(batch.rejects)
    assert [reject.index for reject in batch.rejects] == sorted(r.index for r in batch.rejects)
    return batch


def carefully(body: bytes | str, **options: Any) -> Batch:
    """By the careful road alone."""
    real = line_kernel.scan

    def unread(data: bytes, limit: int) -> line_kernel.Scan:
        found = real(data, limit)
        found.lines[:, line_kernel.L_STATE] = line_kernel.CAREFUL
        found.counts[line_kernel.C_FIELDS] = min(found.counts[line_kernel.C_FIELDS], 0)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(line_kernel, "scan", unread)
        return parse(body, **options)


def rows(batch: Batch) -> list[Row]:
    names = [batch.names[i] for i in batch.idx.tolist()]
    return [
        (row, name.sensor, name.metric, ts, value)
        for row, name, ts, value in zip(
            batch.row.tolist(), names, batch.ts.tolist(), batch.value.tolist(), strict=True
        )
    ]


def faults(batch: Batch) -> list[tuple[int, str]]:
    return [(reject.index, reject.code) for reject in batch.rejects]


def test_a_point_is_a_reading_of_each_of_its_numbers() -> None:
    """The sensor is a tag, the metric the measurement and the field; `value` adds nothing."""
    batch = parse(
        'weather,device=d1,site=a temp=21.5,rain=3i,on=t,note="dry, so far" 1000000000001000000\n'
        "weather,device=d1,site=a value=1u\n"
    )
    assert rows(batch) == [
        (0, "d1", "weather_temp", T_US + 1_000, 21.5),
        (0, "d1", "weather_rain", T_US + 1_000, 3.0),
        (0, "d1", "weather_on", T_US + 1_000, 1.0),
        (1, "d1", "weather", NOW_US, 1.0),
    ]
    assert (batch.tags, batch.ignored, batch.rejects) == ({"d1": {"site": "a"}}, 1, ())


@pytest.mark.parametrize("read", [parse, carefully])
def test_the_first_of_the_known_tags_names_the_sensor(read: Any) -> None:
    """In their order, not in that of the line; the others are tags of the sensor."""
    line = f"m,id=5,host=h,device_id=di,device=d,sensor=s v=1 {T}\n"
    wanted = ["s", "d", "di", "h", "5"]
    for name, sensor in zip(["sensor", "device", "device_id", "host", "id"], wanted, strict=True):
        batch = read(line)
        assert [row[1] for row in rows(batch)] == [sensor]
        assert sensor not in batch.tags.get(sensor, {}).values()
        line = re.sub(rf",{name}=[^, ]+", "", line)
    assert faults(read(line)) == [(0, "missing_sensor")]
    assert [row[1] for row in rows(read(f"m,host=h,place=p v=1 {T}", sensor_tag="place"))] == ["p"]
    assert faults(read(f"m,host=h v=1 {T}", sensor_tag="place")) == [(0, "missing_sensor")]


def test_the_tags_of_a_sensor_are_those_that_all_its_lines_share() -> None:
    """What differs from line to line tells of the line."""
    lines = ["cpu,host=a,dc=x,cpu=cpu0 v=1", "mem,dc=x,host=a v=2", "cpu,host=b,dc=y v=3"]
    batch = parse("".join(f"{line} {T}\n" for line in lines))
    assert batch.tags == {"a": {"dc": "x"}, "b": {"dc": "y"}}


def test_tags_that_no_sensor_can_have_are_left_out() -> None:
    """Too long, a NUL, too many."""
    many = "".join(f",t{n:02}=v" for n in range(40))
    batch = parse(f"m,host=a,long={'x' * 129},{'k' * 129}=v,nul=\0{many} v=1 {T}\n")
    assert len(batch) == 1
    assert batch.tags == {"a": {f"t{n:02}": "v" for n in range(32)}}


@pytest.mark.parametrize("read", [parse, carefully])
def test_only_a_tag_between_two_readings_is_a_fault_and_not_a_duplicate(read: Any) -> None:
    """The second would be counted as a duplicate and lost; metric_tags keeps them apart."""
    lines = f"cpu,host=a,cpu=cpu0 idle=1 {T}\ncpu,host=a,cpu=cpu1 idle=2 {T}\n"
    batch = read(lines)
    assert [row[4] for row in rows(batch)] == [1.0]
    assert faults(batch) == [(1, "same_series")]
    assert faults(read(lines.replace(f" {T}\ncpu", f" {T + 1_000}\ncpu"))) == []
    assert faults(read(lines.replace("cpu1", "cpu0"))) == [], "a duplicate is none"
    apart = read(lines, metric_tags=("cpu",))
    assert [row[2] for row in rows(apart)] == ["cpu_idle:cpu0", "cpu_idle:cpu1"]
    assert apart.tags == {}


@pytest.mark.parametrize(
    ("precision", "ticks", "micros"),
    [("ns", T + 5_999, T_US + 5), ("us", T_US + 5, T_US + 5), ("ms", 10**12, T_US),
     ("s", 10**9, T_US), ("m", 10**8, 6 * T_US), ("h", 10**6, 3_600_000_000 * 10**6)],
)  # fmt: skip
@pytest.mark.parametrize("read", [parse, carefully])
def test_times_follow_the_precision(read: Any, precision: str, ticks: int, micros: int) -> None:
    """And what lies outside 1971 to 2200 is a mistake of units."""
    assert read(f"m,id=a v=1 {ticks}", precision=precision).ts.tolist() == [micros]
    for wrong in ("-1", "0", "9223372036854775807", "99999999999999999999"):
        if (precision, wrong[0]) != ("ns", "9"):
            assert faults(read(f"m,id=a v=1 {wrong}", precision=precision)) == [(0, "bad_ts")]


def test_what_has_no_time_and_no_arrival_is_refused() -> None:
    """Nothing is made up."""
    assert faults(parse(f"m,id=a v=1\nm,id=a v=2 {T}", now_us=None)) == [(0, "bad_ts")]


GOOD = st.text(
    st.characters(codec="utf-8", exclude_characters="\0\n\r\t \\\"#", exclude_categories=["Cs"]),
    min_size=1, max_size=6,
)  # fmt: skip


def escaped(text: str, characters: str) -> str:
    return "".join(f"\\{c}" if c in characters else c for c in text)


@st.composite
def points(draw: st.DrawFn) -> str:
    """A line as a client would write it, with whatever names."""
    name = st.builds(lambda text, more: text + more, GOOD, st.sampled_from(["", " x", ",y", "=z"]))
    tags = draw(st.dictionaries(name, name, max_size=3))
    tags["host"] = draw(st.sampled_from(["a", "b.c", "d-1"]))
    number = st.one_of(
        st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False).map(repr),
        st.integers(-(2**63), 2**63 - 1).map(lambda n: f"{n}i"),
        st.integers(-(10**20), 10**20).map(str),
        st.decimals(-1000, 1000, places=3).map(str),
        st.sampled_from(["t", "T", "true", "True", "TRUE", "f", "F", "false", "False", "FALSE"]),
        st.text(max_size=8).filter(lambda t: "\0" not in t).map(
            lambda t: '"' + t.replace("\\", "\\\\").replace('"', '\\"') + '"'
        ),
    )  # fmt: skip
    fields = draw(st.dictionaries(st.sampled_from(["value", "a", "b_c", "d e", "f,g"]), number,
                                  min_size=1, max_size=4))  # fmt: skip
    key = escaped(draw(st.sampled_from(["m", "cpu_load", "a b", "c,d"])), ", ")
    key += "".join(f",{escaped(k, ',= ')}={escaped(v, ',= ')}" for k, v in tags.items())
    pairs = ",".join(f"{escaped(k, ',= ')}={v}" for k, v in fields.items())
    time = draw(st.one_of(st.just(""), st.integers(32 * 10**15, 7 * 10**18).map(lambda n: f" {n}")))
    return f"{key} {pairs}{time}"


@given(points())
@example("m,host=a value=0.1")
@example("m,host=a value=1e22,a=-0.0")
@example("m,host=a value=123456789012345678.5")
def test_every_line_is_read_as_the_oracle_reads_it(line: str) -> None:
    """Numbers to the last bit, texts over lines, every escape; and the names that follow."""
    batch = parse(line)
    said = parse_line(line.replace("\n", "\\n"))  # it knows no new line in a text
    timed = re.search(r" \d+$", line) is not None
    ts = said["time"] // 1_000 if timed else NOW_US
    wanted: list[Row] = []
    for field, value in said["fields"].items():
        metric = said["measurement"] + ("" if field == "value" else f"_{field}")
        if isinstance(value, str):
            continue
        if re.fullmatch(r"[\w\-:./]+", metric, re.ASCII) is None:
            assert batch.rejects
            continue
        wanted.append((0, said["tags"]["host"], metric, ts, float(value)))
    assert sorted(map(repr, rows(batch))) == sorted(map(repr, wanted))  # -0.0 is not 0.0
    assert batch.ignored == sum(isinstance(value, str) for value in said["fields"].values())


@given(st.lists(points(), max_size=5), st.lists(st.sampled_from(
    ["", "# c", "m", "m,host=a", "m,host v=1", "m,host=a v=", 'm,host=a v="x', "m,host=a v=1x",
     ",host=a v=1", "m,host=a v=1 5 5", "m,host=a,host=b v=1", "  m,host=a v=1  ", "m v=1"]
), max_size=4), st.randoms())  # fmt: skip
def test_both_roads_give_the_same(lines: list[str], others: list[str], order: Any) -> None:
    """Rows, rejects and tags, whatever stands between the good lines."""
    mixed = [*lines, *others]
    order.shuffle(mixed)
    body = "\n".join(mixed) or "\n"
    fast, careful = parse(body), carefully(body)
    assert rows(fast) == rows(careful)
    assert faults(fast) == faults(careful)
    assert (fast.tags, fast.ignored, fast.sent) == (careful.tags, careful.ignored, careful.sent)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("m,host=a", "bad_line"),
        ("m,host=a ", "bad_line"),
        ("m,host=a v", "bad_line"),
        ("m,host=a v=1,", "bad_line"),
        ("m,host=a ,v=1", "bad_line"),
        ("m,host=a =1", "bad_line"),
        ("m,host= v=1", "bad_line"),
        ("m,=a v=1", "bad_line"),
        ("m,host v=1", "bad_line"),
        (",host=a v=1", "bad_line"),
        ("m,host=a,host=b v=1", "bad_line"),
        ('m,host=a v="x', "bad_line"),
        ('m,host=a v="x\\"', "bad_line"),
        ('m,host=a v="x"y', "bad_ts"),
        ("m,host=a v=1 yesterday", "bad_ts"),
        ("m,host=a v=1 1.5", "bad_ts"),
        ("m,host=a v=1 5 6", "bad_ts"),
        ("m,host=a v=", "bad_value"),
        ("m,host=a v=NaN", "bad_value"),
        ("m,host=a v=Inf", "bad_value"),
        ("m,host=a v=-inf", "bad_value"),
        ("m,host=a v=1e400", "bad_value"),
        ("m,host=a v=" + "9" * 400, "bad_value"),
        ("m,host=a v=" + "9" * 100_000, "bad_value"),
        ("m,host=a v=9223372036854775808i", "bad_value"),
        ("m,host=a v=18446744073709551616u", "bad_value"),
        ("m,host=a v=-1u", "bad_value"),
        ("m,host=a v=1.5i", "bad_value"),
        ("m,host=a v=0x10", "bad_value"),
        ("m,host=a v=1_000", "bad_value"),
        ("m,host=a v=1e", "bad_value"),
        ("m,host=a v=.", "bad_value"),
        ("m,host=a v=tRUE", "bad_value"),
        ("m,host=a v=TRUe", "bad_value"),
        ("m,host=a v=truee", "bad_value"),
        ("m,host=a v=fals", "bad_value"),
        ("m,host=a v=X", "bad_value"),
        ("m,host=a/b v=1", "bad_sensor"),
        ("m,host=ação v=1", "bad_sensor"),
        ("m%,host=a v=1", "bad_metric"),
        (f"m,host=a {'v' * 64}=1", "bad_metric"),
        ("m v=1", "missing_sensor"),
    ],
)
def test_each_fault_has_its_code_and_spoils_nothing_else(line: str, code: str) -> None:
    """By its number, on either road; lines before and after it are taken."""
    good = f"m,host=a v=1 {T + 5_000}"
    for read in (parse, carefully):
        batch = read(f"{good}\n{line}\n{good.replace('5000', '6000')}\n")
        assert faults(batch) == [(1, code)]
        assert batch.ts.tolist() == [T_US + 5, T_US + 6]
        assert len(batch.rejects[0].detail) > 10


@pytest.mark.parametrize("line", [
    f"m,host=a v=1 {T}\r\n", f"  m,host=a v=1 {T}", f"m,host=a  v=1  {T}  ",
    f"\n\n# c\nm,host=a v=1 {T}", f"m,host=a v=+1 {T}", f"m,host=a v=1. {T}", f"m,host=a v=1u {T}",
    f"m,host=a v=1e0 {T}", f"m,host=a v=true {T}", f"m,host=a v=t {T}", f"m,host=a v=001 {T}",
])  # fmt: skip
def test_lines_are_taken_as_clients_write_them(line: str) -> None:
    """Windows' ends of lines, spaces, comments, every way to write one."""
    for read in (parse, carefully):
        assert read(line).value.tolist() == [1.0]


def test_bytes_that_are_no_text_spoil_their_line() -> None:
    """UTF-8, or refused; a text that is ignored may be anything."""
    batch = parse(b'm,host=\xff v=1\nm,host=a \xff=1\nm,host=a v=1,t="\xff"\n')
    assert faults(batch) == [(0, "bad_line"), (1, "bad_line")]
    assert (len(batch), batch.ignored) == (1, 1)


def test_a_text_that_is_never_closed_spoils_its_line_alone() -> None:
    """InfluxDB takes the rest of the body for the text."""
    batch = parse(f'm,host=a v="x\nm,host=a v=1 {T}\n')
    assert (faults(batch), batch.ts.tolist()) == ([(0, "bad_line")], [T_US])


def test_a_text_may_go_over_lines_and_the_count_goes_on() -> None:
    """Faults are named by the line on which they begin."""
    batch = parse('m,host=a t="x\n\ny",v=1\nm,host=a v=\nm\\ n,host=a t="\n",v=2\nx')
    assert faults(batch) == [(3, "bad_value"), (4, "bad_metric"), (6, "bad_line")]
    assert batch.row.tolist() == [0]


@given(st.binary(max_size=80) | st.text(alphabet='m,=" \\\n#1ehost-.itu\r', max_size=60).map(
    str.encode))  # fmt: skip
def test_any_bytes_are_a_batch_or_a_clear_error(body: bytes) -> None:
    """Nothing else is raised, the account adds up, and both roads agree."""
    if not body:
        with pytest.raises(Invalid):
            parse(body)
        return
    fast, careful = parse(body), carefully(body)
    assert rows(fast) == rows(careful)
    assert [reject.index for reject in fast.rejects] == [r.index for r in careful.rejects]


@given(st.text(alphabet='m,=" \\1ehost-.itu', max_size=40))
def test_what_the_oracle_refuses_is_refused(line: str) -> None:
    """But what InfluxDB takes and it does not know."""
    try:
        parse_line(line)
    except LineFormatError:
        batch = parse(line or " ")
        lenient = re.search(r'\\|[+.]|\d[ui]|"|=[tf]|^ | $|  ', line)
        assert not len(batch) or lenient


def test_too_many_lines_or_readings_are_too_large() -> None:
    """Good or bad, on either road; texts and blank lines cost nothing."""
    line = f"m,host=a v=1 {T}\n"
    many = line * 11
    wide = "m,host=a " + ",".join(f"v{n}=1" for n in range(11)) + f" {T}\n"
    for read in (parse, carefully):
        for body in (many, wide, "m\n" * 11, wide.replace("v1=1", f"v1={2**62}i"),
                     f"m,host=a x={2**62}i," + ",".join(['t=""'] * 11)):  # fmt: skip
            with pytest.raises(TooLarge):
                read(body, max_rows=10)
        assert len(read(line * 10 + "\n" * 50, max_rows=10)) == 10
    texts = "m,host=a " + ",".join(['t=""'] * 50)
    assert parse(texts, max_rows=10).ignored == 50


@pytest.mark.parametrize("line", [
    b"m" * 10_000_000,
    b"m,host=" + b"a" * 10_000_000 + b" v=1",
    b"m,host=a v=" + b"1" * 10_000_000,
    b'm,host=a v="' + b"x" * 10_000_000,
    b"m\\,host=a v=" + b"\\" * 10_000_000,
    b"m" + b"\\," * 5_000_000,
    b"m" + b",a=b" * 2_500_000 + b" v=1",
    b"m,host=a x=4611686018427387904i," + b't="",' * 1_600_000 + b"v=1",
])  # fmt: skip
def test_a_line_of_ten_megabytes_costs_a_few_times_its_size(line: bytes) -> None:
    """In memory, and no more than a moment."""
    tracemalloc.start()
    try:
        batch = parse(line)
        assert len(batch) == 0
    except TooLarge:
        pass
    finally:
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak_bytes < 40 * len(line)


@pytest.mark.parametrize("key", [b"m,sensor=" + b"\\ " * 20_000, b"m,sensor=s" + b",t=1" * 9_000])
def test_a_key_beyond_its_length_is_not_looked_at(key: bytes) -> None:
    """Measurement and tags have 16 KiB: to read what is longer would hold up others."""
    batch = parse(key + b"x v=1\nm,sensor=s v=1")
    assert len(batch) == 1
    (reject,) = batch.rejects
    assert reject.code == "bad_line"
    assert "16,384 bytes" in reject.detail


def test_a_flood_of_bad_lines_is_too_large() -> None:
    """Each costs more than a good one, and a tenant's neighbours wait for it."""
    most = line_protocol.MOST_CAREFUL
    good = f"m,host=a v=1 {T}\n"
    assert len(parse(good * 10 + "m\n" * most).rejects) == most
    with pytest.raises(TooLarge):
        parse(good * 10 + "m\n" * (most + 1))


def test_names_that_hash_alike_are_read_right() -> None:
    """Whoever chooses names so that they collide slows down nobody's reading but this one's."""
    lines = [f"m,host=h{n} v={n} {T + n}" for n in range(3_000)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(line_kernel, "_table_size", lambda entries: 1 << entries.bit_length())
        batch = parse("\n".join(lines * 2))
    assert len(batch.names) == 3_000
    assert batch.value.tolist() == [float(n) for n in range(3_000)] * 2


def test_lines_can_be_selected_by_their_numbers() -> None:
    """As they came, texts over lines and comments included in the count."""
    body = b'# c\nm,host=a t="x\ny",v=1 %d\nbad\n\nm,host=b v=2 %d\r\n' % (T, 2 * T)
    batch = parse(body)
    again = parse(select_lines(body, set(batch.row.tolist())))
    assert faults(batch) == [(3, "bad_line")]
    assert [row[1:] for row in rows(again)] == [row[1:] for row in rows(batch)]
    assert not again.rejects


def test_arrays_have_the_types_that_storage_needs() -> None:
    """int32, int64, float64; empty ones too."""
    for body in (f"m,id=a v=1 {T}", f"m\\ ,id=a v=1 {T}", "# nothing"):
        batch = parse(body)
        kinds = [array.dtype for array in (batch.idx, batch.ts, batch.value, batch.row)]
        assert kinds == [np.dtype(kind) for kind in ("int32", "int64", "float64", "int32")]


def test_an_empty_body_is_refused() -> None:
    """One without a point is not: comments are allowed."""
    with pytest.raises(Invalid):
        parse(b"")
    assert parse("# only this\n").sent == 0


def test_every_way_to_write_a_float_is_exact() -> None:
    """As Python reads it, which is the nearest float64."""
    forms = [
        "0.1",
        "123.456",
        "9007199254740993",
        "9007199254740992.5",
        "1e23",
        "5e-324",
        "0.3e1",
        "1797693134862315700000",
        "00.10",
        "123456789.123456789",
        "0.000001",
        "1.7976e308",
    ]
    signs = itertools.product(("", "-"), forms)
    for text in ("".join(pair) for pair in signs):
        assert parse(f"m,id=a v={text} {T}").value.tolist() == [float(text)]
