"""A receipt travels with its batch and is settled once, after the commit or with its failure."""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import attrs
import outcome
import trio

from atalaia.model.batch import Reject
from atalaia.model.errors import AtalaiaError, Unavailable

T = TypeVar("T")

ANSWER_DEADLINE_S = 10.0  # of every face; what was handed over goes on
EDIT_IS_SLOW = "This takes too long and may still be done: look before you send it again."


@attrs.frozen
class Answer:
    """What became of one batch: accepted (late ones included) + duplicates + rejected = sent.

    queued: accepted means that a queue holds them; what the commit says is not known yet.
    ignored: beside what was sent, what was not meant as a reading.
    """

    accepted: int
    duplicates: int
    late: int
    rejects: Sequence[Reject]
    queued: bool = False
    ignored: int = 0


@attrs.define(eq=False)
class Receipt(Generic[T]):
    """A one-shot promise. Whoever stops waiting drops only the wait: the work goes on.

    on_settled runs once, when the value or the failure is known: given up is not settled.
    """

    on_settled: Callable[[], None] = lambda: None
    _done: trio.Event = attrs.field(factory=trio.Event)
    _result: outcome.Outcome[T] | None = None

    @property
    def settled(self) -> bool:
        return self._result is not None

    @property
    def failed(self) -> bool:
        return isinstance(self._result, outcome.Error)

    def settle(self, value: T) -> None:
        self._set(outcome.Value(value))

    def fail(self, error: AtalaiaError) -> None:
        self._set(outcome.Error(error))

    def _set(self, result: outcome.Outcome[T]) -> None:
        if self._result is None:
            self._result = result
            self._done.set()
            self.on_settled()

    def give_up(self) -> None:
        """Nobody knows when this will be settled: whoever waits had better not."""
        self._done.set()

    async def wait(self) -> T:
        """The value, or the error that the batch failed with; Unavailable when given up."""
        await self._done.wait()
        if self._result is None:
            raise Unavailable
        return self._result.unwrap()

    async def answer(self, slow: str = EDIT_IS_SLOW) -> T:
        """As `wait`, but raises Unavailable, saying what `slow` says, when given up or at the
        faces' deadline.
        """
        with trio.move_on_after(ANSWER_DEADLINE_S):
            await self._done.wait()
        if self._result is None:
            raise Unavailable(slow)
        return self._result.unwrap()
