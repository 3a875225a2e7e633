"""What errors look like."""

from typing import Annotated

import msgspec

from atalaia.http import influx
from atalaia.http.openapi.operation import said
from atalaia.model.standing import BucketName


class Fault(msgspec.Struct):
    """One thing that is wrong with a body, or with a file of rules."""

    detail: str
    where: Annotated[str | msgspec.UnsetType, said("Of a body.", "$.name")] = msgspec.UNSET
    rule: Annotated[str | msgspec.UnsetType | None, said("Null: the file.")] = msgspec.UNSET
    line: Annotated[int | msgspec.UnsetType, said("Of a file, from 1.")] = msgspec.UNSET
    column: Annotated[int | msgspec.UnsetType, said("Of a file, from 1.")] = msgspec.UNSET


class Problem(msgspec.Struct):
    """An error (RFC 9457)."""

    type: Annotated[str, said("Always this: `code` says more.", "about:blank")]
    title: Annotated[str, said("Of the status.", "Not found")]
    status: Annotated[int, msgspec.Meta(ge=400, le=599)]
    detail: Annotated[
        str, said("What is wrong, and what to do about it.", "There is no rule with this id.")
    ]
    code: Annotated[
        str,
        msgspec.Meta(pattern="^[a-z0-9_]+$", description="For programs.", examples=["not_found"]),
    ]
    request_id: Annotated[
        str,
        said("Under which the log of the service has it.", "0123456789abcdef0123456789abcdef"),
    ]
    bucket: Annotated[BucketName | msgspec.UnsetType, said("Of 429: the one that is empty.")] = (
        msgspec.UNSET
    )
    problems: list[Fault] | msgspec.UnsetType = msgspec.UNSET
    line: Annotated[int | msgspec.UnsetType, said("Of a rule, from 1.")] = msgspec.UNSET
    column: Annotated[int | msgspec.UnsetType, said("Of a rule, from 1.")] = msgspec.UNSET
    caret: Annotated[str | msgspec.UnsetType, said("The line, and a `^` below.")] = msgspec.UNSET


class InfluxError(msgspec.Struct):
    """An error as Influx clients read it."""

    code: Annotated[str, msgspec.Meta(extra_json_schema={"enum": [*influx.CODES.values()]})]
    message: str
    line: Annotated[int | msgspec.UnsetType, said("The first bad one, from 1.")] = msgspec.UNSET
    error: Annotated[str | msgspec.UnsetType, said("The message, at `/write`.")] = msgspec.UNSET
