"""Room for bodies: a budget for all, a share for each."""

import pytest

from atalaia.http.room import AnswerRoom, BodyRoom
from atalaia.model.errors import Overloaded, Unavailable
from atalaia.model.ids import TenantNo

ONE, TWO, THREE = TenantNo(1), TenantNo(2), TenantNo(3)


def test_a_tenant_fills_its_share_and_all_fill_the_room() -> None:
    """Over the share it is the tenant's fault, over the room ours; both say when to come back."""
    room = BodyRoom(total_bytes=10, tenant_bytes=6)
    room.take(ONE, 6)
    with pytest.raises(Overloaded):
        room.take(ONE, 1)
    room.take(TWO, 4)
    with pytest.raises(Unavailable) as caught:
        room.take(THREE, 1)
    assert (caught.value.code, caught.value.retry_after_s > 0) == ("saturated", True)


def test_a_full_room_of_answers_says_to_read_them() -> None:
    """With a code of its own: other requests of the tenant are still answered."""
    room = AnswerRoom(total_bytes=10, tenant_bytes=6)
    room.take(ONE, 6)
    with pytest.raises(Overloaded) as share:
        room.take(ONE, 1)
    room.take(TWO, 4)
    with pytest.raises(Unavailable) as whole:
        room.take(THREE, 1)
    assert (share.value.code, whole.value.code) == ("unread_answers", "saturated")


def test_what_is_given_back_can_be_taken_again() -> None:
    """What was refused took nothing, and a tenant that left is forgotten."""
    room = BodyRoom(total_bytes=10, tenant_bytes=10)
    room.take(ONE, 10)
    with pytest.raises(Unavailable):
        room.take(TWO, 1)
    room.give_back(ONE, 10)
    room.take(TWO, 10)
    room.give_back(TWO, 10)
    assert not room._held
