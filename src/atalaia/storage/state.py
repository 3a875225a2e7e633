"""The packed state row of one tenant and commit, and reading it back.

Little-endian arrays: series int4[], newest and judged int8[] (UTC epoch µs; judged is empty when it
is newest), rule_states opaque records of the rules package. Recovery is the last snapshot plus the
rows after it, later ones winning.
"""

from collections.abc import Mapping, Sequence

import asyncpg
import attrs
import numpy as np

from atalaia.model.batch import Int32s, Int64s
from atalaia.model.ids import Micros, SeriesNo

NEVER = np.iinfo(np.int64).min  # among the judged: nothing yet
_SINCE_SNAPSHOT = (
    "FROM tenant_state WHERE received_at >= coalesce("
    "(SELECT max(received_at) FROM tenant_state WHERE snapshot), 0) ORDER BY received_at"
)


@attrs.frozen(eq=False)
class CommittedState:
    """A tenant's state as of its last commit. judged: as in `TenantImage`."""

    newest: Mapping[SeriesNo, Micros]
    judged: Mapping[SeriesNo, Micros]
    rule_states: bytes
    last_received: Micros
    deltas: int


def pack_series(series: Int32s) -> bytes:
    return series.astype("<i4").tobytes()


def pack_times(times: Int64s) -> bytes:
    return times.astype("<i8").tobytes()


async def last_received_aio(connection: asyncpg.Connection) -> Micros | None:
    """When the newest committed batch of the tenant arrived."""
    last: Micros | None = await connection.fetchval("SELECT max(received_at) FROM tenant_state")
    return last


async def newest_aio(
    connection: asyncpg.Connection, wanted: Sequence[SeriesNo]
) -> dict[SeriesNo, Micros]:
    """The newest event time of these series alone; the rule states stay where they are."""
    rows = await connection.fetch(f"SELECT series, newest {_SINCE_SNAPSHOT}")
    return _times([(row["series"], row["newest"]) for row in rows], wanted)


def _times(
    packed: Sequence[tuple[bytes, bytes]], wanted: Sequence[SeriesNo]
) -> dict[SeriesNo, Micros]:
    found: dict[SeriesNo, Micros] = {}
    for numbers, times in packed:
        series = np.frombuffer(numbers, "<i4")
        asked = np.isin(series, wanted)
        at = np.frombuffer(times, "<i8")[asked]
        found.update(zip(series[asked].tolist(), at.tolist(), strict=True))
    return found


async def sensor_state_aio(
    connection: asyncpg.Connection, wanted: Sequence[SeriesNo]
) -> tuple[dict[SeriesNo, Micros], dict[SeriesNo, Micros], bytes]:
    """The newest event times of these series, stored and judged, and all rule states, of the same
    moment. What was never judged is left out.
    """
    rows = await connection.fetch(f"SELECT series, newest, judged, rule_states {_SINCE_SNAPSHOT}")
    newest = _times([(row["series"], row["newest"]) for row in rows], wanted)
    judged = _times([(row["series"], row["judged"] or row["newest"]) for row in rows], wanted)
    judged = {series: at for series, at in judged.items() if at != NEVER}
    return newest, judged, b"".join(row["rule_states"] for row in rows)


async def load_state_aio(connection: asyncpg.Connection) -> CommittedState:
    """The state of the tenant that this transaction is set to."""
    rows = await connection.fetch(
        f"SELECT received_at, snapshot, series, newest, judged, rule_states {_SINCE_SNAPSHOT}"
    )
    newest: dict[SeriesNo, Micros] = {}
    judged: dict[SeriesNo, Micros] = {}
    for row in rows:
        series = np.frombuffer(row["series"], "<i4").tolist()
        times = np.frombuffer(row["newest"], "<i8").tolist()
        newest.update(zip(series, times, strict=True))
        if row["judged"]:
            times = np.frombuffer(row["judged"], "<i8").tolist()
        if row["judged"] or judged:
            judged.update(zip(series, times, strict=True))
    return CommittedState(
        newest=newest,
        judged={series: ts for series, ts in judged.items() if ts != newest[series]},
        rule_states=b"".join(row["rule_states"] for row in rows),
        last_received=Micros(rows[-1]["received_at"]) if rows else Micros(0),
        deltas=sum(not row["snapshot"] for row in rows),
    )
