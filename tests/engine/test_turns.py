"""Bounds on what is under way for tenants."""

import pytest

from atalaia.engine.turns import RowRoom, Turns
from atalaia.model.errors import Busy, Invalid
from atalaia.model.ids import TenantNo

ONE, TWO = TenantNo(1), TenantNo(2)


def test_turns_are_counted_per_tenant_and_given_back() -> None:
    """One too many is refused, whatever becomes of the others."""
    turns = Turns(2, "too many", "too_many")
    with (
        turns.one(ONE),
        turns.one(ONE),
        turns.one(TWO),
        pytest.raises(Busy, match="too many"),
        turns.one(ONE),
    ):
        raise AssertionError("there was room")
    with pytest.raises(KeyError), turns.one(ONE):
        raise KeyError
    with turns.one(ONE), turns.one(ONE):
        pass
    assert not turns._running


def test_readings_are_bounded_per_question_tenant_and_in_all() -> None:
    """Who asks too much at once is told to wait, who asks too much for ever what to do."""
    room = RowRoom(15, 20)
    with room.budget(ONE, 10) as first:
        first.spend(6)
        with pytest.raises(Invalid, match="More than 10 readings"):
            first.spend(5)
        first.spend(4)
        with room.budget(ONE, 10) as second:
            second.spend(5)
            with pytest.raises(Busy):
                second.spend(1)
        with room.budget(TWO, 10) as other:
            other.spend(10)
            with room.budget(ONE, 10) as third, pytest.raises(Busy):
                third.spend(1)
    with room.budget(ONE, 10) as again:
        again.spend(10)
    assert (room._total, room._held) == (0, {})
