"""Line protocol over HTTP: the unmodified influxdb-client writes, is refused, is throttled and
recovers; and what Telegraf's client makes of each status, one rule after the other.
"""

import base64
import gzip
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import trio
from influxdb_client.client.exceptions import InfluxDBError
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write.point import Point
from influxdb_client.client.write_api import SYNCHRONOUS, WriteOptions
from influxdb_client.domain.write_precision import WritePrecision

from atalaia.engine.limits import EngineLimits
from atalaia.http.influx import InfluxFace
from atalaia.model.errors import (
    AtalaiaError,
    Overloaded,
    QuotaUsedUp,
    RuleFileInvalid,
    RuleFileProblem,
    RuleInvalid,
    TooSlow,
    Unavailable,
)
from tests.http.test_sockets import busy
from tests.stack import NOW_MS, START_MS, Stack, open_stack

pytestmark = pytest.mark.postgres

V2, V1 = "/api/v2/write", "/write"


def line(number: int, value: object = 1, sensor: str = "s") -> str:
    return f"m,host={sensor} v={value} {START_MS + number}"


async def write(stack: Stack, body: str | bytes, path: str = V2, **more: Any) -> httpx.Response:
    query = {"precision": "ms", "org": "o", "bucket": "b"} | more.pop("params", {})
    return await stack.client.post(path, params=query, content=body, **more)


async def stored(stack: Stack) -> dict[tuple[str, str, int], float]:
    found = await stack.sql(
        "SELECT name, metric, (extract(epoch FROM ts) * 1000)::int8 AS ms, value FROM readings"
        " JOIN series USING (tenant_id, series_id) JOIN sensors USING (tenant_id, sensor_id)"
    )
    return {(row["name"], row["metric"], row["ms"]): row["value"] for row in found}


async def in_thread(work: Callable[[], Any]) -> Any:
    return await trio.to_thread.run_sync(work)


def connect(stack: Stack, token: str = "", enable_gzip: bool = False) -> InfluxDBClient:
    return InfluxDBClient(stack.url, token or stack.api_key, enable_gzip=enable_gzip,
                          timeout=20_000, org="any")  # fmt: skip


@pytest.mark.parametrize("enable_gzip", [False, True])
async def test_the_unmodified_client_writes(stack: Stack, enable_gzip: bool) -> None:
    """Points, lines and dictionaries, in every precision, and its own look at health."""

    def work() -> tuple[bool, str, str]:
        with connect(stack, enable_gzip=enable_gzip) as client:
            api = client.write_api(write_options=SYNCHRONOUS)
            point: Any = Point("air")  # type: ignore[no-untyped-call]
            point = point.tag("device", "d-1").tag("site", "São João").field("temp", 21.5)
            point = point.field("on", True).field("n", 7).field("note", 'a"\n')
            api.write("any", record=point.time(START_MS, WritePrecision.MS))
            api.write("any", record=[line(1), line(2)], write_precision=WritePrecision.MS)
            as_dict = {"measurement": "m", "tags": {"host": "s"}, "fields": {"value": 4.0},
                       "time": (START_MS + 3) * 10**6}  # fmt: skip
            api.write("any", record=as_dict)
            with pytest.deprecated_call():
                health = client.health()
            return client.ping(), client.version(), health.status

    pinged, version, health = await in_thread(work)
    assert (pinged, health) == (True, "pass")
    assert version.startswith("atalaia-")
    assert await stored(stack) == {
        ("d-1", "air_temp", START_MS): 21.5, ("d-1", "air_on", START_MS): 1.0,
        ("d-1", "air_n", START_MS): 7.0, ("s", "m_v", START_MS + 1): 1.0,
        ("s", "m_v", START_MS + 2): 1.0, ("s", "m", START_MS + 3): 4.0,
    }  # fmt: skip
    sensor = (await stack.client.get("/v1/sensors/d-1")).json()
    assert sensor["tags"] == {"site": "São João"}


