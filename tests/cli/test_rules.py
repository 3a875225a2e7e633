"""`atalaia rules`: what a file says, what a server has."""

from pathlib import Path

import pytest

from tests.cli.runner import Here, Runner

pytestmark = pytest.mark.postgres


def test_rules_are_checked_before_they_are_sent(here: Here, tmp_path: Path) -> None:
    """Line, column and caret of the file."""
    file = tmp_path / "rules.txt"
    file.write_text("rule a on sensors when avg(t, 5m) > 1 and max(t, 5m) > 2\n")
    code, said = here("rules", "check", str(file))
    assert code == 0
    assert said.startswith("ok a: t; 1 window per sensor")
    file.write_text("\nrule a on sensors when avgg(t, 5m) > 1\n")
    code, said = here("rules", "check", str(file))
    assert code == 1
    assert f"{file}:2:24: There is no aggregate" in said
    assert said.endswith("^")
    assert (here("rules", "check", str(tmp_path / "none")))[0] == 2


async def test_rules_of_a_server_are_listed(cli: Runner) -> None:
    """A table for a person."""
    await cli.stack.rule("rule hot on sensors when t > 1")
    code, said = await cli("rules", "list")
    assert (code, "hot 1 yes rule hot on sensors" in said) == (0, True)
    code, said = await cli(
        "rules", "list", "--url", "http://127.0.0.1:1", "--key", "x", server=False
    )
    assert (code, "does not answer" in said, "Traceback" in said) == (1, True, False)
    code, said = await cli("rules", "list", "--url", cli.stack.url, "--key", "x", server=False)
    assert code == 1
    assert said.endswith("answers 401: Send a valid API key in X-API-Key or Authorization: Bearer.")


async def test_brackets_in_a_rule_are_shown(cli: Runner) -> None:
    """They are text, not a style."""
    await cli.stack.rule('rule hot on sensor "s" when t > 1 # [bold]')
    code, said = await cli("rules", "list")
    assert (code, "[bold]" in said) == (0, True), said


def test_a_pack_is_rules_that_can_be_checked(here: Here, tmp_path: Path) -> None:
    """What one command prints, the other understands; a wrong kind is one sentence."""
    code, text = here("rules", "pack", "level", "tank/1", "--every", "5m", "--on", 'group "pumps"')
    assert code == 0
    assert 'rule "tank/1-low" on group "pumps"' in text
    code, said = here("rules", "pack", "mood")
    assert (code, "there are temperature" in said) == (2, True)
