"""One canonical line for each request, for machines."""

import pytest
import structlog
from structlog.testing import capture_logs

from tests.stack import START_MS, Stack, row

pytestmark = pytest.mark.postgres


async def test_each_request_has_one_line_with_its_ids(stack: Stack) -> None:
    """Whichever road it took; below what a person sees."""
    with capture_logs([structlog.contextvars.merge_contextvars]) as lines:
        sent = await stack.send([row(START_MS, 1)])
        read = await stack.client.get("/v1/sensors/s")
        stranger = await stack.send([row(START_MS, 1)], headers={"X-API-Key": "none"})
    found = [line for line in lines if line["event"] == "request_answered"]
    tenant = await stack.tenant_no()
    assert [
        (line["request_id"], line["route"], line["status"], line.get("tenant_no")) for line in found
    ] == [
        (sent.headers["x-request-id"], "/v1/readings", 200, tenant),
        (read.headers["x-request-id"], "/v1/sensors/<sensor>", 200, tenant),
        (stranger.headers["x-request-id"], "/v1/readings", 401, None),
    ]
    assert {line["log_level"] for line in found} == {"debug"}
