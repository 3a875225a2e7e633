"""`atalaia broker` and `atalaia dlq`, as whoever looks after the service meets them."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
import trio

from atalaia.amqp.dead_letters import Letter
from atalaia.amqp.feed import open_feed_aio
from atalaia.amqp.link import BrokerRefused
from atalaia.amqp.outlet import open_outlet_aio
from atalaia.amqp.topology import READINGS, shard_name
from tests.amqp.stack import QUICK, Road, plain
from tests.broker import Node
from tests.cli.runner import Here
from tests.stack import NOW_MS, START_MS, row

pytestmark = [pytest.mark.postgres, pytest.mark.rabbit]


@attrs.frozen(eq=False)
class Commands:
    """The command line, in a thread of its own: it runs an event loop, as this test does."""

    road: Road
    here: Here

    async def __call__(self, *words: object, url: str | None = None) -> tuple[int, str]:
        arguments = [*map(str, words), "--url", url or self.road.amqp_url]
        return await trio.to_thread.run_sync(lambda: self.here(*arguments))


@pytest.fixture
def command(road: Road, capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(road, Here(capsys))


async def letters(road: Road, many: Callable[[int], bool]) -> list[Letter]:
    with trio.fail_after(10):
        while not many(len(found := await road.letters())):
            await trio.sleep(0.05)
    return found


async def test_setup_says_what_stands_and_what_stands_in_the_way(
    command: Commands, broker: Node
) -> None:
    """The same twice; another number of shards, other limits and a wrong URL say what to do."""
    with broker.vhost() as url:
        code, first = await command("broker", "setup", "--shards", 2, url=url)
        assert code == 0, first
        assert "tenants over 2 queues" in first
        assert "256 MiB each" in first
        assert "queue atalaia.turn: one message" in first
        code, again = await command("broker", "setup", "--shards", 2, url=url)
        assert code == 0
        assert "which were there" in again
        code, said = await command("broker", "setup", "--shards", 3, url=url)
        assert code == 1
        assert "There are 2 shards already, not 3" in said
        assert "--shards 2" in said
        code, said = await command("broker", "setup", "--shards", 2, "--queue-mib", 1, url=url)
        assert code == 1
        assert "exists with other arguments" in said
        code, said = await command("broker", "setup", url=url + "x")
        assert code == 1
        assert "rabbitmqctl add_vhost" in said
        code, said = await command("broker", "setup", url=url.replace("guest:guest", "guest:x"))
        assert code == 1
        assert "user or password" in said
    for url, expected in (("amqp://127.0.0.1:1/", 1), ("nonsense", 1)):
        code, said = await command("broker", "setup", url=url)
        assert (code, said.count("atalaia:")) == (expected, 1), said
    code, said = await command("broker", "setup", url="amqp://localhost:1/")
    assert (code, "nothing listens at localhost:1" in said) == (1, True), said
    code, said = await command("broker", "setup", "--shards", 0)
    assert (code, "1 to 100" in said) == (2, True)


async def test_a_shard_that_was_deleted_is_named_and_made_anew(
    command: Commands, broker: Node
) -> None:
    """Whichever it is: who only counted those that are there would send tenants elsewhere."""
    with broker.vhost() as url:
        vhost = url.rsplit("/", 1)[1]
        assert (await command("broker", "setup", "--shards", 3, url=url))[0] == 0
        for number in (2, 0, 1):
            name = shard_name(number)
            await trio.to_thread.run_sync(broker.api, "DELETE", f"/api/queues/{vhost}/{name}")
            with pytest.raises(BrokerRefused, match=rf"{name} is missing.*setup --shards 3"):
                await command.road.stack.bridge.call(open_outlet_aio, url, READINGS, "test")
            with pytest.raises(BrokerRefused, match=f"{name} is missing"):
                await command.road.stack.bridge.call(open_feed_aio, url, QUICK)
            assert (await command("broker", "setup", "--shards", 3, url=url))[0] == 0
        feed = await command.road.stack.bridge.call(open_feed_aio, url, QUICK)
        assert feed.shards == 3
        await command.road.stack.bridge.call(feed.close_aio)


async def test_a_user_for_devices_is_made_by_a_command(command: Commands, broker: Node) -> None:
    """It prints what the device is told; twice, it is a new password."""
    tenant = await command.road.tenant_id()
    words = ("broker", "mqtt-user", "pumps", "--tenant", tenant, "--management", broker.api_url)
    code, said = await command(*words)
    assert code == 0, said
    vhost = command.road.amqp_url.rsplit("/", 1)[1]
    assert f"MQTT user: {vhost}:pumps" in said
    assert f"v1/{tenant}/<sensor>/readings" in said
    again = (await command(*words))[1]
    passwords = [re.findall(r"password: (\S+)", text) for text in (said, again)]
    assert len({*passwords[0], *passwords[1]}) == 2
    code, said = await command("broker", "mqtt-user", "pumps", "--tenant", "me")
    assert (code, "--tenant is an id" in said) == (2, True)
    code, said = await command(*words[:-1], "http://127.0.0.1:1")
    assert (code, "rabbitmq_management" in said) == (1, True)


async def test_a_user_for_nobodys_devices_is_not_made(
    command: Commands, broker: Node, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What they sent would belong to nobody. Where nobody can be asked that is said."""
    nobody = "00000000-0000-7000-8000-000000000001"
    monkeypatch.setenv("DATABASE_URL", command.road.stack.database_url)
    words = ("broker", "mqtt-user", "pumps", "--management", broker.api_url, "--tenant")
    code, said = await command(*words, nobody)
    assert (code, f"The database knows no tenant {nobody}" in said) == (1, True)
    assert "MQTT user" not in said
    code, said = await command(*words, await command.road.tenant_id())
    assert (code, "looked up" in said) == (0, False)
    monkeypatch.delenv("DATABASE_URL")
    code, said = await command(*words, nobody, "--data-dir", tmp_path)
    assert (code, "the tenant was not looked up: There are no cred" in said) == (0, True)


