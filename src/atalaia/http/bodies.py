"""Bodies of management requests: attrs classes, every problem at once, no coercion."""

from typing import Any, TypeVar

import attrs
import cattrs
import msgspec
from cattrs.v import transform_error
from quart import request

from atalaia.model.errors import FieldProblem, Invalid

T = TypeVar("T")

MAX_TAGS = 32
MAX_TAG_CHARS = 128


@attrs.frozen
class RuleBody:
    """`{"text": "rule ..."}`: one rule in the rule language."""

    text: str


@attrs.frozen
class CheckBody:
    """`{"text": "rule ...", "interval": "10s"}`: rules, and how often their metrics are read."""

    text: str
    interval: str | None = None


def _check_tags(_: Any, __: Any, tags: dict[str, str]) -> None:
    if len(tags) > MAX_TAGS:
        raise ValueError(f"a sensor may have {MAX_TAGS} tags")
    for name, value in tags.items():
        if not 0 < len(name) <= MAX_TAG_CHARS or len(value) > MAX_TAG_CHARS:
            raise ValueError(f"names and values of tags have at most {MAX_TAG_CHARS} characters")
        if "\0" in name + value:
            raise ValueError("tags may not hold a NUL character")


@attrs.frozen
class TagsBody:
    """`{"tags": {"type": "boiler"}}`: replaces all tags."""

    tags: dict[str, str] = attrs.field(validator=_check_tags)


_converter = cattrs.Converter(forbid_extra_keys=True)


def _strict_text(value: Any, _: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("expected text")
    return value


_converter.register_structure_hook(str, _strict_text)


async def read_body(kind: type[T]) -> T:
    """The request's JSON body as `kind`. Raises Invalid naming every problem."""
    try:
        raw = msgspec.json.decode(await request.get_data())
    except (msgspec.DecodeError, RecursionError) as error:
        raise Invalid(f"The body is not JSON: {error}", code="bad_json") from error
    if not isinstance(raw, dict):
        raise Invalid("The body must be a JSON object.", code="bad_body")
    try:
        return _converter.structure(raw, kind)
    except cattrs.BaseValidationError as error:
        problems = [FieldProblem(*_split(text)) for text in transform_error(error)]
        raise Invalid(
            "The body has " + "; ".join(f"{p.where}: {p.detail}" for p in problems),
            code="bad_body",
            problems=problems,
        ) from error


def _split(text: str) -> tuple[str, str]:
    """cattrs says "what @ $.path"."""
    detail, _, where = text.rpartition(" @ ")
    return where or "$", detail or text
