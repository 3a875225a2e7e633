"""A ZIP archive as it grows: what has been made is taken out, and nothing of it is kept but the
list of its files, with the size and the SHA-256 of each.

Sizes are written behind each file and in 64 bits, since nobody knows them before. Knows no clock:
whoever makes it says what time it is.
"""

import hashlib
import zipfile
from datetime import datetime
from typing import IO, Any

import attrs

from atalaia.wire.drain import Drain

LEVEL = 6


@attrs.frozen
class ZippedFile:
    """A file of the archive. rows: lines of data; size: before it was packed."""

    name: str
    rows: int
    size: int
    sha256: str


@attrs.define(eq=False)
class Zipper:
    """One file after the other: begin, write, end; at last `finish`. at: the time of all files."""

    at: datetime
    files: list[ZippedFile] = attrs.field(factory=list)
    _drain: Drain = attrs.field(factory=Drain)
    _zip: zipfile.ZipFile = attrs.field(init=False)
    _open: IO[bytes] | None = None
    _name: str = ""
    _rows: int = 0
    _size: int = 0
    _hash: Any = None

    def __attrs_post_init__(self) -> None:
        drain: Any = self._drain
        self._zip = zipfile.ZipFile(drain, "w")

    def begin(self, name: str) -> None:
        info = zipfile.ZipInfo(name, self.at.timetuple()[:6])
        info.compress_type, info._compresslevel = zipfile.ZIP_DEFLATED, LEVEL  # type: ignore[attr-defined]
        info.external_attr = 0o100600 << 16  # whoever unpacks it owns it, and nobody else reads it
        self._open = self._zip.open(info, "w", force_zip64=True)
        self._name, self._rows, self._size, self._hash = name, 0, 0, hashlib.sha256()

    def write(self, data: bytes, rows: int = 0) -> None:
        """Into the file that was begun."""
        if self._open is None:
            raise AssertionError("no file was begun")
        self._open.write(data)
        self._hash.update(data)
        self._rows += rows
        self._size += len(data)

    def end(self) -> None:
        if self._open is None:
            raise AssertionError("no file was begun")
        self._open.close()
        self._open = None
        self.files.append(ZippedFile(self._name, self._rows, self._size, self._hash.hexdigest()))

    def add(self, name: str, data: bytes) -> None:
        """A whole file."""
        self.begin(name)
        self.write(data)
        self.end()

    def finish(self) -> None:
        """Write the archive's own list of files; it is whole then."""
        self._zip.close()

    def close(self) -> None:
        """Also of an archive that is given up: what would still be written goes nowhere."""
        if self._open is not None:
            self._open.close()
            self._open = None
        self._zip.close()
        self._drain.take()

    def take(self) -> bytes:
        """What has been made since it was asked for last."""
        return self._drain.take()
