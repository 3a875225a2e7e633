"""The table of attacks: each row has its tests, and they are there."""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
ROW = re.compile(
    r"\| (?!\*\*|attack|---)(?P<attack>[^|]+) \| (?P<defence>[^|]+) \| (?P<tests>[^|]+) \|"
)
TEST = re.compile(r"`([\w/]+\.py)::(\w+)`")


def test_each_attack_has_tests_that_exist() -> None:
    """Under the name and in the file that the row says."""
    rows = [
        row for row in map(ROW.fullmatch, (TESTS / "ATTACKS.md").read_text().splitlines()) if row
    ]
    assert len(rows) > 50
    assert len({row["attack"] for row in rows}) == len(rows)
    for row in rows:
        named = TEST.findall(row["tests"])
        assert named, row["attack"]
        assert TEST.sub("", row["tests"]).strip(" ,") == "", row["attack"]
        for file, name in named:
            assert name in names_in(TESTS / file), (row["attack"], file, name)


def names_in(file: Path) -> set[str]:
    return {
        node.name
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
