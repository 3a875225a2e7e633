"""`atalaia rules check`, `export`, `import` and `diff` as their users meet them."""

from pathlib import Path

import pytest

from tests.cli.runner import Here, Runner
from tests.stack import START_MS, row

pytestmark = pytest.mark.postgres

HOT = "rule hot on sensors when avg(t, 5m) > 30"


async def test_a_check_shows_lints_and_with_a_server_costs(cli: Runner, tmp_path: Path) -> None:
    """Costs and matches come from the server; without one the lints are there all the same."""
    await cli.stack.send([row(START_MS, 1)])
    file = tmp_path / "rules.txt"
    file.write_text(f"{HOT}\n  for 0s")
    code, said = await cli("rules", "check", file)
    assert code == 0, said
    assert f"ok hot: t; 1 window per sensor {file}:2:3: `for 0s` has no effect" in said
    assert "1 sensor now, 1 new window, about " in said
    assert "ns per reading" in said
    alone = ["rules", "check", file, "--data-dir", tmp_path]
    code, said = await cli(*alone, "--interval", "10m", server=False)
    assert (code, "hold_without_effect" in said, "ns per reading" in said) == (0, True, False)
    code, said = await cli(*alone, "--url", "http://127.0.0.1:1", "--key", "x", server=False)
    assert (code, "does not answer" in said, "[hold_without_effect]" in said) == (0, True, True)
    code, said = await cli(*alone, "--interval", "often", server=False)
    assert (code, '--interval: "often" is no duration' in said) == (2, True)


async def test_a_check_says_what_units_rule_out(cli: Runner, tmp_path: Path) -> None:
    """With a server by what is said there; without one what can be told without."""
    await cli.stack.client.put("/v1/metrics/t", json={"unit": "°C"})
    file = tmp_path / "rules.txt"
    file.write_text("rule hot on sensors\n  when avg(t, 5m) > 86 °F")
    code, said = await cli("rules", "check", file)
    assert (code, said) == (
        1, f"{file}:2:21: t is measured in °C; write 30 °C for 86 °F. when avg(t, 5m) > 86 °F ^",
    )  # fmt: skip
    alone = ["rules", "check", file, "--data-dir", tmp_path]
    assert (await cli(*alone, server=False))[0] == 0
    file.write_text("rule hot on sensors\n  when count(t, 5m) > 86 °F")
    code, said = await cli(*alone, server=False)
    assert (code, f"{file}:2:23: count(t, 5m) is a number without" in said) == (1, True)


async def test_a_check_says_what_would_be_refused(cli: Runner, tmp_path: Path) -> None:
    """Before it is sent, with exit code 1."""
    await cli.stack.send([row(START_MS, 1, sensor=f"s{n}") for n in range(100)])
    file = tmp_path / "rules.txt"
    file.write_text("rule long on sensors when avg(t, 30d) > 30")
    code, said = await cli("rules", "check", file)
    assert code == 1
    assert "would be refused: The windows of this tenant's rules, and " in said
    assert "would take 4," in said
    assert "and may take 256.0 MiB" in said
    assert said.endswith("[too_much_memory]")


async def test_rules_travel_as_a_file(cli: Runner, tmp_path: Path) -> None:
    """Export, edit, diff, import; then nothing differs."""
    await cli.stack.rule(HOT)
    await cli.stack.rule("rule old on sensors when t > 1")
    file = tmp_path / "rules.yaml"
    assert await cli("rules", "export", file) == (0, "")
    code, said = await cli("rules", "export")
    assert (code, said) == (0, " ".join(file.read_text().split()))
    assert await cli("rules", "diff", file) == (0, "0 to do, 2 rules unchanged")
    edited = file.read_text().replace("> 30", "> 35").split("  - name: old")[0]
    file.write_text(edited)
    code, said = await cli("rules", "diff", file)
    assert code == 1
    assert "replace hot (closes open alerts) --- server +++ file" in said
    assert f"-{HOT} +{HOT.replace('30', '35')}" in said
    assert "not in the file (--prune deletes them): old" in said
    assert (await cli("rules", "import", file, "--dry-run", "--prune"))[0] == 0
    assert len((await cli.stack.client.get("/v1/rules")).json()["data"]) == 2
    code, said = await cli("rules", "import", file, "--prune")
    assert (code, said) == (
        0, "replace hot (closes open alerts) delete old (closes open alerts) "
        "2 edits, 0 rules unchanged",
    )  # fmt: skip
    assert await cli("rules", "diff", file, "--prune") == (0, "0 to do, 1 rule unchanged")


