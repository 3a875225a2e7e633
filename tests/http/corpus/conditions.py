"""Headers that say on what a request depends, and whether it was sent before."""

import re
from collections.abc import Iterator
from typing import Any

from atalaia.http import conditions, once
from tests.http.corpus.case import Caller, Case, case
from tests.http.corpus.management import GOOD

BAD_CONDITION, BAD_KEY = (400, "bad_condition"), (400, "bad_idempotency_key")
CHANGED_MEANWHILE = (412, "precondition_failed")
PLACES = {"rule": "{rule}", "sensor": "{sensor}", "name": "there", "key": "{key_id}", "user": "{user}"}  # fmt: skip


def _line(route: str) -> str:
    return re.sub("<([a-z]+)>", lambda name: PLACES[name[1]], route)


def _good(line: str) -> tuple[Any, Caller]:
    return GOOD.get(line.replace("/there", "/bad"), (b"", "key"))


def tags() -> Iterator[Case]:
    """What is no list of tags, at every route that reads one; and tags that nothing has."""
    for route in (*conditions.READ, *conditions.CHANGED):
        line = _line(route)
        body, caller = _good(line)
        fields = ["if-none-match"] if route in conditions.READ else ["if-match", "if-none-match"]
        for field in fields:
            for name, value in [
                ("nothing", ""), ("word", "x"), ("half", '"x'), ("quotes of another kind", "'x'"), ("two without a comma", '"a" "b"'),
                ("star and more", '*, "a"'), ("two stars", "**"), ("weak nothing", "W/"), ("small w", 'w/"a"'), ("commas", "," * 4_000),
                ("quotes", '"' * 3_999), ("blank in a tag", '"a b"'), ("SQL", "' OR 1=1 --"), ("odd bytes", "\xff\xfe"), ("semicolon", '"a";"b"'),
            ]:  # fmt: skip
                header = f"{field}: {value}"
                yield case(f"{route}: {header[:40]} ({name})", line, body, header, to=BAD_CONDITION, caller=caller)  # fmt: skip
        if route in conditions.READ:
            continue
        for name, value in [("another", '"x"'), ("weak", 'W/"x"'), ("none", '""'), ("odd bytes", '"\xff\xfe"'),
                            ("1,000 of them", ",".join(f'"{n}"' for n in range(1_000))), ("comma behind", '"x",')]:  # fmt: skip
            header = f"if-match: {value}"
            yield case(f"{route}: if-match: {name}", line, body, header, to=CHANGED_MEANWHILE, caller=caller)  # fmt: skip
        header = "if-none-match: *"
        yield case(f"{route}: only if there is none", line, body, header, to=CHANGED_MEANWHILE, caller=caller)  # fmt: skip


def keys() -> Iterator[Case]:
    """What is no key of a request, at every route that is carried out once."""
    for rule in once.ROUTES:
        line = _line(f"POST {rule}")
        body, caller = _good(line)
        for name, headers in [
            ("nothing", [""]), ("empty text", ['""']), ("half a text", ['"x']), ("blank", ["a b"]), ("quote within", ['a"b']),
            ("back slash", ["a\\b"]), ("escape", [r'"a\"b"']), ("256 characters", ["x" * 256]), ("256 in quotes", [f'"{"x" * 256}"']),
            ("4,000 characters", ["x" * 4_000]), ("odd bytes", ["\xff\xfe"]), ("tab", ["a\tb"]), ("list", ['"a", "b"']),
            ("parameter", ['"a";v=1']), ("two", ["a", "b"]), ("the same twice", ["a", "a"]),
        ]:  # fmt: skip
            fields = [f"idempotency-key: {value}" for value in headers]
            yield case(f"POST {rule}: key of the request: {name}", line, body, *fields, to=BAD_KEY, caller=caller)  # fmt: skip


CASES = (*tags(), *keys())
