"""While commits fail nobody is let in and nobody is kept waiting.

Written by the flusher, asked by the gate. What waits already goes on: it may still be stored, and
whoever is told to send it again will be told that it is a duplicate.
"""

from typing import Any

import attrs
import structlog

from atalaia.engine.receipt import Receipt
from atalaia.model.errors import Unavailable

log = structlog.get_logger()


@attrs.define(eq=False)
class Outage:
    """From when a commit has failed again until it succeeds or is given up."""

    lasts: bool = False
    _waiting: set[Receipt[Any]] = attrs.field(factory=set)

    def admit(self) -> None:
        """Raises Unavailable while it lasts."""
        if self.lasts:
            raise Unavailable(
                "The database does not take anything just now; send the same again after the delay."
            )

    def watch(self, receipt: Receipt[Any]) -> None:
        """Whoever waits for this receipt is told when an outage begins."""
        self._waiting.add(receipt)

    def forget(self, receipt: Receipt[Any]) -> None:
        self._waiting.discard(receipt)

    def begin(self) -> None:
        if not self.lasts:
            log.error("outage_began", waiting=len(self._waiting))
            self.lasts = True
        waiting, self._waiting = self._waiting, set()
        for receipt in waiting:
            receipt.give_up()

    def end(self) -> None:
        if self.lasts:
            log.warning("outage_ended")
            self.lasts = False
