"""When we could hear: what is left out of a silence, and nothing else."""

from collections.abc import Sequence

import attrs
import numpy as np
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from atalaia.engine.listening import (
    DEAF_S,
    MOST_REFUSED,
    MOST_SPANS,
    Deafness,
    Hearing,
    Listening,
)
from atalaia.model.ids import SECOND_US, Micros, TenantNo
from atalaia.rules.absence import Span, passed_over
from tests.engine.test_silence import START_US, Flowing

ONE, TWO = TenantNo(1), TenantNo(2)


@st.composite
def spans(draw: st.DrawFn) -> list[Span]:
    """In order, and apart."""
    edges = sorted(draw(st.sets(st.integers(0, 60), max_size=12)))
    return [(Micros(a), Micros(b)) for a, b in zip(edges[::2], edges[1::2], strict=False)]


@given(spans(), st.lists(st.integers(-5, 65), min_size=1))
def test_a_silence_is_as_much_shorter_as_we_were_deaf(
    deaf: list[Span], heard: Sequence[int]
) -> None:
    """Counted moment by moment; so a long deafness is worth its duration and no more."""
    later = passed_over(np.array(heard, np.int64), deaf)
    for began, since in zip(heard, later.tolist(), strict=True):
        silent = [at for at in range(began, 70) if not any(a <= at < b for a, b in deaf)]
        assert 70 - since == len(silent)


@attrs.define
class Set:
    """A wall clock that is set while it runs."""

    offset_us: int = 0

    def now_us(self) -> Micros:
        return Micros(START_US + self.offset_us + round(1e6 * trio.current_time()))


async def test_a_deafness_lasts_as_long_as_it_lasted_whatever_the_wall_clock_does(
    autojump_clock: MockClock,
) -> None:
    """It ends when it ends by the wall clock, by which readings arrive."""
    for offset_us in (-3600 * SECOND_US, 0, 3600 * SECOND_US):
        clock = Set()
        deaf = Deafness(clock)
        deaf.begin(trio.current_time() + 1)
        assert not deaf.lasts
        await trio.sleep(11)
        assert deaf.lasts
        clock.offset_us = offset_us
        deaf.end()
        assert not deaf.lasts
        assert [(ended - began, ended) for began, ended in deaf.spans()] == [
            (10 * SECOND_US, clock.now_us())
        ]


async def test_what_many_deaf_times_lasted_is_not_forgotten(autojump_clock: MockClock) -> None:
    """Their number is bounded, their sum is not."""
    clock = Flowing()
    deaf = Deafness(clock)
    began = clock.now_us()
    for _ in range(3 * MOST_SPANS):
        deaf.begin(trio.current_time())
        await trio.sleep(3)
        deaf.end()
        await trio.sleep(2)
    assert len(deaf.spans()) == MOST_SPANS
    assert sum(b - a for a, b in deaf.spans()) == 9 * MOST_SPANS * SECOND_US
    later = passed_over(np.array([began]), deaf.spans())
    assert (later - began).tolist() == [9 * MOST_SPANS * SECOND_US]


async def test_times_that_overlap_count_once(autojump_clock: MockClock) -> None:
    """A tenant that cannot be loaded while commits stall, and one that waits for both."""
    clock = Flowing()
    listening = Listening(clock, clock.now_us())
    one, heard = listening.of(ONE), clock.now_us()
    await trio.sleep(10)
    listening.begin_commit()
    await trio.sleep(3)
    one.own.begin(trio.current_time())
    await trio.sleep(3)
    assert [hearing.deaf for hearing in (one, listening.look(TWO))] == [True, True]
    assert one.silent_since("s", heard) - heard == (6 - DEAF_S) * SECOND_US
    listening.end_commit()
    await trio.sleep(5)
    assert [hearing.deaf for hearing in (one, listening.look(TWO))] == [True, False]
    one.own.end()
    await trio.sleep(5)
    assert not one.deaf
    assert one.silent_since("s", heard) - heard == (11 - DEAF_S) * SECOND_US
    assert listening.look(TWO).silent_since("s", heard) - heard == (6 - DEAF_S) * SECOND_US


async def test_an_outage_lasts_from_the_last_answer_to_the_next(
    autojump_clock: MockClock,
) -> None:
    """Who was turned away before he came to us is not known."""
    clock = Flowing()
    listening = Listening(clock, clock.now_us())
    heard = clock.now_us()
    await trio.sleep(60)
    listening.answered()
    await trio.sleep(60)
    for _ in range(3):
        listening.unanswered()
        await trio.sleep(5)
    assert listening.look(ONE).deaf
    listening.answered()
    await trio.sleep(60)
    listening.answered()
    assert not listening.look(ONE).deaf
    assert listening.look(ONE).silent_since("s", heard) - heard == 75 * SECOND_US


async def test_who_was_refused_is_not_silent(autojump_clock: MockClock) -> None:
    """Until it rests each is remembered, or when they are too many nobody of the tenant is."""
    clock = Flowing()
    listening = Listening(clock, clock.now_us())
    hearing, heard = listening.of(ONE), clock.now_us()

    def silent_us(hearing: Hearing) -> list[int]:
        return [hearing.silent_since(name, heard) - heard for name in ("s", "t")]

    await trio.sleep(10)
    hearing.refuse({"s"})
    assert silent_us(listening.look(ONE)) == [10 * SECOND_US, 0]
    assert silent_us(listening.look(TWO)) == [0, 0]
    await trio.sleep(10)
    hearing.refuse(f"n{n}" for n in range(MOST_REFUSED))
    assert silent_us(hearing) == [20 * SECOND_US] * 2
    assert hearing.refused == {}
    listening.forget(ONE)
    assert silent_us(listening.look(ONE)) == [0, 0]