async def test_letters_are_listed_shown_and_dropped(command: Commands) -> None:
    """By reason, tenant and time; nothing is dropped that was not named; looking takes nothing."""
    road = command.road
    tenant = await road.tenant_id()
    await road.publish(
        plain(tenant, b"{\x1b[2Joops"),
        plain(tenant, json.dumps([row(NOW_MS + 10**9, 1)]).encode()),
        plain("nobody", b"[]"),
    )
    async with road.consumer():
        found = await letters(road, lambda n: n == 3)
    code, said = await command("dlq", "list")
    assert code == 0, said
    for letter in found:
        assert letter.message.message_id in said
    assert "more than" not in said
    code, said = await command("dlq", "list", "--limit", 2)
    assert (code, said.count("Z "), "there are more than 2" in said) == (0, 2, True)
    for reason in ("bad_json", "future_timestamp", "bad_routing_key"):
        code, said = await command("dlq", "list", "--reason", reason)
        assert said.count("Z ") == 1, said
        assert reason in said
    (unread,) = (letter for letter in found if letter.reason == "bad_json")
    code, said = await command("dlq", "show", unread.message.message_id)
    assert code == 0
    assert "routing key: " + tenant in said
    assert "oops" in said
    assert "\x1b" not in said
    assert (await command("dlq", "show", "none"))[0] == 1
    code, said = await command("dlq", "list", "--since", "2100-01-01T00:00:00Z")
    assert "bad_json" not in said
    assert (await command("dlq", "list", "--since", "yesterday"))[0] == 2
    code, said = await command("dlq", "drop")
    assert (code, "Say which" in said) == (2, True)
    code, said = await command("dlq", "drop", "--tenant", tenant, "--dry-run")
    assert (code, "2 would be dropped" in said) == (0, True)
    code, said = await command("dlq", "drop", "--tenant", tenant, "--reason", "bad_json")
    assert (code, "1 dropped" in said) == (0, True)
    assert len(await road.letters()) == 2
    assert "2 dropped" in (await command("dlq", "drop", "--everything"))[1]
    assert await road.letters() == []


async def test_a_replay_is_idempotent(command: Commands) -> None:
    """What has become storable is stored, once, however often it is sent; the rest comes back."""
    road = command.road
    tenant = await road.tenant_id()
    good = [row(START_MS + n, n) for n in range(3)]
    nobody = "01990000-0000-7000-8000-0000000000aa"
    await road.publish(
        plain(nobody, json.dumps(good).encode()), plain(tenant, b"{"), plain(tenant, b"{")
    )
    async with road.consumer():
        await letters(road, lambda n: n == 3)
    # The tenant comes into being: what was sent to it is good now.
    await road.stack.sql("UPDATE tenants SET tenant_uuid = $1::uuid", nobody)
    code, said = await command("dlq", "replay", "--tenant", nobody, "--dry-run")
    assert (code, "1 would be sent again" in said) == (0, True)
    assert len(await road.letters()) == 3
    code, said = await command("dlq", "replay", "--tenant", nobody, "--rate", 50)
    assert (code, "1 sent again" in said) == (0, True)
    async with road.consumer():
        await road.holds(3)
    assert len(await road.letters()) == 2
    await road.publish(plain(nobody, json.dumps(good).encode()))  # as a replay cut short leaves it
    code, said = await command("dlq", "replay")
    assert (code, "2 sent again" in said) == (0, True)
    async with road.consumer():
        again = await letters(road, lambda n: n == 2)
        await road.until_waiting(0)
    assert await road.stored() == 3
    assert {letter.tenant for letter in again} == {tenant}
    assert {letter.reason for letter in again} == {"unknown_tenant"}
    assert (await command("dlq", "replay", "--rate", 0))[0] == 2
