"""Parameters of queries: those that there are, and no others, which would seem to choose."""

import pytest

from atalaia.http.access import ROUTES
from atalaia.http.asked import known
from atalaia.http.faces import INGEST_PATH, JSON_PARAMETERS
from atalaia.http.influx import LINE_PARAMETERS
from atalaia.http.openapi.document import operations
from tests.people import add_user, bearer, client, tokens
from tests.stack import NOW_MS, Stack, row

pytestmark = pytest.mark.postgres

NOBODY = "00000000-0000-0000-0000-000000000000"
OF_READINGS = f"POST {INGEST_PATH}"


async def test_a_parameter_that_there_is_not_is_refused_at_every_route(stack: Stack) -> None:
    """With those that there are; before anything is done, and to nobody who may not call it."""
    await add_user(stack, "p@example.org", platform=True)
    async with (
        client(stack, bearer(await tokens(stack, "p@example.org"))) as person,
        client(stack) as stranger,
    ):
        for route, access in ROUTES.items():
            method, _, rule = route.partition(" ")
            if not rule.startswith("/v1/"):
                continue
            path = "/".join(NOBODY if "<" in part else part for part in rule.split("/"))
            asking = stack.client if route == OF_READINGS else person
            response = await asking.request(method, f"{path}?fil=null&limit=1")
            said = response.json()
            assert (response.status_code, said["code"]) == (400, "bad_parameter"), (route, said)
            assert said["detail"].startswith("fil: there is no such parameter here"), route
            for name in known()[route]:
                assert name in said["detail"].partition("there are: ")[2].rstrip(".").split(", ")
            if access.role is not None:
                assert (await stranger.request(method, f"{path}?fil=null")).status_code == 401
        head = await person.head("/v1/sensors?fil=null")
        assert head.status_code == 400


async def test_what_there_is_goes_on(stack: Stack) -> None:
    """As do the routes outside of /v1, which others' clients call with whatever they like."""
    for path in (
        "/v1/sensors?limit=1&group=a",
        "/health?x=1",
        "/ping?verbose=true",
        "/metrics?x=1",
    ):
        assert (await stack.client.get(path)).status_code < 300, path
    reading = row(NOW_MS // 1_000, 1.0)
    sent = await stack.client.post("/v1/readings?precision=s&bool=number", json=reading)
    assert sent.status_code == 200
    mistaken = await stack.client.post("/v1/readings?precison=s", json=reading)
    assert mistaken.status_code == 400
    assert mistaken.json()["detail"] == (
        "precison: there is no such parameter here; there are: precision, bool."
    )
    for path in ("/write?db=x&u=y&consistency=all", "/api/v2/write?org=o&bucket=b"):
        lines = await stack.client.post(path, content=b"m,sensor=s v=1")
        assert lines.status_code == 204, path
    path = f"/api/v1/{stack.api_key}/telemetry?x=1"
    assert (await stack.client.post(path, json={"t": 1})).status_code == 200


def test_the_roads_of_readings_know_what_is_told_of_them() -> None:
    """They do not look it up in the document."""
    assert tuple(known()[OF_READINGS]) == JSON_PARAMETERS
    assert "/write" not in " ".join(known())
    for route in ("POST /write", "POST /api/v2/write"):
        told = [one.name for one in operations()[route][1].parameters if one.where == "query"]
        assert tuple(told) == LINE_PARAMETERS
