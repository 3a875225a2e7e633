"""Things that a publisher may write and the driver could not read."""

import pytest
from aio_pika import DeliveryMode
from pamqp import decode

from atalaia.amqp import link  # noqa: F401 - it makes the driver lenient


def test_a_routing_key_that_is_no_text_is_read_as_one() -> None:
    """With what it is made of, so that a person sees it in the dead letter."""
    read = decode.METHODS["shortstr"]
    assert read(b"\x05v1.\xff\xfe...") == (6, "v1.\\xff\\xfe")
    assert read("\x05São.x".encode()) == (6, "São.")


@pytest.mark.parametrize(
    "entry",
    [
        b"\x02\xff\xfeI\x00\x00\x00\x01",  # a name that is no text
        b"\x01aQ",  # a type that is none
        b"\x01aT\xff\xff\xff\xff\xff\xff\xff\xff",  # after the last year
        b"\x01aF\x00\x00\x00\x02\x01b",  # a table that ends too early
        b"\x01aD\xff\x00\x00\x00\x01",  # a decimal of a scale that is none
    ],
)
def test_headers_that_cannot_be_read_are_none(entry: bytes) -> None:
    """And what follows them is found."""
    size = len(entry).to_bytes(4, "big")
    consumed, found = decode.METHODS["table"](size + entry + b"behind")
    assert consumed == 4 + len(entry)
    assert isinstance(found, dict)


def test_properties_are_read_whatever_they_say() -> None:
    """A time beyond all times, a delivery mode that is none."""
    consumed, when = decode.METHODS["timestamp"](b"\xff" * 8)
    assert consumed == 8
    assert when is not None
    assert DeliveryMode(7) is DeliveryMode.NOT_PERSISTENT