async def test_the_unmodified_client_is_told_what_was_refused(stack: Stack) -> None:
    """As an error of its own, with our words in it; the good lines are stored."""

    def work(token: str, record: object) -> InfluxDBError:
        with connect(stack, token=token) as client:
            api = client.write_api(write_options=SYNCHRONOUS)
            with pytest.raises(InfluxDBError) as caught:
                api.write("any", record=record, write_precision=WritePrecision.MS)
            return caught.value

    refused = await in_thread(lambda: work(stack.api_key, [line(1), "m,host=s v=x", line(2)]))
    assert refused.response.status == 400
    assert "line 2" in refused.message
    assert "1 refused, 2 taken" in refused.message
    assert len(await stored(stack)) == 2
    stranger = await in_thread(lambda: work("atl_0_0", [line(1)]))
    assert stranger.response.status == 401


async def test_the_batching_client_is_throttled_and_recovers(stack: Stack) -> None:
    """It waits as it is told at 429, sends again, and every point is stored once."""
    await stack.sql("UPDATE tenants SET readings_per_s = 400")
    waits: list[int] = []

    def work() -> None:
        options = WriteOptions(batch_size=500, flush_interval=100, retry_interval=200,
                               max_retries=8, max_retry_delay=4_000)  # fmt: skip
        with (
            connect(stack, enable_gzip=True) as client,
            client.write_api(
                write_options=options,
                retry_callback=lambda _, __, error: waits.append(error.response.status),
            ) as api,
        ):
            for number in range(2_000):
                api.write("any", record=line(number), write_precision=WritePrecision.MS)

    await in_thread(work)
    assert len(await stored(stack)) == 2_000
    assert waits
    assert set(waits) == {429}


async def test_the_batching_client_outlasts_an_outage(database_url: str) -> None:
    """503 while no commit ends; afterwards everything is stored."""
    async with open_stack(database_url, limits=EngineLimits(total_rows=1)) as stack:
        waits: list[int] = []
        held = trio.Event()

        def work() -> None:
            options = WriteOptions(batch_size=1, flush_interval=50, retry_interval=300,
                                   max_retries=10, max_retry_delay=1_000)  # fmt: skip
            with (
                connect(stack) as client,
                client.write_api(
                    write_options=options,
                    retry_callback=lambda _, __, error: waits.append(error.response.status),
                ) as api,
            ):
                for number in range(3):
                    api.write("any", record=line(number), write_precision=WritePrecision.MS)

        async with trio.open_nursery() as nursery:
            async with busy(stack):
                nursery.start_soon(in_thread, work)
                with trio.fail_after(20):
                    while not waits:
                        await trio.sleep(0.05)
            held.set()
        assert set(waits) == {503}
        assert {key[:2] for key in await stored(stack)} == {("s", "t"), ("s", "m_v")}
        assert len(await stored(stack)) == 4


async def test_a_reading_without_a_time_has_that_of_its_arrival(stack: Stack) -> None:
    """Of the server's clock."""
    assert (await write(stack, "m,host=s v=1")).status_code == 204
    ((_, _, at_ms),) = await stored(stack)
    assert NOW_MS - 1_000 < at_ms < NOW_MS + 3_600_000


async def test_rules_watch_a_sensor_by_its_tags_from_its_first_reading(stack: Stack) -> None:
    """Tags are there before it is judged; later ones change nothing."""
    await stack.rule('rule hot on sensors where kind = "boiler" when m_v > 10')
    assert (await write(stack, f"m,host=a,kind=boiler v=20 {START_MS}")).status_code == 204
    assert (await write(stack, f"m,host=b,kind=fridge v=20 {START_MS}")).status_code == 204
    assert (await write(stack, f"m,host=b,kind=boiler v=20 {START_MS + 1}")).status_code == 204
    assert [alert["sensor"] for alert in await stack.alerts()] == ["a"]
    assert (await stack.client.get("/v1/sensors/b")).json()["tags"] == {"kind": "fridge"}


