"""What cells, names and files mean, without a server."""

from datetime import UTC, timedelta, timezone
from pathlib import Path

import pytest

from atalaia.cli.cells import legal, parse_number, parse_time, parse_zone
from atalaia.cli.csv_source import Account, Choices, look, read
from atalaia.model.errors import Invalid


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("1970-01-01 00:00:01", 1_000_000), ("1970-01-01T00:00:01.5Z", 1_500_000),
        ("1970-01-01T03:00:00+03:00", 0), ("1700000000", 1_700_000_000_000_000),
        ("1700000000.25", 1_700_000_000_250_000), ("1700000000123", 1_700_000_000_123_000),
        ("1700000000123456", 1_700_000_000_123_456),
        ("1700000000123456789", 1_700_000_000_123_456),
    ],
)  # fmt: skip
def test_times_of_files_are_understood(text: str, micros: int) -> None:
    """ISO forms and epochs of any unit."""
    assert parse_time(text, UTC) == micros


@pytest.mark.parametrize("text", ["1_0", "nan", "inf", "1e999", "0x1f", "1,5", "", "-", "١"])
def test_only_finite_decimals_are_numbers(text: str) -> None:
    """Python would take some of these for numbers."""
    with pytest.raises(ValueError, match=r".*"):
        parse_number(text)


def test_numbers_are_read_as_they_stand() -> None:
    """With sign, point and exponent."""
    assert [parse_number(text) for text in ("-1", "+.5", "2.", " 1.5e-3 ")] == [-1, 0.5, 2, 0.0015]


def test_zones_have_names_and_offsets() -> None:
    """And a wrong one is named."""
    assert parse_zone("-0330") == timezone(-timedelta(hours=3, minutes=30))
    assert str(parse_zone("America/Sao_Paulo")) == "America/Sao_Paulo"
    with pytest.raises(Invalid):
        parse_zone("nowhere")


def test_files_of_several_sensors_name_them_in_a_column(tmp_path: Path) -> None:
    """Tabs, a byte order mark, names made legal."""
    path = tmp_path / "all.tsv"
    path.write_text("\ufeffwhen\tdevice\tt\n1700000000\tpump 1\t5\n\n1700000001\tpump/2\t6\n")
    choices = Choices(sensor_column="device")
    layout = look(path, choices)
    rows = list(read(layout, UTC, Account()))
    assert [(r.sensor, r.values) for r in rows] == [
        ("pump_1", (("t", 5.0),)), ("pump_2", (("t", 6.0),)),
    ]  # fmt: skip
    assert legal("a b/c", extra="/") == "a_b/c"
    path.write_text("only\n")
    with pytest.raises(Invalid, match="header"):
        look(path, choices)


def test_broken_lines_are_counted_and_the_rest_is_read(tmp_path: Path) -> None:
    """A line too short for its sensor, an empty sensor, a field beyond the reader's limit."""
    path = tmp_path / "all.csv"
    good = "1700000000,5,pump 1\n"
    path.write_text("when,t,device\n" + good * 20 + "1700000001,6\n1700000002,7,\n")
    with path.open("a") as file:
        file.write("1700000003,8," + "x" * 140_000 + "\n" + good)
    account = Account()
    choices = Choices(sensor_column="device")
    rows = list(read(look(path, choices), UTC, account))
    assert {row.sensor for row in rows} == {"pump_1"}
    assert (len(rows), account.unreadable, account.sensors) == (21, 3, {"pump 1": "pump_1"})
    assert account.read_chars == path.stat().st_size
    assert account.examples[0] == "all.csv:22: no sensor"
    assert "field larger than field limit" in account.examples[2]
