"""`atalaia simulate` against the real service."""

import pytest

from tests.cli.runner import Here, Runner

pytestmark = pytest.mark.postgres


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
    [
        (["--sensors", "0"], "must be 1 or more"),
        (["--interval", "soon"], "is no duration"),
        (["--interval", "0s", "--duration", "1s"], "--interval must be longer than nothing"),
        (["--duration", "0ms"], "--duration must be longer than nothing"),
        (["--gaps", "2"], "--gaps must be between 0 and 1"),
        (["--noise", "nan"], "--noise must be between 0 and 1"),
        (["--prefix", "my sensor"], '"my sensor-10" is not 1 to 128 of letters'),
    ],
)
def test_wrong_use_of_simulate_is_said(here: Here, arguments: list[str], words: str) -> None:
    """Exit code 2."""
    code, said = here("simulate", *arguments)
    assert (code, words in said) == (2, True), said


async def test_nothing_stored_is_a_failure(cli: Runner) -> None:
    """Exit code 1, and why: here a clock that is a day ahead."""
    ahead = (
        "import time; now = time.time_ns; time.time_ns = lambda: now() + 86_400 * 10**9;"
        "from atalaia.cli.main import main; main()"
    )
    code, said = await cli("simulate", "--duration", "1s", python=["-c", ahead])
    assert (code, "nothing was stored" in said) == (1, True), said
    assert "rejected 30 as future_timestamp" in said


async def test_a_server_that_goes_away_is_waited_for_and_given_up(cli: Runner) -> None:
    """The batch is tried again until the time is over; then one sentence."""
    code, said = await cli(
        "simulate", "--url", "http://127.0.0.1:1", "--key", "x", "--give-up-after", "1",
        "--duration", "1s", server=False,
    )  # fmt: skip
    assert (code, "gave up after 1 s" in said) == (1, True), said
