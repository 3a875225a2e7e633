"""Devices over MQTT: from a publish to a committed reading, and never into another tenant."""

import json
import threading
from uuid import UUID

import paho.mqtt.client as mqtt
import pytest
import trio
from paho.mqtt.enums import CallbackAPIVersion

from atalaia.amqp.link import BrokerRefused
from atalaia.amqp.messages import Message
from atalaia.amqp.mqtt import MqttUser, make_mqtt_user
from tests.amqp.stack import Road, until
from tests.stack import START_MS, make_tenant

pytestmark = [pytest.mark.postgres, pytest.mark.rabbit]


class Device:
    """A client of paho-mqtt; `send` says whether the broker acknowledged in time."""

    def __init__(self, road: Road, user: MqttUser) -> None:
        self.connected, self.refused = threading.Event(), threading.Event()
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self.client.username_pw_set(user.login, user.password)
        self.client.on_connect = lambda *_: self.connected.set()
        self.client.on_disconnect = lambda *_: self.refused.set()
        self.client.connect("127.0.0.1", road.broker.mqtt_port)
        self.client.loop_start()
        assert self.connected.wait(10)
        self.refused.clear()

    def send(self, topic: str, payload: object) -> bool:
        message = self.client.publish(topic, json.dumps(payload), qos=1)
        for _ in range(200):
            if self.refused.wait(0.02) or message.is_published():
                break
        return message.is_published() and not self.refused.is_set()

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


async def user_for(road: Road, name: str, tenant: str) -> MqttUser:
    return await trio.to_thread.run_sync(
        make_mqtt_user, road.amqp_url, road.broker.api_url, name, UUID(tenant), f"{name}-secret"
    )


async def send(road: Road, user: MqttUser, topic: str, *payloads: object) -> list[bool]:
    def run() -> list[bool]:
        device = Device(road, user)
        try:
            return [device.send(topic, payload) for payload in payloads]
        finally:
            device.close()

    return await trio.to_thread.run_sync(run)


async def test_a_devices_readings_are_stored_under_the_sensor_of_its_topic(road: Road) -> None:
    """A row, rows, columns; without a sensor or with a false one; points in a name."""
    tenant = await road.tenant_id()
    user = await user_for(road, "gateway", tenant)
    payloads = (
        {"metric": "t", "ts": START_MS, "value": 1},
        [{"sensor": "forged", "metric": "t", "ts": START_MS + 1, "value": 2}],
        {"metric": "t", "ts": [START_MS + 2, START_MS + 3], "value": [3, 4]},
    )
    async with road.consumer():
        sent = await send(road, user, f"v1/{tenant}/pump.1:a/readings", *payloads)
        assert sent == [True, True, True]
        await road.holds(4)
    found = (await road.stack.client.get("/v1/sensors")).json()["data"]
    assert [sensor["name"] for sensor in found] == ["pump.1:a"]
    assert (await road.stack.sql("SELECT count(*) AS n FROM readings WHERE late"))[0]["n"] == 0


async def test_another_tenants_topic_is_refused(road: Road) -> None:
    """By the broker: nothing of it reaches a queue, whatever the payload claims."""
    other = await road.tenant_id(
        await make_tenant(road.stack.bridge, road.stack.database_url, "other")
    )
    mine = await road.tenant_id()
    user = await user_for(road, "intruder", mine)
    reading = {"metric": "t", "ts": START_MS, "value": 1}
    for topic in (f"v1/{other}/s/readings", f"v1/{mine}/s/commands", f"v2/{mine}/s/readings"):
        assert (await send(road, user, topic, reading)) == [False]
    assert await road.waiting() == 0
    async with road.consumer():
        assert await send(road, user, f"v1/{mine}/s/readings", reading) == [True]
        await road.holds(1)


