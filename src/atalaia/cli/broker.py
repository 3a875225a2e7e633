"""`atalaia broker`: what must stand in RabbitMQ before readings come through it."""

import os
import secrets
import sys
from pathlib import Path
from typing import Annotated
from uuid import UUID

from cyclopts import App, Parameter

from atalaia.cli.amqp import USUAL, Broker, crossing, reported
from atalaia.cli.database import DataDir, database_url, with_bridge
from atalaia.cli.ids import tenant_id
from atalaia.model.errors import Invalid, NotFound, StartupRefused

app = App(name="broker", help="Set up RabbitMQ: queues, and users for MQTT devices.")


@app.command
def setup(*, shards: int = 16, queue_mib: int = 256, broker: Broker = USUAL) -> int:
    """Make the exchanges and queues; again changes nothing.

    Parameters
    ----------
    shards
        Queues that tenants are spread over, 1 to 100. It cannot be changed later without
        draining them.
    queue_mib
        How much one of them holds before its publishers are refused, in MiB.
    """

    def run() -> int:
        from atalaia.amqp.topology import MIB, Topology, setup_aio

        if not (1 <= shards <= 100 and 1 <= queue_mib <= 1_000_000):
            raise Invalid("--shards is 1 to 100, --queue-mib 1 to 1000000.")
        topology = Topology(shards=shards, shard_bytes=queue_mib * MIB)
        for line in crossing(setup_aio, broker.address(), topology):
            print(line)
        return 0

    return reported(run)


@app.command
def mqtt_user(
    name: str,
    /,
    *,
    tenant: str,
    management: Annotated[str | None, Parameter(env_var="RABBITMQ_MANAGEMENT_URL")] = None,
    data_dir: DataDir = None,
    broker: Broker = USUAL,
) -> int:
    """Make a user for a tenant's MQTT devices, or give it a new password.

    The broker's URL is that of a user who is an administrator there.

    The password is that of ATALAIA_MQTT_PASSWORD, or a new one, which is shown once.

    Parameters
    ----------
    name
        The user's name.
    tenant
        The tenant's id, as in credentials.json. The database must know it, where it can be asked.
    management
        Its management API; default: the broker's host, port 15672.
    data_dir
        Where credentials.json is, unless DATABASE_URL is set.
    """

    def run() -> int:
        from atalaia.amqp.mqtt import make_mqtt_user, management_url

        whose, url = tenant_id(tenant, "--tenant"), broker.address()
        _check_tenant(whose, data_dir)
        given = os.environ.get("ATALAIA_MQTT_PASSWORD")
        made = make_mqtt_user(
            url,
            management or management_url(url),
            name,
            whose,
            given or secrets.token_urlsafe(24),
        )
        print(f"MQTT user: {made.login}")
        if not given:
            print(f"password:  {made.password}")
        print(f"topic:     {made.topic}")
        return 0

    return reported(run)


def _check_tenant(whose: UUID, data_dir: Path | None) -> None:
    """Raises NotFound. A broker's machine may have no way to the database: that is said."""
    from atalaia.storage.accounts import tenant_is_known

    try:
        known = with_bridge(tenant_is_known, database_url(data_dir), whose)
    except StartupRefused as error:
        print(f"atalaia: the tenant was not looked up: {error.detail}", file=sys.stderr)
        return
    if not known:
        raise NotFound(f"The database knows no tenant {whose}; `atalaia quotas show` lists all.")


@app.command
def forget(
    tenant: str,
    /,
    *,
    management: Annotated[str | None, Parameter(env_var="RABBITMQ_MANAGEMENT_URL")] = None,
    broker: Broker = USUAL,
) -> int:
    """Take from RabbitMQ what is a tenant's: its MQTT users, and its queue for later.

    For a tenant that is erased. What lies in the dead letters stays: see dlq drop.

    Parameters
    ----------
    tenant
        The tenant's id.
    management
        RabbitMQ's management API; default: the broker's host, port 15672.
    """

    def run() -> int:
        from atalaia.amqp.forget import drop_queue_aio
        from atalaia.amqp.mqtt import drop_mqtt_users, management_url

        whose, url = tenant_id(tenant), broker.address()
        for name in drop_mqtt_users(url, management or management_url(url), whose):
            print(f"MQTT user {name} may publish no more")
        messages = crossing(drop_queue_aio, url, whose)
        print(f"queue for later deleted, with {messages} messages")
        return 0

    return reported(run)
