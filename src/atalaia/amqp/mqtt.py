"""Users for MQTT devices, made through RabbitMQ's management API.

A device may publish readings of its tenant and nothing else: the broker checks the topic, so that
a message's tenant is who its topic says. It may subscribe to nothing.
"""

import re
from urllib.parse import quote, unquote, urlsplit
from uuid import UUID

import attrs
import httpx

from atalaia.amqp.link import BrokerRefused, BrokerUnavailable
from atalaia.amqp.topology import MQTT_EXCHANGE

TAG = "atalaia_mqtt"  # marks users of ours: no other is ever changed
TIMEOUT_S = 10.0
MANAGEMENT_PORTS = {"amqp": ("http", 15672), "amqps": ("https", 15671)}


@attrs.frozen
class MqttUser:
    """What a device is told. login: as MQTT wants it, with the virtual host."""

    login: str
    password: str = attrs.field(repr=False)
    topic: str


def management_url(amqp_url: str) -> str:
    """Where the API of a broker listens by default."""
    parts = urlsplit(amqp_url)
    scheme, port = MANAGEMENT_PORTS.get(parts.scheme, ("http", 15672))
    host = parts.hostname or "localhost"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def make_mqtt_user(
    amqp_url: str, api_url: str, name: str, tenant_id: UUID, password: str
) -> MqttUser:
    """Make or renew a user who publishes for one tenant. The same however often.

    Raises BrokerRefused, BrokerUnavailable.
    """
    vhost = _vhost(amqp_url)
    with _client(amqp_url, api_url) as client:
        overview = _ask(client, "GET", "/api/overview")
        protocols = {listener["protocol"] for listener in overview.json()["listeners"]}
        if not protocols & {"mqtt", "mqtt/ssl"}:
            raise BrokerRefused(
                "RabbitMQ does not listen for MQTT. Run: rabbitmq-plugins enable rabbitmq_mqtt"
            )
        user, place = quote(name, safe=""), f"{quote(vhost, safe='')}/{quote(name, safe='')}"
        before = _ask(client, "GET", f"/api/users/{user}", missing=True)
        if before.status_code == 200 and TAG not in before.json()["tags"]:
            raise BrokerRefused(
                f'There is a user "{name}" that was not made by this command; choose another name.'
            )
        _ask(client, "PUT", f"/api/users/{user}", {"password": password, "tags": TAG})
        rights = {"configure": "^$", "write": f"^{re.escape(MQTT_EXCHANGE)}$", "read": "^$"}
        # The topic first: with the right to publish alone every tenant's topic would be open.
        topics = {"exchange": MQTT_EXCHANGE, "write": topic_pattern(tenant_id), "read": "^$"}
        _ask(client, "PUT", f"/api/topic-permissions/{place}", topics)
        _ask(client, "PUT", f"/api/permissions/{place}", rights)
    login = name if vhost == "/" else f"{vhost}:{name}"
    return MqttUser(login, password, f"v1/{tenant_id}/<sensor>/readings")


def drop_mqtt_users(amqp_url: str, api_url: str, tenant_id: UUID) -> list[str]:
    """Take away what lets devices publish for this tenant; returns the users' names.

    Their connections are closed, too. A user of ours who may do nothing else is deleted. Raises
    BrokerRefused, BrokerUnavailable.
    """
    with _client(amqp_url, api_url) as client:
        vhost = quote(_vhost(amqp_url), safe="")
        held = _ask(client, "GET", f"/api/vhosts/{vhost}/topic-permissions").json()
        names = sorted({one["user"] for one in held if one["write"] == topic_pattern(tenant_id)})
        for name in names:
            user = quote(name, safe="")
            # The right to publish first: without a topic's it would hold for every tenant.
            _ask(client, "DELETE", f"/api/permissions/{vhost}/{user}", missing=True)
            _ask(client, "DELETE", f"/api/topic-permissions/{vhost}/{user}", missing=True)
            known = _ask(client, "GET", f"/api/users/{user}", missing=True)
            left = _ask(client, "GET", f"/api/users/{user}/permissions", missing=True)
            if known.status_code == 200 and TAG in known.json()["tags"] and not left.json():
                _ask(client, "DELETE", f"/api/users/{user}", missing=True)
            for connection in _ask(client, "GET", "/api/connections").json():
                if connection.get("user") == name and connection.get("vhost") == _vhost(amqp_url):
                    place = quote(connection["name"], safe="")
                    _ask(client, "DELETE", f"/api/connections/{place}", missing=True)
        return names


def topic_pattern(tenant_id: UUID) -> str:
    """The routing keys that a tenant's devices may use."""
    return rf"^v1\.{tenant_id}\..+\.readings$"


def _vhost(amqp_url: str) -> str:
    return unquote(urlsplit(amqp_url).path.removeprefix("/")) or "/"


def _client(amqp_url: str, api_url: str) -> httpx.Client:
    parts = urlsplit(amqp_url)
    auth = (unquote(parts.username or "guest"), unquote(parts.password or "guest"))
    return httpx.Client(base_url=api_url, auth=auth, timeout=TIMEOUT_S)


def _ask(
    client: httpx.Client, method: str, path: str, json: object = None, *, missing: bool = False
) -> httpx.Response:
    """missing: 404 is an answer too."""
    try:
        response = client.request(method, path, json=json)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise BrokerUnavailable(
            f"RabbitMQ's management API at {client.base_url} does not answer ({error}). Run: "
            "rabbitmq-plugins enable rabbitmq_management, or name it with --management"
        ) from error
    if response.status_code == 401:
        raise BrokerRefused(
            "The user of RABBITMQ_URL may not manage RabbitMQ. "
            "Run: rabbitmqctl set_user_tags NAME administrator"
        )
    if response.is_success or (missing and response.status_code == 404):
        return response
    raise BrokerRefused(f"RabbitMQ refuses {method} {path}: {response.text[:300]}")
