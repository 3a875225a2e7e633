"""How an operation is told: what is said of a route beside what the code says of it itself."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Generic, Literal, TypeVar

import attrs
import msgspec

Schema = dict[str, Any]
"""JSON Schema 2020-12, as OpenAPI 3.1 has it."""

JSON, NDJSON = "application/json", "application/x-ndjson"

T = TypeVar("T")


def said(description: str, *examples: Any) -> msgspec.Meta:
    """What is to be known of a field of an answer."""
    return msgspec.Meta(description=description, examples=list(examples) or None)


Time = Annotated[
    str,
    msgspec.Meta(
        extra_json_schema={
            "format": "date-time",
            "examples": ["2026-01-31T12:00:00.000000Z"],
        }
    ),
]
"""RFC 3339 in UTC with µs."""

DURATION = "^([0-9]{1,9}(ms|s|m|h|d))+$"
Duration = Annotated[str, msgspec.Meta(pattern=DURATION, examples=["30s"])]
"""As the rule language writes it."""


NEXT = said("Pass it as `cursor`; null on the last page.")


class Page(msgspec.Struct, Generic[T]):
    """A part of a list. The next one is asked for with its cursor."""

    data: list[T]
    next_cursor: Annotated[str | None, NEXT]
    total: Annotated[int | msgspec.UnsetType, said("Of all pages; with `count=true` alone.")] = (
        msgspec.UNSET
    )


def components(shapes: Sequence[Any]) -> tuple[tuple[Schema, ...], dict[str, Schema]]:
    """What stands for each shape, and the schemas that this refers to."""
    return msgspec.json.schema_components(shapes, ref_template="#/components/schemas/{name}")


def reference(*shapes: Any) -> Schema:
    """What stands for one of these shapes."""
    refs, _ = components(shapes)
    return refs[0] if len(refs) == 1 else {"anyOf": [*refs]}


@attrs.frozen
class Parameter:
    """Of the query, unless it is said to be elsewhere. Those of paths are always required."""

    name: str
    description: str
    schema: Schema
    where: Literal["query", "path", "header"] = "query"
    required: bool = False


@attrs.frozen
class Of:
    """A body that is read as an attrs class: fields, types and defaults are its own.

    told: of every field what is to be known beside that, as JSON Schema; whole: of all of them
    together. Names that are words of Python's are as in the body (`since` is `from`).
    """

    kind: type[Any]
    told: Mapping[str, Schema]
    whole: Schema = attrs.field(factory=dict)


@attrs.frozen
class Body:
    """What is sent, by media type."""

    content: Mapping[str, Of | Schema]
    required: bool = True

    @classmethod
    def of(cls, kind: type[Any], told: Mapping[str, Schema], *, required: bool = True) -> "Body":
        return cls({JSON: Of(kind, told)}, required)


def _several(shapes: Any) -> tuple[Any, ...]:
    return shapes if isinstance(shapes, tuple) else (shapes,)


@attrs.frozen
class Answer:
    """What comes when all is well. shapes: one of these comes, types that msgspec knows, as JSON
    when content_types do not say otherwise; without one whatever they say. lines: what each line
    of a stream of JSON is.
    """

    description: str
    shapes: Sequence[Any] = attrs.field(default=(), converter=_several)
    content_types: Sequence[str] = ()
    headers: Sequence[str] = ()
    lines: Sequence[Any] = ()


@attrs.frozen
class Example:
    """A request that is executed by a test; its answer is recorded and shown.

    status: what is answered; the first of the operation's answers when not said.
    """

    name: str
    summary: str
    path: Mapping[str, str] = attrs.field(factory=dict)
    query: Mapping[str, Any] = attrs.field(factory=dict)
    headers: Mapping[str, str] = attrs.field(factory=dict)
    body: Any = None
    content_type: str = JSON
    status: int | None = None


@attrs.frozen
class Operation:
    """name: the operationId. errors: by status, what they mean here, and of what shape they are
    when they say more than others; those that every route may answer need not be said. face:
    whose errors these are.
    """

    name: str
    summary: str
    description: str = ""
    parameters: Sequence[Parameter] = ()
    body: Body | None = None
    answers: Mapping[int, Answer] = attrs.field(factory=dict)
    errors: Mapping[int, str | Answer] = attrs.field(factory=dict)
    examples: Sequence[Example] = ()
    face: Literal["ours", "influx"] = "ours"


@attrs.frozen
class Subject:
    """Routes that belong together, by `METHOD /rule` as `access` has them."""

    name: str
    description: str
    operations: Mapping[str, Operation]
