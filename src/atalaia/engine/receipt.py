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
EDIT_IS_SLOW = "This takes longer than 10 s and may still be done: look before you send it again."


@attrs.frozen
class Answer:
    """What became of one batch: accepted (late ones included) + duplicates + rejected = sent.

    queued: accepted means that a queue holds them; what the commit says is not known yet.
    """

    accepted: int
    duplicates: int
    late: int
    rejects: Sequence[Reject]
    queued: bool = False


@attrs.define(eq=False)
class Receipt(Generic[T]):
    """A one-shot promise. Whoever stops waiting drops only the wait: the work goes on.

    on_settled runs once, when the value or the failure is known.
    """

    _on_settled: Callable[[], None] = lambda: None
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
            self._on_settled()

    async def wait(self) -> T:
        """The value, or the error that the batch failed with."""
        await self._done.wait()
        if self._result is None:
            raise AssertionError("a done receipt has a result")
        return self._result.unwrap()

    async def answer(self, slow: str = EDIT_IS_SLOW) -> T:
        """As `wait`, but raises Unavailable, saying what `slow` says, at the faces' deadline."""
        try:
            with trio.fail_after(ANSWER_DEADLINE_S):
                return await self.wait()
        except trio.TooSlowError:
            raise Unavailable(slow) from None
