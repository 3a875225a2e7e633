"""Every example of the document is sent; the answers are what it shows, and as it says."""

from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema_rs
import msgspec
import pytest
import yaml

from atalaia.http.errors import PROBLEM_JSON
from atalaia.http.openapi.document import build, operations, template
from atalaia.http.openapi.operation import JSON, NDJSON
from atalaia.http.openapi.responses import HEADERS
from atalaia.http.openapi.subjects.rules import YAML
from tests.http.openapi.world import examples, open_world, strict_document
from tests.stack import Stack

pytestmark = pytest.mark.postgres

ESTIMATES = {"bytes_now", "bytes_then", "ns_per_reading", "seq"}
"""What depends on the machine and the moment."""


def faults(document: dict[str, Any], schema: dict[str, Any], value: object) -> list[str]:
    """What a validator says of a value; references are to the document's components."""
    whole = schema | {"components": document["components"]}
    validator = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
    return [f"{error.instance_path}: {error.message}" for error in validator.iter_errors(value)]


def resolved(document: dict[str, Any], told: dict[str, Any]) -> dict[str, Any]:
    """What a reference to a component stands for."""
    if "$ref" not in told:
        return told
    found: Any = document
    for name in told["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    return found  # type: ignore[no-any-return]


def judged(document: dict[str, Any], told: dict[str, Any], response: httpx.Response) -> list[str]:
    """What is wrong with an answer: status, headers, media type, shape."""
    status = str(response.status_code)
    if status not in told["responses"]:
        return [f"status {status} is not told"]
    said = resolved(document, told["responses"][status])
    wrong = []
    for name, header in said["headers"].items():
        known = resolved(document, header)
        value = response.headers.get(name)
        if value is None:
            wrong += [f"header {name} is missing"] if known.get("required") else []
        elif known["schema"]["type"] == "string":
            wrong += faults(document, known["schema"], value)
        else:
            wrong += faults(document, known["schema"], int(value))
    told_headers = {name.lower() for name in said["headers"]}
    wrong += [
        f"header {name} is not told"
        for name in HEADERS
        if name in response.headers and name.lower() not in told_headers
    ]
    content = said.get("content")
    kind = response.headers.get("content-type", "").partition(";")[0]
    if content is None:
        return [*wrong, f"a body of {kind}"] if response.content else wrong
    if kind not in content:
        return [*wrong, f"media type {kind} is not told"]
    if kind in (JSON, PROBLEM_JSON):
        return wrong + faults(document, content[kind]["schema"], response.json())
    if kind == YAML:
        return wrong + faults(document, content[kind]["schema"], yaml.safe_load(response.text))
    if kind == NDJSON and "x-lines" in content[kind]:
        for line in response.text.splitlines():
            wrong += faults(document, content[kind]["x-lines"], msgspec.json.decode(line))
    return wrong


def told_of(document: dict[str, Any], route: str) -> dict[str, Any]:
    method, _, rule = route.partition(" ")
    return document["paths"][template(rule)][method.lower()]  # type: ignore[no-any-return]


def steady(value: Any) -> Any:
    """Without estimates, and lists in one order: keys are listed by ids, which are drawn."""
    if isinstance(value, dict):
        return {name: steady(one) for name, one in value.items() if name not in ESTIMATES}
    return sorted(map(steady, value), key=repr) if isinstance(value, list) else value


def shown(told: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Every answer that is shown: status, name of the example, value."""
    for status, response in told["responses"].items():
        for content in response.get("content", {}).values():
            for name, example in content.get("examples", {}).items():
                yield status, name, example["value"]


async def test_every_example_is_answered_as_the_document_says(stack: Stack) -> None:
    """Its status, headers, media type and shape, with nothing in it that is not told; and, but for
    ids, secrets and times, the very answer that is shown.
    """
    document = strict_document()
    wrong: list[object] = []
    count = 0
    async with open_world(stack) as world:
        for route, told, example in examples():
            response = await world.execute(route, told, example)
            wanted = example.status or next(iter(told.answers))
            if response.status_code != wanted:
                wrong.append((route, example.name, response.status_code, response.text))
                continue
            operation = told_of(document, route)
            wrong += [(route, example.name, one) for one in judged(document, operation, response)]
            for status, name, value in shown(operation):
                if (status, name) == (str(wanted), example.name) and value is not None:
                    count += 1
                    if steady(world.told(response)) != steady(value):
                        wrong.append((route, name, "run: python -m tests.house.openapi",
                                      world.told(response), value))  # fmt: skip
    assert wrong == []
    assert count > 60


def test_every_operation_has_an_example() -> None:
    """But for the document, which cannot hold itself."""
    without = {told.name for _, told in operations().values() if not told.examples}
    assert without == {"openapi"}


def test_what_examples_send_is_of_the_shape_that_is_told() -> None:
    """Bodies and parameters of every example that is meant to be taken."""
    document = build()
    wrong = []
    for route, _, example in examples():
        if example.status is not None and example.status >= 400:
            continue
        operation = told_of(document, route)
        for parameter in operation["parameters"]:
            parameter = resolved(document, parameter)
            given = parameter.get("examples", {}).get(example.name)
            if given is not None and parameter["schema"].get("type") not in ("boolean", "integer"):
                wrong += [(route, one) for one in
                          faults(document, parameter["schema"], given["value"])]  # fmt: skip
        if example.body is not None:
            schema = operation["requestBody"]["content"][example.content_type]["schema"]
            wrong += [(route, one) for one in faults(document, schema, example.body)]
    assert wrong == []
