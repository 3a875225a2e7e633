"""What alerts were opened on: written in the commit that opens them, and read back whole.

Which of a window's readings were late only the store can say: they are counted in the same
transaction, by arrival, so that the count is a function of the committed readings too.
"""

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

import asyncpg
import attrs
import msgspec

from atalaia.model.alert import POINT, Opening, Samples, Transition
from atalaia.model.views import OpeningView
from atalaia.ports import CommitItem
from atalaia.storage.partitions import PartitionMap


def _openings(items: Sequence[CommitItem]) -> Iterator[tuple[CommitItem, Transition, Opening]]:
    for item in items:
        for step in item.transitions:
            if step.opening is not None:
                yield item, step, step.opening


async def write_evidence_aio(
    connection: asyncpg.Connection, partitions: PartitionMap, items: Sequence[CommitItem]
) -> None:
    """Store the evidence of every opening of a group, after its readings and alerts."""
    found = list(_openings(items))
    if not found:
        return
    late = await _count_late_aio(connection, partitions, found)
    counted = iter(late)
    await connection.execute(
        "INSERT INTO alert_evidence (tenant_id, alert_id, record, samples, late)"
        " SELECT tenant_id, alert_id, record::json, samples, late::int4[]"
        " FROM unnest($1::int4[], $2::uuid[], $3::text[], $4::bytea[], $5::text[])"
        " AS new (tenant_id, alert_id, record, samples, late)",
        [item.tenant_no for item, _, _ in found],
        [step.alert_id for _, step, _ in found],
        [_record(opening) for _, _, opening in found],
        [b"".join(sample.points for sample in opening.samples) for _, _, opening in found],
        [f"{{{','.join(str(next(counted)) for _ in one.samples)}}}" for _, _, one in found],
    )


async def _count_late_aio(
    connection: asyncpg.Connection,
    partitions: PartitionMap,
    found: Sequence[tuple[CommitItem, Transition, Opening]],
) -> list[int]:
    """Per opening and metric: late readings in the window that came with its batch or before."""
    asked = [
        (item.tenant_no, step.sensor_no, sample.metric, step.at - sample.window_us, step.at,
         step.arrived)
        for item, step, opening in found
        for sample in opening.samples
    ]  # fmt: skip
    counts = [0] * len(asked)
    if not asked:
        return counts
    columns = [list(column) for column in zip(*asked, strict=True)]
    for table in partitions.touching(min(columns[3]), max(columns[4])):
        rows = await connection.fetch(
            "SELECT w.nr, count(*) AS n"  # noqa: S608 - a name of our own making
            " FROM unnest($1::int4[], $2::int4[], $3::text[], $4::timestamptz[],"
            " $5::timestamptz[], $6::timestamptz[]) WITH ORDINALITY"
            " AS w (tenant_id, sensor_id, metric, low, high, arrived, nr)"
            " JOIN series USING (tenant_id, sensor_id, metric)"
            f" JOIN {table} r ON r.series_id = series.series_id AND r.ts > w.low"
            " AND r.ts <= w.high AND r.late AND r.received_at <= w.arrived GROUP BY w.nr",
            *columns,
        )
        for row in rows:
            counts[row["nr"] - 1] += row["n"]
    return counts


def _record(opening: Opening) -> str:
    """As JSON, the points apart: numbers in jsonb would cost more than all the rest."""
    bare = attrs.evolve(
        opening,
        samples=tuple(attrs.evolve(sample, points=b"") for sample in opening.samples),
    )
    kept = [len(sample.points) // POINT.itemsize for sample in opening.samples]
    return msgspec.json.encode({"opening": bare, "kept": kept}).decode()


class _Record(msgspec.Struct):
    opening: Opening
    kept: list[int]


async def opening_aio(connection: asyncpg.Connection, alert_id: UUID) -> OpeningView | None:
    """None for an alert that was opened before evidence was kept."""
    row = await connection.fetchrow(
        "SELECT record, samples, late FROM alert_evidence WHERE alert_id = $1", alert_id
    )
    return None if row is None else _view(row)


def _view(row: asyncpg.Record | dict[str, Any]) -> OpeningView:
    record = msgspec.json.decode(row["record"], type=_Record)
    samples: list[Samples] = []
    at = 0
    for sample, kept in zip(record.opening.samples, record.kept, strict=True):
        end = at + kept * POINT.itemsize
        samples.append(attrs.evolve(sample, points=row["samples"][at:end]))
        at = end
    return OpeningView(attrs.evolve(record.opening, samples=tuple(samples)), tuple(row["late"]))
