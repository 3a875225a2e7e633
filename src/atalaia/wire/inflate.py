"""Content encodings, bounded: a small bomb never becomes a large memory."""

import zlib

from atalaia.model.errors import Invalid, TooLarge, UnsupportedEncoding

_GZIP, _ZLIB, _RAW = 31, 15, -15
MAX_MEMBERS = 100  # of gzip: zlib copies what follows each, so many would cost their square


def inflate(body: bytes, encoding: str, *, max_bytes: int) -> bytes:
    """The decoded body, at most max_bytes long.

    encoding: identity, gzip (up to MAX_MEMBERS one after another) or deflate (zlib, or raw as
    some clients send it). Raises UnsupportedEncoding, TooLarge, Invalid (`bad_encoding`).
    """
    if encoding in ("", "identity"):
        if len(body) > max_bytes:
            raise TooLarge(f"A body may have {max_bytes} bytes; send smaller batches.")
        return body
    if encoding in ("gzip", "x-gzip"):
        return _decompress(body, _GZIP, max_bytes, members=MAX_MEMBERS)
    if encoding == "deflate":
        wrapped = len(body) > 1 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0
        return _decompress(body, _ZLIB if wrapped else _RAW, max_bytes, members=1)
    raise UnsupportedEncoding


def _decompress(body: bytes, window: int, max_bytes: int, *, members: int) -> bytes:
    parts: list[bytes] = []
    room = max_bytes
    for _ in range(members):
        stream = zlib.decompressobj(window)
        try:
            part = stream.decompress(body, room + 1)
        except zlib.error as error:
            raise Invalid(
                f"The body is not what content-encoding says: {error}.", code="bad_encoding"
            ) from error
        if len(part) > room:
            raise TooLarge(f"A body may have {max_bytes} bytes inflated; send smaller batches.")
        if not stream.eof:
            raise Invalid("The compressed body ends too early.", code="bad_encoding")
        parts.append(part)
        room -= len(part)
        body = stream.unused_data
        if not body:
            return b"".join(parts)
    raise Invalid(
        f"Bytes follow the compressed body; gzip may have {MAX_MEMBERS} members, deflate one.",
        code="bad_encoding",
    )
