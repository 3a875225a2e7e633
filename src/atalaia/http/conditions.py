"""`ETag`, and requests that depend on it: If-Match, If-None-Match (RFC 9110, 8.8.3 and 13.1).

What is compared with what there is, and changed then, is so in one transaction or one turn of the
tenant's actor: here the fields are only read and written.
"""

import re
from collections.abc import Callable, Sequence

from quart import Response, g, request

from atalaia.model.condition import ANY, Condition
from atalaia.model.errors import Invalid

READ = ("GET /v1/profiles/<name>", "GET /v1/rules/<rule>", "GET /v1/sensors/<sensor>")
"""Whose answers have a tag, and are 304 for who has what it is of."""
MADE = ("POST /v1/rules", "POST /v1/sensors")
"""Whose answers have one too."""
CHANGED = (
    "DELETE /v1/profiles/<name>",
    "DELETE /v1/rules/<rule>",
    "DELETE /v1/sensors/<sensor>",
    "PATCH /v1/sensors/<sensor>",
    "POST /v1/rules/<rule>/disable",
    "POST /v1/rules/<rule>/enable",
    "PUT /v1/profiles/<name>",
    "PUT /v1/rules/<rule>",
    "PUT /v1/sensors/<sensor>/tags",
)
"""Which may depend on one; what they leave has the next."""

TAGS = r"[ \t]*(\*|([ \t,]*(W/)?\"[!#-~\x80-\xff]*\"[ \t]*(,|$))+)[ \t]*"
"""What such a field may say, as a pattern."""
_TAG = re.compile(r'[ \t,]*(W/)?"([!#-~\x80-\xff]*)"[ \t]*(?:,|$)')


def asked(shorten: Callable[[str], str] = str) -> Condition:
    """What the request depends on. shorten: a tag to the part of it that counts. Raises Invalid."""
    _check(CHANGED)
    return Condition(_tags("if-match", shorten), _tags("if-none-match", shorten, weak=True))


def show(tag: str) -> None:
    """The answer is of what has this tag. Raises Invalid."""
    _check(READ + MADE + CHANGED)
    g.tag = tag
    if request.method in ("GET", "HEAD"):
        known = _tags("if-none-match", str, weak=True)
        g.known_already = known is not None and (ANY in known or tag in known)


def finish(response: Response) -> None:
    """With its tag; and without its body for whoever has it already."""
    tag = g.get("tag")
    if tag is None or response.status_code not in (200, 201):
        return
    response.headers["etag"] = f'"{tag}"'
    if g.get("known_already"):
        response.status_code = 304
        response.set_data(b"")
        for name in ("content-type", "content-length"):
            response.headers.pop(name, None)


def _check(routes: Sequence[str]) -> None:
    """Raises AssertionError where this is none of them: what is done is what is told."""
    rule = "" if request.url_rule is None else request.url_rule.rule
    route = f"{'GET' if request.method == 'HEAD' else request.method} {rule}"
    if route not in routes:
        raise AssertionError(f"{route} is in no table of those with tags")


def _tags(
    field: str, shorten: Callable[[str], str], *, weak: bool = False
) -> frozenset[str] | None:
    """None without such a field. weak: those that are count too; else they are never the same."""
    sent = request.headers.getlist(field)
    if not sent:
        return None
    text = ",".join(sent).strip(" \t")
    if text == ANY:
        return frozenset({ANY})
    found, place = set(), 0
    while (match := _TAG.match(text, place)) is not None:
        place = match.end()
        if weak or match[1] is None:
            tag = shorten(match[2])
            found.add(f'"{tag}"' if tag == ANY else tag)  # a tag of that name, and not all of them
    if place < len(text) or not text:
        raise Invalid(
            f'{field}: give what ETag said, in quotes ("..."), several with commas, or *.',
            code="bad_condition",
        )
    return frozenset(found)