@pytest.mark.parametrize("path", [V1, V2])
async def test_every_way_to_send_a_key(stack: Stack, path: str) -> None:
    """As both versions of the clients do; `u` and users' names do not matter."""
    key, wrong = stack.api_key, "atl_" + "0" * 16 + "_" + "0" * 64
    async with httpx.AsyncClient(base_url=stack.url) as anyone:

        async def status(key: str, how: str) -> int:
            basic = base64.b64encode(f"anybody:{key}".encode()).decode()
            headers, params = {
                "token": ({"authorization": f"Token {key}"}, {}),
                "pair": ({"authorization": f"token anybody:{key}"}, {}),
                "bearer": ({"authorization": f"Bearer {key}"}, {}),
                "ours": ({"x-api-key": key}, {}),
                "basic": ({"authorization": f"Basic {basic}"}, {}),
                "query": ({}, {"u": "anybody", "p": key}),
                "none": ({}, {}),
            }[how]
            params |= {"precision": "ms"}
            sent = await anyone.post(path, params=params, headers=headers, content=line(1))
            return sent.status_code

        ways = ["token", "pair", "bearer", "ours", "basic"] + ["query"] * (path == V1)
        for how in ways:
            assert (await status(key, how), await status(wrong, how)) == (204, 401), how
        assert await status(key, "none") == 401
        bad = {"authorization": "Basic §".encode("latin-1")}
        assert (await anyone.post(path, headers=bad, content=line(1))).status_code == 401  # type: ignore[arg-type]


