"""Content encodings are bounded."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atalaia.model.errors import Invalid, TooLarge, UnsupportedEncoding
from atalaia.wire.inflate import MAX_MEMBERS, inflate


def raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


@given(st.binary(max_size=500))
def test_what_was_packed_comes_out(body: bytes) -> None:
    """gzip, several gzip members, deflate with and without its wrapper, identity."""
    for packed, encoding in (
        (gzip.compress(body), "gzip"), (zlib.compress(body), "deflate"),
        (raw_deflate(body), "deflate"), (body, "identity"), (body, ""),
    ):  # fmt: skip
        assert inflate(packed, encoding, max_bytes=500) == body
    assert inflate(gzip.compress(body) * 2, "x-gzip", max_bytes=1000) == body * 2


def test_a_bomb_is_too_large_before_it_is_large() -> None:
    """In each encoding, one byte over the limit is enough."""
    for packed, encoding in ((gzip.compress(bytes(10**7)), "gzip"), (b"x" * 101, "identity"),
                             (gzip.compress(b"x" * 60) * 2, "gzip")):  # fmt: skip
        with pytest.raises(TooLarge):
            inflate(packed, encoding, max_bytes=100)


def test_members_are_bounded_because_each_costs_a_copy_of_the_rest() -> None:
    """Many empty ones would be a body that takes seconds."""
    member = gzip.compress(b"x")
    assert inflate(member * MAX_MEMBERS, "gzip", max_bytes=1000) == b"x" * MAX_MEMBERS
    with pytest.raises(Invalid) as caught:
        inflate(member * (MAX_MEMBERS + 1), "gzip", max_bytes=1000)
    assert caught.value.code == "bad_encoding"


@pytest.mark.parametrize(
    ("body", "encoding"),
    [(b"no gzip", "gzip"), (gzip.compress(b"hello")[:-3], "gzip"), (b"", "gzip"),
     (zlib.compress(b"x") + b"more", "deflate")],
)  # fmt: skip
def test_damaged_bodies_are_named(body: bytes, encoding: str) -> None:
    """bad_encoding, with the reason."""
    with pytest.raises(Invalid) as caught:
        inflate(body, encoding, max_bytes=100)
    assert caught.value.code == "bad_encoding"


def test_other_encodings_are_unsupported() -> None:
    """br and whatever else."""
    with pytest.raises(UnsupportedEncoding):
        inflate(b"", "br", max_bytes=100)
