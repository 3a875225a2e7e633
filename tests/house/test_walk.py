"""docs/explanation/architecture.md is true of the code: layers, and the walk of one reading."""

import re
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from tests.stack import NOW_MS, open_stack, row

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "atalaia"
PAGE = (ROOT / "docs" / "explanation" / "architecture.md").read_text()
COMPILED = {("rules/kernel.py", "fold")}  # machine code: no profiler sees it

Place = tuple[str, str]
"""A file below src/atalaia, and the qualified name of a function or class in it."""


def steps() -> list[list[Place]]:
    """The places that each numbered step of the walk names."""
    _, _, walk = PAGE.partition("## The walk of one reading\n")
    numbered = re.split(r"^\d\. ", walk.partition("\n## ")[0], flags=re.MULTILINE)[1:]
    return [
        [(file, name) for file, name in re.findall(r"`([\w/]+\.py):\s+([\w.]+)`", step)]
        for step in numbered
    ]


def first_call(calls: list[Place], file: str, name: str) -> int:
    """When a function, or any method of a class, was first called. Fails when it was not."""
    for at, (called_file, called) in enumerate(calls):
        if called_file == file and re.search(rf"(^|\.){re.escape(name)}(\.|$)", called):
            return at
    raise AssertionError(f"{file}: {name} is not on the way")


@contextmanager
def profiled() -> Iterator[dict[Place, None]]:
    """Our functions in the order of their first call, in this thread and those begun inside."""
    calls: dict[Place, None] = {}

    def look(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(f"{SOURCE}/"):
            calls.setdefault((code.co_filename[len(f"{SOURCE}/") :], code.co_qualname))

    threading.setprofile(look)
    sys.setprofile(look)
    try:
        yield calls
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


async def test_a_reading_walks_as_described(database_url: str) -> None:
    """Each place is called for one reading, and no step begins before the one above it."""
    with profiled() as calls:
        async with open_stack(database_url) as stack:
            await stack.rule("rule hot on sensors when t > 1")
            calls.clear()
            assert (await stack.send([row(NOW_MS, 2)])).status_code == 200
            called = list(calls)
    began = -1
    for step in steps():
        at = [first_call(called, *place) for place in step if place not in COMPILED]
        assert at[0] > began, step
        began = at[0]
    assert len(steps()) == 7


def test_the_layers_are_those_of_the_contract() -> None:
    """The line of the page is what import-linter enforces."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    layers = project["tool"]["importlinter"]["contracts"][0]["layers"]
    assert f"    {' → '.join(layers)}\n" in PAGE
