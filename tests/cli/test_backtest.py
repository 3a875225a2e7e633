"""`atalaia rules backtest` as its users meet it, against the real service."""

import json
import re
from pathlib import Path

import pytest
import trio

from tests.cli.runner import Runner
from tests.stack import START_MS, Stack, row

pytestmark = pytest.mark.postgres

TEXT = "rule hot on sensors when t > 20 for 1m\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "hot.rule"
    path.write_text(TEXT)
    return path


async def send(stack: Stack) -> None:
    values = [0, 11, 0, 30, 30, 30, 0, 31, 31, 0]
    await stack.send(
        [
            row(START_MS + 60_000 * n, v, sensor=s)
            for n, v in enumerate(values)
            for s in ("p1", "p2")
        ]
    )


async def test_a_file_is_tried_swept_and_compared(cli: Runner, file: Path) -> None:
    """Variants as rows, the noisiest sensors as bars, and what is kept of the live rule."""
    await cli.stack.rule("rule hot on sensors when t > 10")
    await send(cli.stack)
    code, said = await cli(
        "rules", "backtest", file, "--from", "2h", "--sweep", "for=1m,2m",
        "--sweep", "threshold=20, 30.5",
    )  # fmt: skip
    assert code == 0, said
    assert "hot: 2 sensors, 20 readings from" in said
    assert "UTC, in order of event" in said
    for line in (
        "for threshold alerts a day flaps open firing sensors kept gone new",
        "as written 1m 20 4 48.0 2 0 2.5% 2 4 2 0",
        "1m 30.5 2 24.0 0 0 0.8% 2 2 4 0",
        "2m 30.5 0 0.0 0 0 0.0% 0 0 6 0",
        "live v1 0s 10 6",
        "p1 2 " + "█" * 40,
        "alerts of the live rule that the variant has",
    ):
        assert line in said
    code, said = await cli("rules", "backtest", file, "--json", "--order", "arrival")
    result = json.loads(said)
    assert (code, result["order"], len(result["variants"])) == (0, "arrival", 2)


async def test_each_rule_of_a_file_is_tried_by_itself(cli: Runner, tmp_path: Path) -> None:
    """In the file's order, a table for each; as JSON a line for each."""
    await cli.stack.rule("rule cold on sensors when t < 5")
    await send(cli.stack)
    path = tmp_path / "all.rules"
    path.write_text(f"# first\n{TEXT}\n# second\nrule cold on sensors when t < 1\n")
    code, said = await cli("rules", "backtest", path, "--from", "2h")
    assert code == 0, said
    hot, cold = said.split(" cold: 2 sensors, 20 readings from")
    assert hot.startswith("hot: 2 sensors, 20 readings from")
    assert ("as written 1m 20 4 " in hot, 'no rule named "hot" to compare' in hot) == (True, True)
    assert ("as written 0s 1 8 " in cold, "live v1 0s 5 8 " in cold) == (True, True)
    code, said = await cli("rules", "backtest", path, "--json")
    assert (code, re.findall(r'(?:^|} ){"rule":"(\w+)"', said)) == (0, ["hot", "cold"])
    code, said = await cli("rules", "backtest", path, "--rule", "cold")
    told = f"atalaia: --rule compares with one rule; {path} has 2."
    assert (code, said.replace(" ", "")) == (2, told.replace(" ", ""))  # long paths are folded
    path.write_text(f"{TEXT}rule x on sensors when\n")
    code, said = await cli("rules", "backtest", path)
    assert (code, said.startswith(f"{path}:3:1: ")) == (2, True), said


async def test_a_rule_of_the_server_is_tried_by_its_name(cli: Runner, file: Path) -> None:
    """Alone, or to compare a file with it."""
    await cli.stack.rule("rule warm on sensors when t > 10")
    await send(cli.stack)
    code, said = await cli("rules", "backtest", "--rule", "warm", "--from", "2h")
    assert (code, "live v1 0s 10 6" in said) == (0, True), said
    assert "kept" not in said
    code, said = await cli("rules", "backtest", file, "--rule", "warm", "--from", str(START_MS))
    assert (code, "4 2 0 live v1" in said) == (0, True), said
    code, said = await cli("rules", "backtest", file)
    assert (code, 'no rule named "hot" to compare with' in said) == (0, True), said
    code, said = await cli("rules", "backtest", "--rule", "none")
    assert (code, 'no rule named "none"' in said) == (1, True), said


async def test_silence_is_tried_and_swept(cli: Runner, tmp_path: Path) -> None:
    """By arrival, and it is said what is not known."""
    await send(cli.stack)
    path = tmp_path / "silent.rule"
    await trio.Path(path).write_text("rule silent on sensors when no data for 10m\n")
    code, said = await cli("rules", "backtest", path, "--from", "2h", "--sweep", "for=10m,1h")
    assert code == 0, said
    for words in ("2 sensors, 20 readings", "in order of arrival", "1h 0", "was down are not"):
        assert words in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Name a file with a rule"),
        (["/nowhere.rule"], "No such file"),
        (["FILE", "--sweep", "for"], "write for=1m,2m or threshold=28,30"),
        (["FILE", "--sweep", "threshold=hot"], "write for=1m,2m or threshold=28,30"),
        (["FILE", "--sweep", "for=soon"], 'sweep.for: "soon" is no duration'),
        (["FILE", "--from", "yesterday"], "from: give an RFC 3339 time"),
        (["FILE", "--from", "500d"], "400 days"),
        (["FILE", "--order", "random"], "order: give one of event, arrival"),
    ],
)
async def test_wrong_use_is_said_in_one_sentence(
    cli: Runner, file: Path, arguments: list[str], words: str
) -> None:
    """Exit code 2, no traceback."""
    given = [str(file) if a == "FILE" else a for a in arguments]
    code, said = await cli("rules", "backtest", *given)
    assert (code, words in said, "Traceback" in said) == (2, True, False), said


async def test_a_bad_rule_is_shown_with_its_place(cli: Runner, tmp_path: Path) -> None:
    """Before anything is sent."""
    file = tmp_path / "bad.rule"
    await trio.Path(file).write_text("\nrule a on sensors when avgg(t, 5m) > 1\n")
    code, said = await cli("rules", "backtest", file)
    assert code == 2
    assert f"{file}:2:24: There is no aggregate" in said
    assert said.endswith("^")


async def test_a_server_that_is_not_there_is_said(cli: Runner, file: Path) -> None:
    """Exit code 1, also for a wrong key."""
    code, said = await cli(
        "rules", "backtest", file, "--url", "http://127.0.0.1:1", "--key", "x", server=False
    )
    assert (code, "does not answer" in said, "Traceback" in said) == (1, True, False), said
    code, said = await cli(
        "rules", "backtest", file, "--url", cli.stack.url, "--key", "wrong", server=False
    )
    assert (code, "answers 401" in said) == (1, True), said
