"""Who is at the other end: the peer, or whom our proxies say they speak for."""

from typing import Any

import pytest

from atalaia.config.settings import ProxySettings, RateSettings
from atalaia.http.connection import Crowd
from atalaia.http.peers import Peers
from atalaia.http.rates import Rates
from atalaia.model.errors import Forbidden
from tests.people import add_user, client
from tests.stack import START_MS, open_stack, row

PEER = "10.0.0.9"
HTTPS = "https://api.example.com"


def peers(hops: int, url: str | None = None) -> Peers:
    return Peers(ProxySettings(hops, url), Rates(RateSettings()))


def scope(*sent: tuple[str, str]) -> dict[str, Any]:
    headers = [(name.encode(), value.encode("latin-1")) for name, value in sent]
    return {"headers": headers, "client": (PEER, 1234)}


@pytest.mark.parametrize(
    ("hops", "sent", "address"),
    [
        (0, ["1.1.1.1"], PEER),
        (1, [], PEER),
        (1, ["1.1.1.1"], "1.1.1.1"),
        (1, ["6.6.6.6, 1.1.1.1"], "1.1.1.1"),
        (1, ["6.6.6.6", "1.1.1.1"], "1.1.1.1"),
        (2, ["6.6.6.6, 1.1.1.1, 10.0.0.8"], "1.1.1.1"),
        (2, ["6.6.6.6,1.1.1.1", " 10.0.0.8 "], "1.1.1.1"),
        (2, ["1.1.1.1"], PEER),
        (1, ["1.1.1.1:4711"], "1.1.1.1"),
        (1, ["[2001:db8::1]:4711"], "2001:db8::1"),
        (1, ["2001:db8::1"], "2001:db8::1"),
        (1, ["unknown"], PEER),
        (1, ["1.1.1.1,"], PEER),
        (1, ["1.1.1.1, é"], PEER),
    ],
)
def test_the_client_is_the_nth_from_the_right(hops: int, sent: list[str], address: str) -> None:
    """What the client wrote itself stands left of it and is not looked at; what is no address, or
    came past a proxy, leaves the peer.
    """
    seen = scope(*(("x-forwarded-for", value) for value in sent))
    assert peers(hops).see(seen) == address
    assert seen["client"][0] == address


@pytest.mark.parametrize(
    ("hops", "url", "sent", "refused"),
    [
        (1, HTTPS, ["http"], True),
        (2, HTTPS, ["http"], True),
        (2, HTTPS, ["https"], False),
        (1, HTTPS, ["https, http"], True),
        (2, HTTPS, ["http, https"], True),
        (1, HTTPS, ["HTTP"], True),
        (1, HTTPS, ["http, https"], False),
        (1, HTTPS, [], False),
        (1, "http://api.example.com", ["http"], False),
        (1, None, ["http"], False),
        (0, HTTPS, ["http"], False),
    ],
)
def test_what_came_in_clear_is_refused(
    hops: int, url: str | None, sent: list[str], refused: bool
) -> None:
    """Where it is known that it should not have, from a proxy that is believed."""
    seen = scope(*(("x-forwarded-proto", value) for value in sent))
    if refused:
        with pytest.raises(Forbidden, match=HTTPS):
            peers(hops, url).check_secure(seen)
    else:
        peers(hops, url).check_secure(seen)


def test_a_proxy_may_have_all_connections() -> None:
    """They are its clients' and not its own."""
    crowd = Crowd(4, proxied=True)
    assert [crowd.enter("a") for _ in range(5)] == [True] * 4 + [False]


@pytest.mark.postgres
async def test_clients_behind_a_proxy_are_told_apart(database_url: str) -> None:
    """By the rates, the audit and the log; and nobody passes for another by writing a header."""
    rates = RateSettings(per_address=3)
    async with (
        open_stack(database_url, rates=rates, proxies=ProxySettings(1)) as stack,
        client(stack) as stranger,
    ):
        await add_user(stack, "m@example.org")

        async def status(said: str) -> int:
            sent = {"x-api-key": "no", "x-forwarded-for": said}
            return (await stranger.get("/v1/sensors", headers=sent)).status_code

        assert [await status(f"9.9.9.{n}, 1.1.1.1") for n in range(4)] == [401] * 3 + [429]
        assert await status("1.1.1.1, 2.2.2.2") == 401
        body = {"email": "m@example.org", "password": "a quiet evening by the sea"}
        signed_in = await stranger.post(
            "/v1/auth/login", json=body, headers={"x-forwarded-for": "6.6.6.6, 3.3.3.3"}
        )
        assert signed_in.status_code == 200
        (entry,) = (await stack.client.get("/v1/audit?action=session.began")).json()["data"]
        assert entry["detail"] == {"address": "3.3.3.3"}


@pytest.mark.postgres
async def test_without_a_proxy_nobody_is_believed(database_url: str) -> None:
    """The header is the client's own."""
    async with open_stack(database_url, rates=RateSettings(per_address=3)) as stack:
        statuses = [
            (
                await stack.client.get(
                    "/v1/sensors", headers={"x-api-key": "no", "x-forwarded-for": f"9.9.9.{n}"}
                )
            ).status_code
            for n in range(4)
        ]
    assert statuses == [401] * 3 + [429]


@pytest.mark.postgres
async def test_what_came_in_clear_is_told_so(database_url: str) -> None:
    """403 on every route that takes a credential; who looks whether it lives asks from inside."""
    proxies = ProxySettings(1, HTTPS)
    clear = {"x-forwarded-proto": "http", "x-forwarded-for": "1.1.1.1"}
    async with open_stack(database_url, proxies=proxies) as stack:
        for answer in (
            await stack.client.get("/v1/sensors", headers=clear),
            await stack.send([row(START_MS, 1)], headers=clear),
            await stack.client.post("/v1/auth/login", json={}, headers=clear),
        ):
            assert (answer.status_code, answer.json()["code"]) == (403, "https_required")
        assert (await stack.client.get("/health/live", headers=clear)).status_code == 200
        secure = clear | {"x-forwarded-proto": "https"}
        assert (await stack.client.get("/v1/sensors", headers=secure)).status_code == 200
