"""`atalaia replay` as its users meet it, against the real service."""

import signal
import sys
import time
from pathlib import Path

import pytest
import trio

from atalaia.cli.csv_source import Choices, look
from atalaia.cli.pace import find_pace, shift_to_now
from tests.cli.runner import Here, Runner
from tests.stack import row

pytestmark = pytest.mark.postgres


async def test_a_real_file_is_sent_and_accounted_for(cli: Runner, pump: Path) -> None:
    """Names are made legal and said; empty, unreadable and repeated cells are counted."""
    await cli.stack.rule("rule flow on sensors when Volume_Flow_RateRMS > 33")
    code, said = await cli("replay", pump)
    assert code == 0, said
    assert 'column "Volume Flow RateRMS" becomes metric Volume_Flow_RateRMS' in said
    assert "the sensor is named valve_1" in said
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
        (["PUMP", "--separator", ";;"], "give one character"),
        (["PUMP", "--separator", '"'], "give one character"),
        (["PUMP", "--sensor", "pump 1"], '"pump 1" is not 1 to 128 of letters'),
        (["PUMP", "--rename", "Pressure=p q"], '"p q" is not 1 to 64 of letters'),
        (["PUMP", "--batch", "many"], 'Invalid value for --batch: unable to convert "many"'),
        (["PUMP", "--spead", "60x"], "Unknown option: --spead"),
        (["OPEN_QUOTE"], "field larger than field limit (131072); is a quote left open?"),
    ],
)
def test_wrong_use_is_said_in_one_sentence(
    here: Here, pump: Path, arguments: list[str], words: str
) -> None:
    """Exit code 2 before any server is looked for, which would be 1."""
    broken = pump.with_name("broken.csv")
    broken.write_text('time,t\n2020-03-09,"1' + "\n2020-03-09,1" * 20_000)
    files = {"PUMP": str(pump), "OPEN_QUOTE": str(broken)}
    code, said = here("replay", *[files.get(a, a) for a in arguments])
    assert (code, words in said) == (2, True), said


def test_an_address_or_key_that_cannot_be_is_said(here: Here, pump: Path) -> None:
    """Exit code 2, before anything is sent."""
    for url, key, words in (
        ("localhost:3000", "x", "such as http://127.0.0.1:3000"),
        ("http://[::1", "x", "such as http://127.0.0.1:3000"),
        ("http://127.0.0.1:1", "atl_é", "copy it again"),
    ):
        code, said = here("replay", str(pump), "--url", url, "--key", key)
        assert (code, words in said) == (2, True), said


async def test_nothing_stored_is_a_failure(cli: Runner, pump: Path) -> None:
    """Exit code 1 when the server took no row, and why; duplicates are stored."""
    file = pump.with_name("future.csv")
    file.write_text("time,t\n2190-01-01,1\n2190-01-02,2\n")
    code, said = await cli("replay", file)
    assert (code, "nothing was stored" in said) == (1, True), said
    assert "rejected 2 as future_timestamp: the time lies in the future" in said
    assert "sent 2 accepted 0" in said
    file.write_text("time,t\n1700000000,1\n")
    await cli.stack.send(row(1_700_000_000_000, 1, sensor="future"))
    code, said = await cli("replay", file)
    assert (code, "accepted 0" in said, "duplicates 1" in said) == (0, True, True), said


async def test_years_of_sparse_rows_come_in_time(cli: Runner, pump: Path) -> None:
    """Months have to be opened for them; none is rejected, and none is late by then."""
    file = pump.with_name("years.csv")
    months = [f"{2015 + n // 12}-{n % 12 + 1:02}-05,{n}" for n in range(40)]
    file.write_text("\n".join(["time,t", *months]))
    code, said = await cli("replay", file)
    assert (code, "accepted 40 of them late 0 duplicates 0 rejected 0" in said) == (0, True), said


async def test_a_pace_is_kept_and_nothing_lies_in_the_future(cli: Runner, pump: Path) -> None:
    """An hour in two seconds, shifted to now: each row is at most as old as it should be."""
    for name in ("a", "b", "c"):
        pump.with_name(f"{name}.csv").write_text(
            "time,t\n2020-01-01 00:00,1\n2020-01-01 00:30,2\n2020-01-01 01:00,3\n"
        )
    files = [pump.with_name(f"{name}.csv") for name in ("a", "b", "c")]
    code, said = await cli("replay", *files, "--speed", "1800x", "--shift-to-now")
    assert (code, "accepted 9" in said) == (0, True), said
    rows = await cli.stack.sql(
        "SELECT extract(epoch FROM ts)::float8 AS ts, value,"
        " extract(epoch FROM received_at)::float8 AS at FROM readings"
    )
    start = min(got["at"] for got in rows)
    for got in rows:
        assert got["ts"] <= got["at"]
        assert -0.2 < got["at"] - start - (got["value"] - 1) < 1.5, "sensors wait for one another"
    assert max(got["at"] - got["ts"] for got in rows if got["value"] == 3) < 60


@pytest.mark.parametrize(("factor", "newest"), [(None, 0), (60.0, 60), (1.0, 3600), (0.5, 3600)])
def test_no_row_is_sent_before_its_time(tmp_path: Path, factor: float | None, newest: int) -> None:
    """At any speed some row, the first or the last, is of the moment when it is sent."""
    path = tmp_path / "t.csv"
    path.write_text("time,t\n2020-01-01 00:00,1\n2020-01-01 01:00,3\n")
    choices = Choices()
    layouts = [look(path, choices)]
    pace = find_pace(layouts, choices, factor)
    now_us = time.time_ns() // 1000
    shifted = shift_to_now(pace, layouts, choices, now_us)
    times = [pace.first_us, pace.first_us + 3_600_000_000]
    moved = [(ts + shifted.shift_us - now_us) / 1e6 for ts in times]
    ahead = [at - shifted.due_s(ts) for at, ts in zip(moved, times, strict=True)]
    assert max(ahead) == pytest.approx(0, abs=1e-5)
    assert moved[1] == pytest.approx(newest, abs=1e-5)


async def test_ctrl_c_ends_with_the_account(cli: Runner, pump: Path) -> None:
    """Exit code 130, no traceback; what was answered is counted."""
    file = pump.with_name("long.csv")
    file.write_text("time,t\n" + "".join(f"{1_700_000_000 + n},{n}\n" for n in range(100)))
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "atalaia", "replay", str(file), "--speed", "1x",
         "--url", cli.stack.url, "--key", cli.stack.api_key],
        stdout=-1, stderr=-2,
    )  # fmt: skip
    with trio.fail_after(30):
        while not (await cli.stack.sql("SELECT FROM readings LIMIT 1")):
            await trio.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        said = b"".join([part async for part in process.stdout]).decode()
        assert await process.wait() == 130, said
    assert "accepted" in said
    assert said.endswith("atalaia: stopped\n")
    assert "Traceback" not in said


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


async def test_something_else_than_atalaia_is_said(cli: Runner, pump: Path) -> None:
    """A web server that answers everything with 200 and HTML."""

    async def page(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n<ht>")

    async with trio.open_nursery() as nursery:
        (listener, *_) = await nursery.start(trio.serve_tcp, page, 0)
        port = listener.socket.getsockname()[1]
        for command in (["replay", pump], ["rules", "list"]):
            code, said = await cli(
                *command, "--url", f"http://127.0.0.1:{port}", "--key", "x", server=False
            )
            assert (code, "something else than Atalaia" in said) == (1, True), said
        nursery.cancel_scope.cancel()
