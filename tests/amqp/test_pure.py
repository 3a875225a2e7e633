"""What needs no broker: acknowledgements, routing keys, bodies written anew, too much
poison, what is held."""

import gzip
import time
from collections import deque
from uuid import UUID, uuid4

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atalaia.amqp.acks import Acks
from atalaia.amqp.columns import encode_rows, split_rows
from atalaia.amqp.messages import (
    LINE_PROTOCOL,
    Address,
    Delivery,
    Fault,
    Message,
    parse_address,
    rest_of,
    time_text,
    to_body,
    to_letter,
    to_messages,
    to_replay,
)
from atalaia.amqp.mqtt import management_url, topic_pattern
from atalaia.amqp.poison import HOUR_S, WINDOW_S, LetterShare, PoisonCount
from atalaia.amqp.window import Window
from atalaia.engine.ingest import Body, parse_body
from atalaia.model.batch import Batch, SeriesName
from atalaia.model.errors import Invalid
from atalaia.wire.options import WireOptions

TENANT = UUID("01990000-0000-7000-8000-000000000001")


@given(st.permutations(range(1, 30)), st.lists(st.integers(1, 6), max_size=30))
def test_acknowledgements_cover_what_is_done_and_nothing_else(
    order: list[int], sizes: list[int]
) -> None:
    """As the broker reads them: many means every open one below too. Each tag once."""
    acks, open_tags, finished = Acks(), set(range(1, 30)), set[int]()
    sizes = [*sizes, 30]
    while order:
        size = sizes.pop(0)
        wave, order = order[:size], order[size:]
        finished |= set(wave)
        for tag, multiple in acks.done(wave):
            assert tag in open_tags, "the broker closes a channel for a tag it does not know"
            covered = {t for t in open_tags if t <= tag} if multiple else {tag}
            assert covered <= finished
            open_tags -= covered
        assert open_tags == set(range(1, 30)) - finished


def test_acknowledgements_in_order_are_one() -> None:
    """The common case costs one frame."""
    acks = Acks()
    assert acks.done([3, 1, 2]) == [(3, True)]
    assert acks.done([5]) == [(5, False)]
    assert acks.done([4, 6]) == [(6, True)]


@pytest.mark.parametrize(
    ("key", "sensor"),
    [
        (str(TENANT), None),
        (f"v1.{TENANT}.pump-1.readings", "pump-1"),
        (f"v1.{TENANT}.a.b:c_d.readings", "a.b:c_d"),
        (f"v1.{TENANT}.readings.readings", "readings"),
    ],
)
def test_a_routing_key_says_whose_it_is(key: str, sensor: str | None) -> None:
    """From our face the tenant alone; from MQTT the sensor too, points within it included."""
    assert parse_address(key) == Address(TENANT, sensor)


@pytest.mark.parametrize("key", ["", "x", "v1.x.s.readings", "v1..readings", f"v2.{TENANT}.s"])
def test_a_routing_key_of_nobody_is_refused(key: str) -> None:
    """With a reason for the dead letter."""
    with pytest.raises(Invalid) as caught:
        parse_address(key)
    assert caught.value.code == "bad_routing_key"


T_US = 10**15
"""A time of 2001."""
names = st.builds(SeriesName, st.sampled_from(["a", "b.c"]), st.sampled_from(["t", "x/y"]))
rows = st.lists(
    st.tuples(
        names, st.integers(T_US, 7 * 10**15), st.floats(allow_nan=False, allow_infinity=False)
    ),
    min_size=1,
    max_size=20,
)


def columns(readings: list[tuple[SeriesName, int, float]]) -> Batch:
    index: dict[SeriesName, int] = {}
    idx = [index.setdefault(name, len(index)) for name, _, _ in readings]
    return Batch(
        names=tuple(index), idx=np.array(idx, np.int32),
        ts=np.array([ts for _, ts, _ in readings], np.int64),
        value=np.array([value for _, _, value in readings]),
        row=np.arange(len(readings), dtype=np.int32), rejects=(), sent=len(readings),
    )  # fmt: skip