async def test_a_plain_text_of_rules_is_brought_too(cli: Runner, tmp_path: Path) -> None:
    """As it is written for `check` and `backtest`; each rule with the comments around it."""
    await cli.stack.rule(HOT)
    file = tmp_path / "some.rules"
    texts = [
        "# Boilers trip at 45.\nrule a on sensors\n  when t > 40 # not 45",
        '# "Quoted": \\n, ção\n\nrule b on sensors when t > 2\n# the end',
    ]
    file.write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    code, said = await cli("rules", "import", file)
    assert (code, said.split(" not in the file")[0]) == (
        0, "create a create b 2 edits, 0 rules unchanged"
    )  # fmt: skip
    rules = (await cli.stack.client.get("/v1/rules")).json()["data"]
    assert [rule["text"] for rule in rules if rule["name"] in "ab"] == texts
    assert (await cli("rules", "diff", file))[0] == 0
    file.write_text("# one\nrule a on sensors when avgg(t, 5m) > 1")
    code, said = await cli("rules", "import", file)
    assert (code, f"{file}:2:24: There is no aggregate" in said) == (1, True)
    assert said.endswith("^")
    file.write_bytes(b"rule a on sensor '\xff' when t > 1")
    assert await cli("rules", "diff", file) == (
        2, f"atalaia: {file}: the file is not UTF-8 (byte 19).",
    )  # fmt: skip


async def test_troubles_are_told_from_differences(cli: Runner, tmp_path: Path) -> None:
    """Problems with file, line and column; 2 from diff, 1 from import; no tracebacks."""
    file = tmp_path / "rules.yaml"
    file.write_text(
        "rules:\n- name: a\n  text: |\n    rule a on sensors\n      when avgg(t, 5m) > 1\n"
    )
    code, said = await cli("rules", "diff", file)
    assert (code, f'{file}:5:12: a: There is no aggregate "avgg"' in said) == (2, True)
    code, said = await cli("rules", "import", file)
    assert (code, f"{file}:5:12: a: " in said) == (1, True)
    for arguments in (["diff", tmp_path / "none"], ["diff", file, "--url", "http://127.0.0.1:1"],
                      ["diff", file, "--key", "x"]):  # fmt: skip
        extra = ["--key", "x"] if "--url" in arguments else ["--url", cli.stack.url]
        code, said = await cli("rules", *arguments, *extra, server=False)
        assert (code, "Traceback" in said, said.startswith("atalaia: ")) == (2, False, True), said


@pytest.mark.parametrize(
    "words", [["rules", "check"], ["rules", "import"], ["rules", "diff"], ["rules", "backtest"]]
)
def test_a_file_that_is_not_there_is_one_line(here: Here, words: list[str], tmp_path: Path) -> None:
    """The path once, then why; what is no text is said too."""
    code, said = here(*words, "/nowhere.rule")
    assert (code > 0, said) == (True, "atalaia: /nowhere.rule: No such file or directory.")
    assert here(*words, str(tmp_path))[1] == f"atalaia: {tmp_path}: Is a directory."
    file = tmp_path / "x.rule"
    file.write_bytes(b"rule x on \xff")
    assert here(*words, str(file))[1] == f"atalaia: {file}: the file is not UTF-8 (byte 11)."


async def test_an_export_that_cannot_be_written_is_one_line(cli: Runner) -> None:
    """The path once, then why."""
    code, said = await cli("rules", "export", "/nowhere/rules.yaml")
    assert (code, said) == (1, "atalaia: /nowhere/rules.yaml: No such file or directory.")
