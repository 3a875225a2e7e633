"""`atalaia replay` and `atalaia rules` as their users meet them, against the real service."""

import subprocess
import sys
from datetime import UTC, timedelta, timezone
from pathlib import Path

import pytest
import trio

from atalaia.cli.csv_source import Choices, Troubles, legal, look, parse_time, parse_zone, read
from atalaia.model.errors import Invalid
from tests.stack import Stack

pytestmark = pytest.mark.postgres

PUMP = """datetime;Volume Flow RateRMS;Pressure;state;note
2020-03-09 10:14:33;32.0;0.05;ok;1
2020-03-09 10:14:34;;0.06;ok;x
2020-03-09 10:14:35;33.5;oops;ok;3
soon;1;1;ok;4
2020-03-09 10:14:35;34.0;0.07;ok;5
"""


@pytest.fixture
def pump(tmp_path: Path) -> Path:
    path = tmp_path / "valve 1.csv"
    path.write_text(PUMP)
    return path


@pytest.fixture
async def cli(stack: Stack) -> "Runner":
    return Runner(stack)


class Runner:
    """Runs the real command against the stack's server."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack

    async def __call__(self, *arguments: object, server: bool = True) -> tuple[int, str]:
        where = ["--url", self.stack.url, "--key", self.stack.api_key] if server else []
        command = [sys.executable, "-m", "atalaia", *map(str, arguments), *where]
        done = await trio.run_process(
            command, capture_stdout=True, stderr=subprocess.STDOUT, check=False
        )
        return done.returncode, " ".join(done.stdout.decode().split())


async def test_a_real_file_is_sent_and_accounted_for(cli: Runner, pump: Path) -> None:
    """Names are made legal and said; empty, unreadable and repeated cells are counted."""
    await cli.stack.rule("rule flow on sensors when Volume_Flow_RateRMS > 33")
    code, said = await cli("replay", pump)
    assert code == 0, said
    assert 'column "Volume Flow RateRMS" becomes metric Volume_Flow_RateRMS' in said
    assert 'column "state" holds no numbers and is left out' in said
    for line in ("sent 9", "accepted 7", "duplicates 2", "rejected 0", "empty cells 1",
                 "unreadable cells 3", "alerts opened 1"):  # fmt: skip
        assert line in said
    assert 'unreadable: valve 1.csv:4: Pressure "oops"' in said
    rows = await cli.stack.sql("SELECT count(*) AS n FROM readings")
    assert rows[0]["n"] == 7
    sensors = (await cli.stack.client.get("/v1/sensors")).json()["data"]
    assert [sensor["name"] for sensor in sensors] == ["valve_1"]


async def test_columns_can_be_chosen_renamed_and_left_out(cli: Runner, pump: Path) -> None:
    """And batches may be small, connections many, times of another zone."""
    code, said = await cli(
        "replay", pump, "--sensor", "p1", "--exclude", "note", "--exclude", "state",
        "--rename", "Pressure=bar", "--tz", "-03:00", "--batch", 1, "--connections", 3,
        "--speed", "100x",
    )  # fmt: skip
    assert code == 0, said
    found = (await cli.stack.client.get("/v1/sensors/p1/readings?metric=bar")).json()["data"]
    assert found[0]["ts"] == "2020-03-09T13:14:33.000000Z"


async def test_times_can_be_shifted_to_now(cli: Runner, pump: Path) -> None:
    """The last reading is of this moment: nothing is refused as future."""
    code, said = await cli("replay", pump, "--shift-to-now", "--metrics", "Pressure")
    assert code == 0, said
    latest = (await cli.stack.client.get("/v1/sensors/valve_1/latest")).json()
    assert (
        latest["metrics"]["Pressure"]["received_at"][:16]
        == latest["metrics"]["Pressure"]["ts"][:16]
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Name at least one CSV file"),
        (["/nowhere.csv"], "No such file"),
        (["PUMP", "--exclude", "none"], 'No file has a column "none"'),
        (["PUMP", "--time", "none"], 'there is no column "none"'),
        (["PUMP", "--time", "state"], "no line has a time"),
        (["PUMP", "--speed", "fast"], "--speed"),
        (["PUMP", "--tz", "Mars/Olympus"], "no time zone"),
        (["PUMP", "--rename", "x"], "write OLD=NEW"),
        (["PUMP", "--rename", "Pressure=note"], "two columns become one"),
        (["PUMP", "--batch", "0"], "must be 1 or more"),
        (["PUMP", "--metrics", "state"], "no column holds numbers"),
    ],
)
async def test_wrong_use_is_said_in_one_sentence(
    cli: Runner, pump: Path, arguments: list[str], words: str
) -> None:
    """Exit code 2, no traceback, nothing sent."""
    code, said = await cli("replay", *[str(pump) if a == "PUMP" else a for a in arguments])
    assert (code, words in said, "Traceback" in said) == (2, True, False), said
    assert (await cli.stack.sql("SELECT count(*) AS n FROM readings"))[0]["n"] == 0


async def test_a_server_that_is_not_there_is_said(cli: Runner, pump: Path) -> None:
    """Exit code 1."""
    code, said = await cli(
        "replay", pump, "--url", "http://127.0.0.1:1", "--key", "x", server=False
    )
    assert (code, "atalaia:" in said, "Traceback" in said) == (1, True, False), said
    code, said = await cli("replay", pump, "--url", cli.stack.url, "--key", "wrong", server=False)
    assert (code, "401" in said) == (1, True), said
    code, said = await cli("replay", pump, "--data-dir", pump.parent, server=False)
    assert (code, "There are no credentials" in said) == (1, True), said


async def test_rules_are_checked_before_they_are_sent(cli: Runner, tmp_path: Path) -> None:
    """Line, column and caret of the file."""
    file = tmp_path / "rules.txt"
    file.write_text("rule a on sensors when avg(t, 5m) > 1 and max(t, 5m) > 2\n")
    assert await cli("rules", "check", file, server=False) == (0, "ok a: t; 1 windows per sensor")
    file.write_text("\nrule a on sensors when avgg(t, 5m) > 1\n")
    code, said = await cli("rules", "check", file, server=False)
    assert code == 1
    assert f"{file}:2:24: There is no aggregate" in said
    assert said.endswith("^")
    assert (await cli("rules", "check", tmp_path / "none", server=False))[0] == 2


async def test_rules_of_a_server_are_listed(cli: Runner) -> None:
    """A table for a person."""
    await cli.stack.rule("rule hot on sensors when t > 1")
    code, said = await cli("rules", "list")
    assert (code, "hot 1 yes rule hot on sensors" in said) == (0, True)
    code, said = await cli(
        "rules", "list", "--url", "http://127.0.0.1:1", "--key", "x", server=False
    )
    assert (code, "Traceback" in said) == (1, False)


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
    rows = list(read(layout, UTC, Troubles()))
    assert [(r.sensor, r.values) for r in rows] == [
        ("pump_1", (("t", 5.0),)), ("pump_2", (("t", 6.0),)),
    ]  # fmt: skip
    assert legal("a b/c", extra="/") == "a_b/c"
    path.write_text("only\n")
    with pytest.raises(Invalid, match="header"):
        look(path, choices)


async def test_simulated_sensors_send_until_their_time_is_over(cli: Runner) -> None:
    """Everything is accounted for; late bursts count as late."""
    code, said = await cli(
        "simulate", "--sensors", 3, "--interval", "50ms", "--duration", "2s", "--late", "0.2",
        "--seed", 5,
    )  # fmt: skip
    assert code == 0, said
    assert "rejected 0" in said
    stored = await cli.stack.sql(
        "SELECT count(*) AS n, count(*) FILTER (WHERE late) AS l FROM readings"
    )
    assert stored[0]["n"] > 100
    assert stored[0]["l"] > 0
    assert f"accepted {stored[0]['n']:,} (late {stored[0]['l']:,})" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--sensors", "0"], "must be 1 or more"), (["--interval", "soon"], "is no duration")],
)
async def test_wrong_use_of_simulate_is_said(cli: Runner, arguments: list[str], words: str) -> None:
    """Exit code 2."""
    code, said = await cli("simulate", *arguments)
    assert (code, words in said) == (2, True), said


async def test_a_server_that_goes_away_is_waited_for_and_given_up(cli: Runner, pump: Path) -> None:
    """The batch is tried again until the time is over; then one sentence."""
    code, said = await cli(
        "simulate", "--url", "http://127.0.0.1:1", "--key", "x", "--give-up-after", "1",
        "--duration", "1s", server=False,
    )  # fmt: skip
    assert (code, "gave up after 1 s" in said) == (1, True), said
