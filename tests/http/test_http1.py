"""HTTP/1.1 is what is served; whoever asks for HTTP/2 is told so, or answered in HTTP/1.1."""

import pytest
from h2.connection import H2Connection

from tests.http.test_connections import raw
from tests.stack import Stack

pytestmark = pytest.mark.postgres

HEALTH = [(":method", "GET"), (":path", "/health/live"), (":scheme", "http"), (":authority", "x")]


async def test_http2_by_prior_knowledge_is_refused(stack: Stack) -> None:
    """With a status that says why, and the end of the connection."""
    client = H2Connection()
    client.initiate_connection()
    client.send_headers(1, HEALTH, end_stream=True)
    answer = await raw(stack, (client.data_to_send(), b"(closed)"))
    assert answer.startswith(b"HTTP/1.1 505 ")
    assert b"connection: close" in answer.lower()
    assert answer.endswith(b"(closed)")


@pytest.mark.parametrize("version", [b"2.0", b"3.0", b"0.9"])
async def test_other_versions_are_refused(stack: Stack, version: bytes) -> None:
    """Whatever the method."""
    head = b"GET /health/live HTTP/" + version + b"\r\nhost: x\r\n\r\n"
    assert (await raw(stack, (head, b"(closed)"))).startswith(b"HTTP/1.1 505 ")


async def test_an_upgrade_to_http2_is_ignored(stack: Stack) -> None:
    """The request is answered as it is, and the connection goes on."""
    client = H2Connection()
    settings = client.initiate_upgrade_connection() or b""
    head = b"GET /health/live HTTP/1.1\r\nhost: x\r\n"
    asked = b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: "
    again = (head + b"\r\n", b'"pass"}HTTP/1.1 200 ')
    answer = await raw(stack, (head + asked + settings + b"\r\n\r\n", b'"pass"}'), again)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"HTTP/1.1 200 ") == 2
