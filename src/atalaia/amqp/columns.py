"""Rows of a batch written anew, as JSON columns in µs. Pure."""

from collections.abc import Iterator
from itertools import pairwise

import msgspec
import numpy as np

from atalaia.model.batch import Batch, Int64s


def encode_rows(batch: Batch, rows: Int64s) -> bytes:
    """These rows, by their place in the batch; what is first of a series stays first."""
    by_name = rows[np.argsort(batch.idx[rows], kind="stable")]
    idx = batch.idx[by_name]
    begins = np.flatnonzero(np.diff(idx, prepend=-1)).tolist()
    ts, value = batch.ts[by_name].tolist(), batch.value[by_name].tolist()
    columns = []
    for begin, end in pairwise([*begins, len(by_name)]):
        name = batch.names[idx[begin]]
        columns.append({
            "sensor": name.sensor, "metric": name.metric,
            "ts": ts[begin:end], "value": value[begin:end],
        })  # fmt: skip
    return msgspec.json.encode(columns)


def split_rows(batch: Batch, max_bytes: int) -> list[bytes]:
    """All rows, in as few texts of at most so many bytes as halving makes. In order of time, so
    that no series is late because of it."""
    everything = np.arange(len(batch))
    whole = encode_rows(batch, everything)
    if len(whole) <= max_bytes or len(batch) == 1:
        return [whole]
    return list(_halves(batch, everything[np.argsort(batch.ts, kind="stable")], max_bytes))


def _halves(batch: Batch, rows: Int64s, max_bytes: int) -> Iterator[bytes]:
    middle = len(rows) // 2
    for half in (rows[:middle], rows[middle:]):
        data = encode_rows(batch, half)
        if len(data) <= max_bytes or len(half) == 1:
            yield data
        else:
            yield from _halves(batch, half, max_bytes)
