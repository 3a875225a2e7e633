"""Readings as columns: what one request or delivery brings.

No Python object per reading: names are factorised, the rest are numpy arrays of one length.
The invariant is `sent == len(batch) + len(rejects)`.
"""

import re
from collections.abc import Mapping, Set
from types import MappingProxyType
from typing import NamedTuple

import attrs
import numpy as np
import numpy.typing as npt

Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

SENSOR_NAME = re.compile(r"[A-Za-z0-9_\-:.]{1,128}")
"""What the name of a sensor may be."""

MAX_TAGS = 32
MAX_TAG_CHARS = 128
"""Of a tag's name and of its value."""

Tags = Mapping[str, str]
NO_TAGS: Mapping[str, Tags] = MappingProxyType({})


def merge_tags(own: Tags, said: Tags, about: Set[str]) -> Tags:
    """A sensor's own tags, but for those that are spoken of: they are as is said, or not at all."""
    return {tag: value for tag, value in own.items() if tag not in about} | dict(said)


class SeriesName(NamedTuple):
    """A series as its sender names it. A tuple, because it is hashed for every batch."""

    sensor: str
    metric: str


@attrs.frozen
class Reject:
    """One row refused, by its place in the body (from 0), with a stable code and a cure."""

    index: int
    code: str
    detail: str


@attrs.frozen(eq=False)
class Batch:
    """The rows of one request in body order.

    names: the distinct series of this batch; idx: int32[n] into names; ts: int64[n] UTC epoch µs;
    value: float64[n], finite; row: int32[n], each row's index in the body (for later rejects);
    rejects: rows that could not be read, sorted by index; sent: rows in the body. tags: of sensors
    by name, for those that are seen for the first time; ignored: what is no reading and was not
    meant as one.
    """

    names: tuple[SeriesName, ...]
    idx: Int32s
    ts: Int64s
    value: Floats
    row: Int32s
    rejects: tuple[Reject, ...]
    sent: int
    tags: Mapping[str, Tags] = NO_TAGS
    ignored: int = 0

    def __len__(self) -> int:
        return len(self.ts)

    @property
    def sensors(self) -> set[str]:
        """The names of those that are in it."""
        return {name.sensor for name in self.names}
