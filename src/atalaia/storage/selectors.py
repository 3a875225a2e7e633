"""Selectors of rules as SQL: what they match, without loading every sensor."""

import re
from collections.abc import Sequence
from uuid import UUID

import asyncpg

from atalaia.model.views import SeriesView
from atalaia.ports import SeriesFilter
from atalaia.rules.syntax import Selector
from atalaia.storage.state import newest_aio

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


async def count_sensors_aio(
    connection: asyncpg.Connection, selectors: Sequence[Selector]
) -> list[int]:
    """How many living sensors of the tenant each selector matches, in one pass over them."""
    if not selectors:
        return []
    texts: list[str] = []
    counts = ", ".join(
        f"count(*) FILTER (WHERE {_condition(selector, texts)})" for selector in selectors
    )
    row = await connection.fetchrow(
        f"SELECT {counts} FROM sensors WHERE deleted_at IS NULL",  # noqa: S608
        *texts,
    )
    return list(row)


async def find_series_aio(
    connection: asyncpg.Connection, wanted: SeriesFilter, limit: int
) -> list[SeriesView]:
    """Series of living sensors, by the names of sensor and metric, with their newest times."""
    texts: list[str] = []
    matches = "true" if wanted.selector is None else _condition(wanted.selector, texts)
    rows = await connection.fetch(
        "SELECT e.series_id, s.name, e.metric"  # noqa: S608 - texts of ours
        " FROM sensors s JOIN series e USING (tenant_id, sensor_id)"
        f" WHERE s.deleted_at IS NULL AND {matches}"
        f" AND (${len(texts) + 1}::text[] IS NULL OR s.name = ANY(${len(texts) + 1})"
        f" OR s.sensor_uuid = ANY(${len(texts) + 2}::uuid[]))"
        f" AND (${len(texts) + 3}::text[] IS NULL OR e.metric = ANY(${len(texts) + 3}))"
        f" ORDER BY s.name, e.metric LIMIT ${len(texts) + 4}",
        *texts,
        None if wanted.sensors is None else list(wanted.sensors),
        [UUID(text) for text in wanted.sensors or () if is_uuid(text)],
        None if wanted.metrics is None else list(wanted.metrics),
        limit,
    )
    newest = await newest_aio(connection, [row["series_id"] for row in rows])
    return [
        SeriesView(row["series_id"], row["name"], row["metric"], newest.get(row["series_id"]))
        for row in rows
    ]


def is_uuid(text: str) -> bool:
    """Whether the text is a sensor's id as we write it. A name may read the same."""
    return _UUID.fullmatch(text) is not None


def _condition(selector: Selector, texts: list[str]) -> str:
    """The selector's condition; what the tenant wrote is added to `texts` and stays a parameter."""
    tests = ["true"]
    if selector.name is not None:
        tests.append(f"name {_test(selector.name, texts, exact=selector.exact)}")
    for tag in selector.tags:
        texts.append(tag.tag)
        tests.append(f"tags ->> ${len(texts)}::text {_test(tag.pattern, texts, exact=tag.exact)}")
    return " AND ".join(tests)


def _test(pattern: str, texts: list[str], *, exact: bool) -> str:
    texts.append(pattern if exact else _like(pattern))
    return f"{'=' if exact else 'LIKE'} ${len(texts)}::text"


def _like(pattern: str) -> str:
    """The pattern of * and ? in the words of LIKE."""
    meaning = {"\\": "\\\\", "%": "\\%", "_": "\\_", "*": "%", "?": "_"}
    return "".join(meaning.get(character, character) for character in pattern)
