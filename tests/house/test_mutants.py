"""The faults made on purpose: in the table, applicable to the source, each with its test."""

import ast
from pathlib import Path

import pytest

from tests.mutants import MUTANTS, ROOT, RULE, TABLE, Mutant, row


def test_every_fault_is_in_the_table() -> None:
    """As it is written in the tuple, which is the single source; the runner writes the table."""
    _, _, table = TABLE.read_text().partition(RULE)
    assert table == "".join(row(mutant) for mutant in MUTANTS)
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_fault_applies_and_has_its_test(mutant: Mutant) -> None:
    """Its text is in the source, and a test of its name in the file."""
    source = (ROOT / "src" / "atalaia" / mutant.file).read_text()
    assert mutant.old in source
    file, _, name = mutant.test.partition("::")
    defined = ast.walk(ast.parse(Path(ROOT / file).read_text()))
    assert name in {
        node.name for node in defined if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