async def test_a_device_subscribes_to_nothing(road: Road) -> None:
    """Not even to its own tenant's topics."""
    tenant = await road.tenant_id()
    user = await user_for(road, "listener", tenant)
    seen = []

    def run() -> None:
        device = Device(road, user)
        device.client.on_message = lambda *_: seen.append(1)
        device.client.subscribe(f"v1/{tenant}/#", qos=1)
        device.refused.wait(2)
        device.close()

    await trio.to_thread.run_sync(run)
    other = await user_for(road, "speaker", tenant)
    await send(
        road, other, f"v1/{tenant}/s/readings", {"metric": "t", "ts": 1767225600000, "value": 1}
    )
    assert seen == []


async def test_a_payload_that_is_none_is_a_dead_letter(road: Road) -> None:
    """With its topic: it can be looked at, and sent again once it is understood."""
    tenant = await road.tenant_id()
    user = await user_for(road, "broken", tenant)
    async with road.consumer():
        assert await send(road, user, f"v1/{tenant}/s/readings", "hello") == [True]
        await road.until_waiting(0)
        with trio.fail_after(10):
            while not (letters := await road.letters()):
                await trio.sleep(0.05)
    (letter,) = letters
    assert (letter.reason, letter.tenant) == ("bad_body", tenant)
    assert letter.message.routing_key == f"v1.{tenant}.s.readings"


async def test_users_of_others_are_left_alone(road: Road) -> None:
    """The same name twice is a new password; an administrator's is refused."""
    tenant = await road.tenant_id()
    await user_for(road, "twice", tenant)
    user = await user_for(road, "twice", tenant)
    assert user.topic == f"v1/{tenant}/<sensor>/readings"
    with pytest.raises(BrokerRefused, match="not made by this command"):
        await user_for(road, "guest", tenant)


def _text(text: bytes) -> bytes:
    return len(text).to_bytes(2, "big") + text


def _packet(kind: int, content: bytes) -> bytes:
    assert len(content) < 16_384
    size = len(content)
    length = bytes([size]) if size < 128 else bytes([size % 128 | 128, size // 128])
    return bytes([kind]) + length + content


async def test_a_topic_that_is_no_text_stops_nobody(road: Road) -> None:
    """RabbitMQ takes it: it becomes a dead letter, and the next message is stored."""
    tenant = await road.tenant_id()
    user = await user_for(road, "odd", tenant)
    connect = _text(b"MQTT") + b"\x04\xc2\x00\x3c" + _text(b"odd")
    connect += _text(user.login.encode()) + _text(user.password.encode())
    topic = f"v1/{tenant}/".encode() + b"\xff\xfe/readings"
    stream = await trio.open_tcp_stream("127.0.0.1", road.broker.mqtt_port)
    async with stream:
        await stream.send_all(_packet(0x10, connect))
        assert (await stream.receive_some())[0] == 0x20
        await stream.send_all(_packet(0x32, _text(topic) + b"\x00\x01" + b"{}"))
        assert (await stream.receive_some())[0] == 0x40  # it is acknowledged
    async with road.consumer():
        payload = {"metric": "t", "ts": START_MS, "value": 1}
        assert await send(road, user, f"v1/{tenant}/s/readings", payload) == [True]
        await road.holds(1)
        await until(lambda: _has_letters(road, 1))
    (letter,) = await road.letters()
    assert letter.tenant == tenant
    assert "\\xff" in letter.message.routing_key


async def _has_letters(road: Road, count: int) -> bool:
    return len(await road.letters()) == count


async def test_one_devices_poison_holds_up_no_other(road: Road) -> None:
    """Hundreds of bad messages of one tenant are letters in the time of a few."""
    tenant = await road.tenant_id()
    other = await road.tenant_id(await make_tenant(road.stack.bridge, road.stack.database_url))
    bad = [Message(f"v1.{tenant}.s.readings", b"{", "", "", {}) for _ in range(100)]
    payload = json.dumps({"metric": "t", "ts": START_MS, "value": 1}).encode()
    await road.publish(*bad, Message(f"v1.{other}.s.readings", payload, "", "", {}))
    async with road.consumer() as consumer:
        await road.holds(1)
        await until(lambda: _has_letters(road, 100), 60.0)
        assert consumer._session is not None
        crossings = consumer._session._letters.crossings
    assert crossings < 50