@given(rows, st.data())
def test_rows_written_anew_are_the_same_rows(
    readings: list[tuple[SeriesName, int, float]], data: st.DataObject
) -> None:
    """To the bit, those that were asked for, and of one series in their order."""
    batch = columns(readings)
    wanted = data.draw(st.sets(st.sampled_from(range(len(readings))), min_size=1))
    body = Body(b"", "identity", WireOptions())
    (message,) = to_messages(TENANT, body, batch, 0)
    rest = rest_of(message, batch, wanted)
    again = parse_body(to_body(rest, Address(TENANT, None), 50_000), max_bytes=1 << 20)
    assert again.rejects == ()
    expected = [readings[n] for n in sorted(wanted)]
    for name in {name for name, _, _ in expected}:
        place = again.names.index(name)
        mine = again.idx == place
        kept = list(zip(again.ts[mine].tolist(), again.value[mine].tolist(), strict=True))
        assert kept == [(ts, value) for n, ts, value in expected if n == name]
    assert encode_rows(batch, np.zeros(0, np.int64)) == b"[]"


@given(rows, st.integers(60, 400))
def test_rows_that_are_too_many_bytes_are_split_by_time(
    readings: list[tuple[SeriesName, int, float]], limit: int
) -> None:
    """Each row once, within the limit or alone; no part begins before the end of the one before."""
    batch = columns(readings)
    found: list[tuple[SeriesName, int, float]] = []
    last = 0
    for data in split_rows(batch, limit):
        part = parse_body(Body(data, "identity", WireOptions(precision="us")), max_bytes=1 << 20)
        assert len(data) <= limit or len(part) == 1
        assert part.ts.min() >= last
        last = int(part.ts.max())
        names = [part.names[n] for n in part.idx]
        found += zip(names, part.ts.tolist(), part.value.tolist(), strict=True)
    assert sorted(found) == sorted(readings)


def test_a_letter_is_never_larger_than_the_broker_takes() -> None:
    """Rather than that it keeps what came as it came."""
    data = b'[{"metric":"t","ts":%d,"value":1},{"metric":"u","ts":%d,"value":1}]' % (10**12, 10**12)
    message = Message(f"v1.{TENANT}.{'s' * 100}.readings", data, "", "", {})
    batch = parse_body(to_body(message, parse_address(message.routing_key), 10), max_bytes=1_000)
    rest = rest_of(message, batch, {0, 1}, max_bytes=len(data))
    assert (rest.body, rest.headers) == (data, {})
    assert len(rest_of(message, batch, {0}, max_bytes=len(data) * 3).body) > len(data)


def test_rows_of_many_series_are_written_in_no_time() -> None:
    """50,000 series are: this was quadratic, and took seconds of everybody's."""
    names = [SeriesName(f"s{n}", "t") for n in range(50_000)]
    batch = columns([(name, 1, 1.0) for name in names])
    began = time.process_time()
    encode_rows(batch, np.arange(50_000))
    assert time.process_time() - began < 1.0


def test_a_sensor_comes_from_the_topic_never_from_the_payload() -> None:
    """Left out or claimed to be another, as a row, as rows, or as columns."""
    for payload in (
        b'{"metric": "t", "ts": 1000000000000, "value": 1}',
        b'[{"sensor": "other", "metric": "t", "ts": 1000000000000, "value": 1}]',
        b'{"sensor": "other", "metric": "t", "ts": [1000000000000], "value": [1]}',
    ):
        options = WireOptions(sensor="mine")
        batch = parse_body(Body(payload, "identity", options), max_bytes=1000)
        assert batch.names == (SeriesName("mine", "t"),)
    bad = WireOptions(sensor="not one")
    batch = parse_body(Body(payload, "identity", bad), max_bytes=1000)
    assert [reject.code for reject in batch.rejects] == ["bad_sensor"]


