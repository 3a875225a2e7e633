"""A request's answer while its client takes it: a large one needs room, or is not sent.

What waits for a slow reader is in memory, and turns end when an answer is built. So it is counted
before its first byte, and given back after its last.
"""

import attrs

from atalaia.http import rules
from atalaia.http.incoming import STRANGERS, Scope
from atalaia.http.room import AnswerRoom
from atalaia.model.errors import Overloaded, Unavailable
from atalaia.model.ids import TenantNo

SMALL_BYTES = 16 * 1024  # what a connection costs anyway: such an answer is not counted
SHARED_PATHS = ("/docs", "/openapi.json")
"""Whose files are in memory once, whoever reads them."""
QUESTIONS = rules.QUESTIONS | {"/v1/query"}
"""That come by POST and change nothing."""


@attrs.define(eq=False)
class Outgoing:
    """bytes_held: of the answer, in memory. refusal: what is answered instead, when all of it that
    was built is let go.
    """

    _room: AnswerRoom
    _tenant_no: TenantNo = STRANGERS
    bytes_held: int = 0
    refusal: Overloaded | Unavailable | None = None

    def begin(self, scope: Scope, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Take room for it, or leave a refusal. One without a length is made while it is taken, and
        needs none.
        """
        size = next((int(text) for name, text in headers if name.lower() == b"content-length"), 0)
        if size <= SMALL_BYTES or scope["path"].startswith(SHARED_PATHS):
            return
        if (principal := scope["state"].get("principal")) is not None:
            self._tenant_no = principal.tenant_no
        try:
            self._room.take(self._tenant_no, size)
        except (Overloaded, Unavailable) as error:
            self.refusal = _done(error) if _is_done(scope, status) else error
        else:
            self.bytes_held = size

    def end(self) -> None:
        if self.bytes_held:
            self._room.give_back(self._tenant_no, self.bytes_held)
            self.bytes_held = 0


def _is_done(scope: Scope, status: int) -> bool:
    """Whether there is something that a refusal does not undo."""
    asks = scope["method"] in ("GET", "HEAD") or scope["path"] in QUESTIONS
    return status < 400 and not asks


def _done(error: Overloaded | Unavailable) -> Unavailable:
    return Unavailable(
        "This is done, but there is no room for an answer of this size now: look at what has come "
        "of it, or send the same again after the delay.",
        code="saturated",
        retry_after_s=error.retry_after_s,
    )
