"""`atalaia sensors` against a running server."""

from pathlib import Path

import pytest

from tests.cli.runner import Runner
from tests.stack import START_MS, row

pytestmark = pytest.mark.postgres


async def test_a_register_goes_into_a_file_and_back(cli: Runner, tmp_path: Path) -> None:
    """What was exported changes nothing; what was changed in it is changed."""
    await cli.stack.send([row(START_MS, 1, sensor="b1"), row(START_MS, 1, sensor="b2")])
    file = tmp_path / "sensors.csv"
    assert await cli("sensors", "export", file) == (0, "")
    text = file.read_text()
    assert text.splitlines()[1:] == ["b1,,,,,,", "b2,,,,,,"]
    code, said = await cli("sensors", "import", file)
    assert (code, said) == (0, "0 sensors created, 0 changed, 2 unchanged, 0 rejected")
    file.write_text(text.replace("b1,", "b1,north") + "b3,,,,,,\n")
    code, said = await cli("sensors", "import", file)
    assert (code, said) == (0, "1 sensor created, 1 changed, 1 unchanged, 0 rejected")
    code, said = await cli("sensors", "export")
    assert (code, "b1,north," in said) == (0, True)


async def test_a_line_that_is_bad_is_said_with_its_place(cli: Runner, tmp_path: Path) -> None:
    """And so is a file that is none."""
    file = tmp_path / "sensors.csv"
    file.write_text("name,expected_interval\nb1,10s\nb2,soon\n")
    code, said = await cli("sensors", "import", file)
    assert code == 1
    assert f"{file}:3: expected_interval: " in said
    assert "1 sensor created, 0 changed, 0 unchanged, 1 rejected" in said
    file.write_text("sensor\nb1\n")
    code, said = await cli("sensors", "import", file)
    assert (code, 'no column "sensor"' in said) == (1, True)
    code, said = await cli("sensors", "import", tmp_path / "nothing.csv")
    assert (code, "nothing.csv" in said) == (1, True)
    code, said = await cli("sensors", "export", tmp_path / "no" / "where.csv")
    assert (code, "where.csv" in said) == (1, True)