def test_a_letter_is_replayed_as_it_was() -> None:
    """What was said of it is taken off; when it was first seen stays."""
    body = Body(b"[]", "gzip", WireOptions(precision="s", bool_as_number=True))
    (message,) = to_messages(TENANT, body, columns([(SeriesName("s", "t"), 1, 1.0)]), 5)
    letter = to_letter(message, Fault("bad_json", "parse", "Invalid", "x" * 1000), 3, 99)
    assert letter.headers["x-atalaia-first-seen"] == "1970-01-01T00:00:00.000005Z"
    assert len(letter.headers["x-atalaia-detail"]) == 500
    again = to_replay(letter)
    assert dict(again.headers) == {**message.headers, "x-atalaia-attempts": 3}
    assert (again.message_id, again.body) == (message.message_id, message.body)


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_lines_travel_as_lines(encoding: str) -> None:
    """With their tags, the time of their arrival and what names sensor and metric; of those that
    were refused none goes along, and a letter is replayed the same.
    """
    options = WireOptions(format="line", precision="s", now_us=7, sensor_tag="place",
                          metric_tags=("cpu", "core"))  # fmt: skip
    lines = (
        b"m,place=a,cpu=c0,k=v x=1 1000000001\nbad\nm,place=b x=2\nm,place=c,no x=1\n"
        b"m,place=c y=3 1000000003\n"
    )
    data = gzip.compress(lines) if encoding == "gzip" else lines
    body = Body(data, encoding, options)
    batch = parse_body(body, max_bytes=1_000)
    assert [reject.index for reject in batch.rejects] == [1, 3]
    (message,) = to_messages(TENANT, body, batch, 5)
    for sent in (message, to_replay(to_letter(message, Fault("x", "parse", "X", "x"), 1, 99))):
        again = parse_body(to_body(sent, Address(TENANT, None), 50_000), max_bytes=1_000)
        assert (again.names, again.tags) == (batch.names, batch.tags)
        assert again.names[0] == SeriesName("a", "m_x:c0")
        assert (again.ts.tolist(), again.value.tolist()) == (
            [T_US + 10**6, 7, T_US + 3 * 10**6],
            [1, 2, 3],
        )
        assert not again.rejects
    rest = rest_of(message, again, {2})
    assert rest.body.splitlines() == [b"m,place=c y=3 1000000003"]
    assert rest.message_id != message.message_id
    (whole,) = to_messages(
        TENANT, Body(data, encoding, options), attrs.evolve(batch, rejects=()), 5
    )
    assert (whole.body, whole.encoding) == (data, encoding)


def test_telemetry_travels_as_columns() -> None:
    """Its device and its times are in them."""
    options = WireOptions(format="thingsboard", sensor="boiler", now_us=T_US + 7)
    body = Body(b'[{"t": 1}, {"ts": 1000000000000, "values": {"h": 3}}]', "identity", options)
    (message,) = to_messages(TENANT, body, parse_body(body, max_bytes=1_000), 5)
    again = parse_body(to_body(message, Address(TENANT, None), 50_000), max_bytes=1_000)
    assert again.names == (SeriesName("boiler", "t"), SeriesName("boiler", "h"))
    assert (again.ts.tolist(), again.value.tolist()) == ([T_US + 7, T_US], [1, 3])


def test_a_device_that_writes_lines_is_still_that_of_its_topic() -> None:
    """Whatever tags and headers say."""
    message = Message(f"v1.{TENANT}.mine.readings", b"m,host=other,k=v x=1 1000000000\nm x=2",
                      LINE_PROTOCOL, "", {"x-atalaia-precision": "s", "x-atalaia-arrived": "soon",
                           "x-atalaia-sensor-tag": "host", "x-atalaia-metric-tags": 5})  # fmt: skip
    body = to_body(message, parse_address(message.routing_key), 50_000)
    batch = parse_body(body, max_bytes=1_000)
    assert batch.names == (SeriesName("mine", "m_x"),)
    assert [(reject.index, reject.code) for reject in batch.rejects] == [(1, "bad_ts")]


