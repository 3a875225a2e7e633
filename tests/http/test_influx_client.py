"""The unmodified influxdb-client from PyPI, in what test_influx.py leaves out: its batching writer
is refused, the synchronous one is throttled; both packed and not.
"""

import time
from typing import Any

import pytest
import trio
from influxdb_client.client.exceptions import InfluxDBError
from influxdb_client.client.write_api import SYNCHRONOUS, WriteOptions
from influxdb_client.domain.write_precision import WritePrecision

from tests.http.test_influx import connect, in_thread, line, stored
from tests.stack import Stack

pytestmark = pytest.mark.postgres

MS = WritePrecision.MS
Heard = list[tuple[str, int]]
"""What a batching writer was told: of which kind, and the status."""


def batched(
    stack: Stack, records: list[str], *, size: int, token: str = "", enable_gzip: bool = False
) -> tuple[Heard, list[str]]:
    """Write through the batching API; also the messages of what it gave up."""
    heard: Heard = []
    messages: list[str] = []

    def failed(_: object, __: object, error: Any) -> None:
        heard.append(("error", error.response.status))
        messages.append(error.message)

    options = WriteOptions(batch_size=size, flush_interval=50, retry_interval=200,
                           max_retries=5, max_retry_delay=3_000)  # fmt: skip
    with (
        connect(stack, token=token, enable_gzip=enable_gzip) as client,
        client.write_api(
            write_options=options,
            success_callback=lambda *_: heard.append(("success", 204)),
            error_callback=failed,
            retry_callback=lambda _, __, error: heard.append(("retry", error.response.status)),
        ) as api,
    ):
        for record in records:
            api.write("any", record=record, write_precision=MS)
    return heard, messages


@pytest.mark.parametrize("enable_gzip", [False, True])
async def test_the_batching_client_gives_up_what_is_wrong_and_goes_on(
    stack: Stack, enable_gzip: bool
) -> None:
    """A batch with a bad line is not sent again: its good lines are stored, the callback names the
    bad one, and the batches after it arrive.
    """
    records = [line(1), "m,host=s v=x", line(2), line(3), line(4), line(5)]
    heard, messages = await in_thread(
        lambda: batched(stack, records, size=3, enable_gzip=enable_gzip)
    )
    assert sorted(heard) == [("error", 400), ("success", 204)]
    assert "line 2" in messages[0]
    assert "1 refused, 2 taken" in messages[0]
    assert len(await stored(stack)) == 5


@pytest.mark.parametrize(
    ("token", "status"), [("atl_0_0", 401), (f"atl_{'0' * 16}_{'0' * 64}", 401)]
)
async def test_the_batching_client_is_told_of_a_wrong_token(
    stack: Stack, token: str, status: int
) -> None:
    """Once for each batch, without trying again; nothing is stored."""
    heard, messages = await in_thread(
        lambda: batched(stack, [line(n) for n in range(4)], size=2, token=token)
    )
    assert heard == [("error", status)] * 2
    assert all("API key" in message for message in messages)
    assert await stored(stack) == {}


@pytest.mark.parametrize("enable_gzip", [False, True])
async def test_the_synchronous_client_is_told_when_to_come_back(
    stack: Stack, enable_gzip: bool
) -> None:
    """429 as an error of its own with the delay; after it the same points are taken, once each."""
    await stack.sql("UPDATE tenants SET readings_per_s = 100")

    def work() -> tuple[int, float]:
        refused, waited_s = 0, 0.0
        with connect(stack, enable_gzip=enable_gzip) as client:
            api = client.write_api(write_options=SYNCHRONOUS)
            for number in range(4):
                records = [line(200 * number + n) for n in range(200)]
                while True:
                    try:
                        api.write("any", record=records, write_precision=MS)
                        break
                    except InfluxDBError as error:
                        assert error.response.status == 429
                        assert "quota_readings" in error.message
                        delay_s = int(error.retry_after or 0)
                        assert 1 <= delay_s <= 10
                        refused, waited_s = refused + 1, waited_s + delay_s
                        time.sleep(delay_s)
        return refused, waited_s

    with trio.fail_after(60):
        refused, waited_s = await in_thread(work)
    assert refused >= 1
    assert waited_s >= refused
    assert len(await stored(stack)) == 800


async def test_what_the_batching_client_waits_is_what_it_was_told(stack: Stack) -> None:
    """At 429 it heeds Retry-After: the quota is not asked more often than it says."""
    await stack.sql("UPDATE tenants SET readings_per_s = 200")
    began = time.monotonic()
    records = [line(n) for n in range(1_500)]
    heard, messages = await in_thread(lambda: batched(stack, records, size=500, enable_gzip=True))
    took_s = time.monotonic() - began
    retries = heard.count(("retry", 429))
    assert retries >= 1
    assert messages == []
    assert heard.count(("success", 204)) == 3
    assert took_s >= 1.0, "Retry-After is a second or more"
    assert len(await stored(stack)) == 1_500
