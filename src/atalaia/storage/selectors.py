"""Selectors of rules as SQL: to count what they match without loading every sensor."""

from collections.abc import Sequence

import asyncpg

from atalaia.rules.syntax import Selector


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
