"""What any publisher may write, read by the driver without complaint.

RabbitMQ takes a routing key, a header or a delivery mode that pamqp and aio-pika refuse to read;
they then end the connection, or forget the message, and a single device would stop everybody's
readings. Here such things are read as something harmless: whose message it is, and what is wrong
with it, is said later, by a dead letter.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from aio_pika import DeliveryMode
from pamqp import decode

_LENGTH_BYTES = 4
_EPOCH = datetime.fromtimestamp(0, UTC)


def _short_text(value: bytes) -> tuple[int, str]:
    end = 1 + value[0]
    return end, value[1:end].decode(errors="backslashreplace")


def _table(value: bytes) -> tuple[int, dict[str, Any]]:
    """Without all of its headers where one of them cannot be read."""
    try:
        return decode.field_table(value)
    except (ValueError, ArithmeticError, KeyError, TypeError, OSError):
        return _LENGTH_BYTES + int.from_bytes(value[:_LENGTH_BYTES], "big"), {}


def _timestamp(value: bytes) -> tuple[int, datetime]:
    try:
        return decode.timestamp(value)
    except (ValueError, ArithmeticError, OSError):
        return 8, _EPOCH


def _any_mode(cls: type[DeliveryMode], value: object) -> DeliveryMode:
    return cls.NOT_PERSISTENT


def read_leniently() -> None:
    """Once, before the first connection."""
    methods: dict[str, Callable[[bytes], tuple[int, Any]]] = decode.METHODS
    methods |= {"shortstr": _short_text, "table": _table, "timestamp": _timestamp}
    headers: dict[bytes, Callable[[bytes], tuple[int, Any]]] = decode.TABLE_MAPPING
    headers |= {b"F": _table, b"T": _timestamp}
    DeliveryMode._missing_ = classmethod(_any_mode)  # type: ignore
