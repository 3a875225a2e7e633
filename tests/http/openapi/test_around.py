"""What is told of routes of a kind is done at each of them, and at no other."""

from collections.abc import Mapping
from typing import get_origin

import attrs
import jsonschema_rs
import pytest

from atalaia.http import conditions, once, rates
from atalaia.http.errors import problem
from atalaia.http.openapi import responses
from atalaia.http.openapi.around import KEY, TAGS, is_counted
from atalaia.http.openapi.document import operations
from atalaia.http.openapi.operation import Page
from atalaia.http.openapi.responses import RATES
from atalaia.http.openapi.subjects.series import Latest
from atalaia.model import errors
from atalaia.model.standing import Standing
from tests.http.openapi.world import examples, open_world, strict_document
from tests.stack import Stack

ONCE = [f"POST {rule}" for rule in once.ROUTES]


def having(name: str, where: str) -> set[str]:
    """The routes that have a parameter."""
    return {
        route
        for route, (_, told) in operations().items()
        for one in told.parameters
        if (one.name, one.where) == (name, where)
    }


@pytest.mark.postgres
async def test_what_a_parameter_may_not_say_is_refused_where_it_is_told(stack: Stack) -> None:
    """Each header and `count`, at each route that is told to read it."""
    bad: list[tuple[set[str], Mapping[str, str], Mapping[str, str], str]] = [
        (having("If-Match", "header"), {"If-Match": "x"}, {}, "bad_condition"),
        (having("If-None-Match", "header"), {"If-None-Match": "x"}, {}, "bad_condition"),
        (set(ONCE), {"Idempotency-Key": '"'}, {}, "bad_idempotency_key"),
        (having("count", "query"), {}, {"count": "yes"}, "bad_parameter"),
    ]
    asked = set()
    async with open_world(stack) as world:
        for route, told, example in examples():
            if example.status is not None:  # it asks for something that is refused anyway
                continue
            for routes, headers, query, code in bad:
                if route not in routes or not route.partition(" ")[2].startswith("/v1/"):
                    continue
                sent = attrs.evolve(
                    example,
                    headers={**example.headers, **headers},
                    query={**example.query, **query},
                )
                answer = await world.execute(route, told, sent)
                assert (answer.status_code, answer.json()["code"]) == (400, code), (route, code)
                asked.add((route, code))
    assert len(asked) == len(conditions.READ) + len(conditions.CHANGED) + len(ONCE) + 11


def test_the_tables_are_told() -> None:
    """Of the routes that have tags, that depend on them, that are done once, that are lists."""
    assert having("If-Match", "header") == set(conditions.CHANGED)
    tagged = {*conditions.READ, *conditions.CHANGED}
    assert having("If-None-Match", "header") >= tagged
    assert having("Idempotency-Key", "header") == set(ONCE)
    lists = {
        route
        for route, (_, told) in operations().items()
        for answer in told.answers.values()
        if any(get_origin(shape) is Page or shape is Latest for shape in answer.shapes)
    }
    assert having("count", "query") == lists


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        (TAGS, ['"a"', 'W/"a"', "*", ' "a" , W/"b"', '"a","b"', '"a",'],
         ["", "a", '"a" "b"', '"', "**", '"a",*']),
        (KEY.schema, ["a", '"a b"', "~" * 255], ["", '"', "a b", "a" * 256, "\\"]),
    ],
    ids=["tags", "key"],
)  # fmt: skip
def test_a_pattern_takes_what_is_read(
    schema: dict[str, object], good: list[str], bad: list[str]
) -> None:
    """And refuses what is refused; tests/http/test_conditions.py and test_once.py send the same."""
    validator = jsonschema_rs.Draft202012Validator(schema)
    assert [one for one in good if not validator.is_valid(one)] == []
    assert [one for one in bad if validator.is_valid(one)] == []


def test_where_a_sender_stands_is_told_of_every_counted_answer() -> None:
    """In the names that `rates` gives."""
    names = {name.decode() for name, _ in rates.fields([Standing("key", 1, 1.0, 1, 0.0)])}
    assert {name.lower() for name in RATES} == names
    document = strict_document()
    for path, methods in document["paths"].items():
        for told in methods.values():
            for status, answer in told["responses"].items():
                if "headers" in answer and is_counted(path):
                    assert set(RATES) <= set(answer["headers"]), (path, status)
    for answer in document["components"]["responses"].values():
        assert set(RATES) <= set(answer["headers"])


def test_every_problem_is_of_the_shape_that_is_told() -> None:
    """With the bucket that is empty."""
    document = strict_document()
    schema = {"$ref": "#/components/schemas/Problem", "components": document["components"]}
    validator = jsonschema_rs.Draft202012Validator(schema)
    buckets = [errors.TooManyRequests(bucket="key"), errors.Overloaded(bucket="key-bytes")]
    for error in (*responses.SAMPLES, *buckets):
        said = problem(error, "0" * 32)
        assert [fault.message for fault in validator.iter_errors(said)] == [], said
    assert "bucket" in problem(buckets[0], "0" * 32)
    assert {"https_required", "tiny_chunks"} <= {one.code for one in responses.SAMPLES}


def test_a_message_is_one_line() -> None:
    """Also where its class has two."""
    for error in responses.SAMPLES:
        assert error.detail == " ".join(error.detail.split())