def test_one_tenants_poison_does_not_stop_the_consumer() -> None:
    """It counts up to its share; many tenants', or nobody's, count in full; a minute forgets."""
    count = PoisonCount(per_minute=10, per_tenant=4, share=0.5)
    assert not any(count.add(TENANT, "bad_json", float(n) / 100) for n in range(500))
    assert [count.add(uuid4(), "bad_json", 6.0) for _ in range(7)] == [False] * 6 + [True]
    assert not count.add(TENANT, "bad_json", 6.0 + WINDOW_S + 1)
    count = PoisonCount(per_minute=10, per_tenant=4, share=0.5)
    assert [count.add(None, "bad_json", 0.0) for _ in range(11)] == [False] * 10 + [True]


def test_poison_is_too_much_when_it_is_most_of_what_comes() -> None:
    """Beside as much that is good it stops nobody; the good ones of an earlier minute do not count;
    and what is refused for its data alone says nothing, however much of it there is."""
    count = PoisonCount(per_minute=10, per_tenant=4, share=0.5)
    for _ in range(20):
        count.good(0.0)
    assert not any(count.add(None, "bad_json", 1.0) for _ in range(11))
    assert count.add(None, "bad_json", WINDOW_S + 0.5)
    count = PoisonCount(per_minute=10, per_tenant=4, share=0.5)
    assert not any(count.add(uuid4(), "future_timestamp", 1.0) for _ in range(500))


def test_a_tenants_dead_letters_are_bounded_within_an_hour() -> None:
    """In number and in bytes, of which one is always taken; others have their own."""
    share = LetterShare(letters=2, size=100)
    assert [share.allows(TENANT, 1, 0.0) for _ in range(3)] == [True, True, False]
    assert [share.allows(None, 500, 0.0), share.allows(None, 1, 0.0)] == [True, False]
    assert share.allows(TENANT, 1, HOUR_S + 1)


@given(st.lists(st.integers(0, 7 * 10**15), min_size=2, max_size=2))
def test_times_in_headers_sort_as_texts(times: list[int]) -> None:
    """Selections compare them so."""
    assert sorted(map(time_text, times)) == [time_text(t) for t in sorted(times)]


def test_where_the_management_api_is_and_what_a_topic_allows() -> None:
    """Beside the broker, with TLS where it has it; one tenant's keys, whatever the sensor."""
    assert management_url("amqp://u:p@h:5673/v") == "http://h:15672"
    assert management_url("amqps://[::1]/") == "https://[::1]:15671"
    assert topic_pattern(TENANT) == rf"^v1\.{TENANT}\..+\.readings$"


@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=40), st.integers(1, 30), st.integers(1, 6),
    st.data(),
)  # fmt: skip
def test_a_window_bounds_bytes_and_keeps_the_order(
    sizes: list[int], limit: int, prefetch: int, data: st.DataObject
) -> None:
    """Against a queue that delivers as RabbitMQ does: what was given back first, in order, and so
    many that are not acknowledged. Everything is handled once, in order, within the limit."""
    window, queue, returned = Window(limit), deque(range(len(sizes))), deque[int]()
    open_tags: dict[int, int] = {}
    times, held, handled = [0] * len(sizes), deque[int](), list[int]()
    tag = 0
    while queue or returned or open_tags:
        can_deliver = (queue or returned) and len(open_tags) < prefetch
        if can_deliver and (not held or data.draw(st.booleans())):
            n = returned.popleft() if returned else queue.popleft()
            tag += 1
            open_tags[tag] = n
            message = Message("k", b"x" * sizes[n], "", "", {}, str(n))
            before = times[n] + (45 if n % 7 == 6 else 0)
            times[n] += 1
            for each in window.arrive(Delivery(tag, message, before)):
                handled.append(int(each.message.message_id))
                held.append(each.tag)
        else:
            assert held
            done = held.popleft()
            del open_tags[done]
            window.gone(done)
            tags, kept = window.again()
            returned.extend(open_tags.pop(each) for each in tags)
            for each in kept:
                handled.append(int(each.message.message_id))
                held.append(each.tag)
        assert window.held <= max(limit, *sizes)
    assert handled == list(range(len(sizes)))
    assert max(times) <= 2
    assert window.held == 0
