"""Our messages as aio-pika's, and back. Runs on the asyncio thread."""

from hashlib import blake2b

import aio_pika
from aio_pika.abc import AbstractIncomingMessage, DeliveryMode

from atalaia.amqp.messages import (
    ADDRESS,
    MESSAGE_ID,
    OURS_ALONE,
    PAID,
    PREFIX,
    Delivery,
    Message,
)

LONGEST_KEY = 255  # bytes of a routing key, which AMQP can carry
LONGEST_TEXT = 10_000


def outgoing(message: Message) -> aio_pika.Message:
    """Persistent. Ours is not AMQP's message id: the driver makes one for each publishing, since
    it tells returned messages apart by it."""
    ours = {ADDRESS: message.routing_key, MESSAGE_ID: message.message_id}
    return aio_pika.Message(
        message.body,
        headers={**message.headers, **ours},
        content_type=message.content_type or None,
        content_encoding=message.encoding or None,
        delivery_mode=DeliveryMode.PERSISTENT,
    )


def incoming(message: AbstractIncomingMessage, *, ours: bool | None = None) -> Delivery:
    """A message from MQTT has no id of ours: its contents are one. Whose it is, its topic alone
    says, and nothing of what only we may say of it: a device may write headers, too.

    ours: whether its headers are; None: unless its key is a topic. x-delivery-count: what a quorum
    queue counts.
    """
    before = message.headers.get("x-delivery-count", 0)
    headers = {name: value for name, value in message.headers.items() if _is_ours(name, value)}
    key, named = message.routing_key or "", headers.pop(ADDRESS, None)
    topic = key.startswith("v1.")
    if not topic and isinstance(named, str) and len(named.encode()) <= LONGEST_KEY:
        key = named
    if not (ours or (ours is None and not topic)):
        headers = {name: value for name, value in headers.items() if name not in OURS_ALONE}
    known = headers.pop(MESSAGE_ID, None)
    return Delivery(
        tag=message.delivery_tag or 0,
        before=before if isinstance(before, int) else 0,
        paid=headers.get(PAID) is True,
        message=Message(
            routing_key=key,
            body=message.body,
            content_type=message.content_type or "",
            encoding=message.content_encoding or "",
            headers=headers,
            message_id=known if isinstance(known, str) else _digest(key, message.body),
        ),
    )


def _is_ours(name: str, value: object) -> bool:
    """Of others' headers nothing is kept: what they hold may not be a thing that can be sent on."""
    short = not isinstance(value, str) or len(value) <= LONGEST_TEXT
    return name.startswith(PREFIX) and isinstance(value, str | bool | int) and short


def _digest(key: str, body: bytes) -> str:
    return blake2b(key.encode() + b"\0" + body, digest_size=16).hexdigest()
