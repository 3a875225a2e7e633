"""A meaning that is wrong, at a place of a text; and how a place is shown."""

from lark import Token
from lark.tree import Meta

from atalaia.model.errors import RuleInvalid

_SHOWN_CHARS = 160  # of a line around a fault


class Fault(Exception):
    """A meaning that is wrong, at a place."""

    def __init__(self, detail: str, meta: Meta | Token) -> None:
        super().__init__(detail)
        self.detail = detail
        self.line = int(getattr(meta, "line", None) or 1)
        self.column = int(getattr(meta, "column", None) or 1)


def invalid_at(text: str, detail: str, line: int, column: int) -> RuleInvalid:
    """The error at a place of a text, with its line around it."""
    lines = text.split("\n")
    shown = lines[line - 1] if line <= len(lines) else ""
    first = max(0, min(column - 1 - _SHOWN_CHARS // 2, len(shown) - _SHOWN_CHARS))
    last = first + _SHOWN_CHARS
    before = ("…" if first else "") + shown[first : column - 1]
    after = shown[column - 1 : last] + ("…" if last < len(shown) else "")
    mark = "".join("\t" if character == "\t" else " " for character in before)
    return RuleInvalid(detail, line=line, column=column, caret=f"{before}{after}\n{mark}^")
