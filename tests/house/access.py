"""The reference of who may call what, as the table of the routes itself has it.

    .venv/bin/python -m tests.house.access

writes the tables of docs/reference/access.md; a test finds when they are out of date.
"""

import re
from pathlib import Path

from atalaia.http.access import ROUTES, Access
from atalaia.model.principal import OPENED_BY, ROLES, SCOPES

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference" / "access.md"
HEAD = "| route | " + " | ".join([*ROLES, "platform", *(f"`{scope}`" for scope in SCOPES)]) + " |\n"
TABLE = re.compile(re.escape(HEAD) + r"(\|.*\n)*")


def table() -> str:
    """A row for each route: which roles and which scopes of keys open it."""
    lines = [HEAD, "|" + "---|" * (HEAD.count("|") - 1) + "\n"]
    for route in sorted(ROUTES, key=lambda route: (route.partition(" ")[2], route)):
        shown = re.sub(r"<(?:path:)?(\w+)>", r"{\1}", route)
        marks = " | ".join("yes" if opens else "" for opens in _opens(ROUTES[route]))
        lines.append(f"| `{shown}` | {marks} |\n")
    return "".join(lines)


def _opens(access: Access) -> list[bool]:
    if access.role is None:
        return [True] * (len(ROLES) + 1 + len(SCOPES))
    if access.role == "platform":
        return [False] * len(ROLES) + [True] + [False] * len(SCOPES)
    least = ROLES.index(access.role)
    people = [rank >= least for rank in range(len(ROLES))] + [True]
    if access.scope is None:
        return people + [False] * len(SCOPES)
    if access.scope == "any":
        return people + [True] * len(SCOPES)
    return people + [scope in OPENED_BY[access.scope] for scope in SCOPES]


def current_page(text: str) -> str:
    """The page with the table as it should be."""
    return TABLE.sub(lambda _: table(), text)


if __name__ == "__main__":
    PAGE.write_text(current_page(PAGE.read_text()))
