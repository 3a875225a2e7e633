"""Guessing gets slow; who knows the password gets in."""

import pytest
import trio

from atalaia.http.throttle import (
    FORGET_S,
    FREE_ACCOUNT,
    FREE_NETWORK,
    FREE_TRIES,
    LONGEST_S,
    Throttle,
    network_of,
)
from atalaia.model.errors import Throttled
from atalaia.ports import StoreUnavailable
from tests.people import PASSWORD, add_user, login
from tests.stack import Stack

HOME, EVIL = "192.0.2.1", "198.51.100.7"


def fail(throttle: Throttle, times: int, email: str = "m@example.org", at: str = EVIL) -> int:
    """How many of so many tries were let in."""
    done = 0
    for _ in range(times):
        try:
            throttle.check(email, at)
            done += 1
        except Throttled:
            pass
    return done


async def test_guesses_get_slower(autojump_clock: trio.testing.MockClock) -> None:
    """A few at once, then each waits twice as long, up to a minute; what it says is enough."""
    throttle = Throttle()
    assert fail(throttle, 100) == FREE_TRIES
    pauses = []
    for _ in range(10):
        with pytest.raises(Throttled) as refused:
            throttle.check("m@example.org", EVIL)
        pauses.append(refused.value.retry_after_s)
        await trio.sleep(refused.value.retry_after_s)
        throttle.check("m@example.org", EVIL)
    assert pauses[:4] == [1, 2, 4, 8]
    assert pauses[-1] == LONGEST_S


async def test_who_guesses_keeps_nobody_out(autojump_clock: trio.testing.MockClock) -> None:
    """Whatever comes from elsewhere, the owner gets in from where they are used to be."""
    throttle = Throttle()
    throttle.check("m@example.org", HOME)
    throttle.passed("m@example.org", HOME)
    for n in range(300):
        fail(throttle, 3, at=f"198.51.100.{n % 250}")
        fail(throttle, 3, at=f"2001:db8:{n:x}::1")
    throttle.check("m@example.org", HOME)
    fail(throttle, 300, "others@example.org", HOME)
    throttle.check("m@example.org", HOME)


async def test_many_networks_guess_no_faster(autojump_clock: trio.testing.MockClock) -> None:
    """Of one account, together; until nobody has for a while."""
    throttle = Throttle()
    tries = sum(fail(throttle, 1, at=f"2001:db8:{n:x}::1") for n in range(500))
    assert tries == FREE_ACCOUNT
    await trio.sleep(FORGET_S + 1)
    throttle.check("m@example.org", HOME)


async def test_many_accounts_from_one_network_are_no_faster(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """One password tried on everybody."""
    throttle = Throttle()
    tries = sum(fail(throttle, 1, f"user{n}@example.org") for n in range(500))
    assert tries == FREE_NETWORK


async def test_right_passwords_count_for_nothing(autojump_clock: trio.testing.MockClock) -> None:
    """An office signs in on Monday morning; and somebody who mistypes begins anew afterwards."""
    throttle = Throttle()
    for n in range(500):
        throttle.check(f"user{n}@example.org", HOME)
        throttle.passed(f"user{n}@example.org", HOME)
    for _ in range(50):
        assert fail(throttle, FREE_TRIES - 1, "user1@example.org", HOME) == FREE_TRIES - 1
        throttle.check("user1@example.org", HOME)
        throttle.passed("user1@example.org", HOME)


def test_a_network_is_what_one_subscriber_has() -> None:
    """An address of IPv4, a /64 of IPv6, in whatever form."""
    assert network_of("::ffff:192.0.2.1") == network_of("192.0.2.1") != network_of("192.0.2.2")
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:2") != network_of("2001:db9::1")
    assert network_of("a socket") == "a socket"


@pytest.mark.postgres
async def test_what_we_could_not_look_at_does_not_count(stack: Stack) -> None:
    """A database that is away, or too many who sign in: whoever comes again as told gets in."""
    await add_user(stack, "m@example.org")
    people = stack.sessions.people

    class Away:
        async def find_login(self, email: str) -> None:
            raise StoreUnavailable

    stack.sessions.people = Away()  # type: ignore[assignment]
    for _ in range(3 * FREE_TRIES):
        assert (await login(stack, "m@example.org", PASSWORD)).status_code == 503
    stack.sessions.people = people
    assert (await login(stack, "m@example.org", PASSWORD)).status_code == 200


async def test_a_throttled_login_is_told_when_to_come_back(stack: Stack) -> None:
    """For an account that exists and for one that does not alike; then the right one opens."""
    await add_user(stack, "m@example.org")
    said = []
    for email in ("m@example.org", "nobody@example.org"):
        for _ in range(FREE_TRIES):
            assert (await login(stack, email, "wrong")).status_code == 401
        response = await login(stack, email, PASSWORD)
        body = response.json()
        said.append((response.status_code, body["code"], body["detail"]))
        wait_s = int(response.headers["retry-after"])
    assert said[0] == said[1]
    assert said[0][:2] == (429, "too_many_attempts")
    await trio.sleep(wait_s + 0.1)
    assert (await login(stack, "m@example.org", PASSWORD)).status_code == 200