async def test_v1_precisions(stack: Stack) -> None:
    """n, u, m and h too; none means ns."""
    hour = START_MS // 3_600_000
    for number, (precision, ticks) in enumerate(
        [("n", START_MS * 10**6), ("u", START_MS * 10**3), ("s", START_MS // 1000),
         ("m", hour * 60), ("h", hour), ("", START_MS * 10**6)]
    ):  # fmt: skip
        query = {"precision": precision} if precision else {}
        body = f"m,host=h{number} v=1 {ticks}"
        sent = await stack.client.post(V1, params=query, content=body)
        assert sent.status_code == 204, sent.text
    found = {name: ms for name, _, ms in await stored(stack)}
    assert found == {"h0": START_MS, "h1": START_MS, "h2": START_MS // 1000 * 1000,
                     "h3": hour * 3_600_000, "h4": hour * 3_600_000, "h5": START_MS}  # fmt: skip
    assert (await write(stack, line(1), params={"precision": "m"})).status_code == 400


async def test_the_sensor_and_the_metric_can_be_told_by_tags_of_choice(stack: Stack) -> None:
    """In the query, or in headers for clients that cannot add to it."""
    body = (
        f"disk,place=p,path=/,host=a used=1 {START_MS}\ndisk,place=p,path=/home used=2 {START_MS}"
    )
    refused = await write(stack, body, params={"sensor_tag": "place"})
    assert (refused.status_code, "metric_tags" in refused.json()["message"]) == (400, True)
    fields = {"x-atalaia-sensor-tag": "place", "x-atalaia-metric-tags": "path"}
    assert (await write(stack, body, headers=fields)).status_code == 204
    assert {key[:2] for key in await stored(stack)} == {
        ("p", "disk_used"), ("p", "disk_used:/"), ("p", "disk_used:/home"),
    }  # fmt: skip
    many = ",".join(f"t{n}" for n in range(9))
    assert (await write(stack, body, params={"metric_tags": many})).status_code == 400


@pytest.mark.parametrize("path", [V1, V2])
async def test_telegraf_rule_204_is_delivered(stack: Stack, path: str) -> None:
    """After the commit, without a body; texts are ignored and counted."""
    body = f'system,host=s load1=0.5,uptime_format="3 days" {START_MS}'
    sent = await write(stack, body, path)
    assert (sent.status_code, sent.content) == (204, b"")
    assert "content-length" not in sent.headers
    assert sent.headers["x-atalaia-ignored"] == "1"
    assert await stored(stack) == {("s", "system_load1", START_MS): 0.5}
    assert (await write(stack, body, path)).status_code == 204, "a duplicate is delivered too"
    assert (await write(stack, "# nothing\n", path)).status_code == 204


@pytest.mark.parametrize("path", [V1, V2])
async def test_telegraf_rule_413_is_split_and_sent_again(stack: Stack, path: str) -> None:
    """Too many lines, too many bytes, too many when inflated; nothing of it is stored."""
    lines = "\n".join(line(number) for number in range(50_001))
    bomb = gzip.compress(b"m,host=s v=1\n" * 1_000_000)
    for body, fields in ((lines, {}), (b"m" * (8 * 1024 * 1024 + 1), {}),
                         (bomb, {"content-encoding": "gzip"})):  # fmt: skip
        sent = await write(stack, body, path, headers=fields)
        assert (sent.status_code, sent.json()["code"]) == (413, "request too large")
    assert await stored(stack) == {}
    half = "\n".join(line(number) for number in range(25_000))
    assert (await write(stack, half, path)).status_code == 204


@pytest.mark.parametrize("path", [V1, V2])
async def test_telegraf_rule_400_is_dropped_so_good_lines_are_stored_first(
    stack: Stack, path: str
) -> None:
    """A mixed batch is 400 with the count, and names the lines; so is one without a good line."""
    body = "\n".join([line(1), "m,host=s v=", "bad", line(2), f"m,host=s v=1 {NOW_MS + 10**7}"])
    sent = await write(stack, body, path)
    said = sent.json()
    assert (sent.status_code, said["code"], said["line"]) == (400, "invalid", 2)
    assert said["message"].startswith("partial write: 3 refused, 2 taken: line 2: ")
    assert "line 3: " in said["message"]
    assert "line 5: the time lies in the future" in said["message"]
    assert ("error" in said) == (path == V1)
    assert len(await stored(stack)) == 2
    none = await write(stack, "bad\n" * 9, path)
    assert none.status_code == 400
    assert "9 refused, 0 taken" in none.json()["message"]
    assert "and 4 more" in none.json()["message"]


BROKEN: list[tuple[bytes, dict[str, str], str]] = [
    (b"", {}, ""),
    (b"\xff\xfe", {}, ""),
    (b"m,host=s v=NaN", {}, ""),
    (b"m,host=s v=1e400", {}, ""),
    (b"m,host=s v=" + b"9" * 5_000 + b"i", {}, ""),
    (b'm,host=s v="never closed', {}, ""),
    (b"m,host=s v=1 99999999999999999999999", {}, ""),
    (b"m,host=\xc3\x28 v=1", {}, ""),
    (b"m,host=s v=1\0", {}, ""),
    (b"\0" * 100 + b"x", {}, ""),
    (b"x", {"content-encoding": "gzip"}, ""),
    (gzip.compress(b"m,host=s v=1")[:-4], {"content-encoding": "gzip"}, ""),
    (b"x", {"content-encoding": "snappy"}, ""),
    (b"m,host=s v=1", {}, "fortnight"),
    (b"m" * 8_000_000, {}, ""),
    (b'm,host=s v="' + b"x" * 8_000_000, {}, ""),
    (b"m,host=s v=" + b"1" * 8_000_000, {}, ""),
    (b'[{"sensor": "s", "metric": "t", "ts": 1767225600000, "value": 1}]', {}, ""),
]


@pytest.mark.parametrize("path", [V1, V2])
@pytest.mark.parametrize(("body", "fields", "precision"), BROKEN, ids=range(len(BROKEN)))
async def test_telegraf_rule_no_bad_input_makes_a_5xx(
    stack: Stack, path: str, body: bytes, fields: dict[str, str], precision: str
) -> None:
    """A 5xx would be sent again for ever: 400 in Influx's shape, and the connection goes on."""
    query = {"precision": precision} if precision else {}
    sent = await write(stack, body, path, headers=fields, params=query)
    assert sent.status_code == 400
    assert sent.json()["code"] == "invalid"
    assert sent.json()["message"]
    assert sent.headers["x-request-id"]
    assert (await write(stack, line(1), path)).status_code == 204


async def test_telegraf_rule_401_and_403_are_kept_and_retried(stack: Stack) -> None:
    """A key that is unknown, and one that may not: neither is told as a fault of the batch."""
    unknown = await write(stack, line(1), headers={"x-api-key": "atl_0_0"})
    assert (unknown.status_code, unknown.json()["code"]) == (401, "unauthorized")
    await stack.sql("UPDATE api_keys SET scopes = '{read}'")
    async with open_stack(stack.database_url, api_key=stack.api_key) as fresh:
        forbidden = await write(fresh, line(1))
        assert (forbidden.status_code, forbidden.json()["code"]) == (403, "forbidden")


async def test_telegraf_rule_429_and_503_wait_as_they_are_told(stack: Stack) -> None:
    """A used-up quota is 429; at /write, where Telegraf drops every 4xx, it is 503."""
    await stack.sql("UPDATE tenants SET readings_per_s = 100")
    assert (await write(stack, "\n".join(line(n) for n in range(1_000)))).status_code == 204
    for path, status, code in ((V2, 429, "too many requests"), (V1, 503, "unavailable")):
        sent = await write(stack, line(5_000), path)
        assert (sent.status_code, sent.json()["code"]) == (status, code)
        assert 1 <= int(sent.headers["retry-after"]) <= 10
        assert "quota_readings" in sent.json()["message"]


async def test_telegraf_rule_503_while_nothing_is_committed(database_url: str) -> None:
    """With Retry-After, on both paths."""
    limits = EngineLimits(total_rows=1)
    async with open_stack(database_url, limits=limits) as stack, busy(stack):
        for path in (V1, V2):
            sent = await write(stack, line(1), path)
            assert (sent.status_code, sent.json()["code"]) == (503, "unavailable")
            assert int(sent.headers["retry-after"]) >= 1


def kinds(error: type[AtalaiaError]) -> set[type[AtalaiaError]]:
    """An error and what is one of it."""
    return {error}.union(*(kinds(kind) for kind in error.__subclasses__()))


def test_telegraf_rule_no_status_that_it_does_not_know() -> None:
    """Never 402, 404, 408, 409, 415 or 422, whatever goes wrong; what may be sent again later can
    be told from what is wrong, and nothing is told to be wrong that is only slow.
    """
    made: dict[type[AtalaiaError], AtalaiaError] = {
        QuotaUsedUp: QuotaUsedUp("x", code="quota_readings", wait_s=1),
        RuleInvalid: RuleInvalid("x", line=1, column=1, caret=""),
        RuleFileInvalid: RuleFileInvalid([RuleFileProblem(None, 1, 1, "x")]),
    }
    errors = [made[kind] if kind in made else kind() for kind in kinds(AtalaiaError)]
    errors += [AtalaiaError("x", code="dead_lettered")]
    assert len(errors) > 15
    for v1 in (False, True):
        for error in errors:
            rendered = InfluxFace(v1=v1).refuse(error, "id")
            later = isinstance(error, Overloaded | Unavailable | TooSlow)
            waits = ("retry-after" in dict(rendered.headers), rendered.status in (429, 503))
            assert waits == (later, later), error
            assert rendered.status in {400, 401, 403, 413, 500, 503} | {429} - {429 * v1}, error


async def test_telegraf_rule_lines_that_may_come_later_are_not_dropped(stack: Stack) -> None:
    """More new days than one request may open: 429 until all are there, never a 400."""
    day_ms = 86_400_000
    body = "\n".join(f"m,host=s v=1 {START_MS - n * 40 * day_ms}" for n in range(12))
    sent = await write(stack, body)
    assert (sent.status_code, "retry-after" in sent.headers) == (429, True)
    for _ in range(3):
        sent = await write(stack, body)
        if sent.status_code == 204:
            break
    assert sent.status_code == 204
    assert len(await stored(stack)) == 12


async def test_other_methods_are_told_which_one_it_is(stack: Stack) -> None:
    """405 with Allow."""
    for path in (V1, V2, "/api/v1/x/telemetry"):
        sent = await stack.client.get(path)
        assert (sent.status_code, sent.headers["allow"]) == (405, "POST")


async def test_ping_answers_as_influxdb_does(stack: Stack) -> None:
    """204 and a version, for GET and HEAD, without a key."""
    async with httpx.AsyncClient(base_url=stack.url) as anyone:
        for method in ("GET", "HEAD"):
            sent = await anyone.request(method, "/ping")
            assert (sent.status_code, sent.content) == (204, b"")
            assert sent.headers["x-influxdb-version"].startswith("atalaia-")
