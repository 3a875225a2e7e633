"""Large pages of readings: written beside the event loop, and few of one tenant at once.

Ten thousand readings are a tenth of a second of the loop when each is an object on its way to JSON.
Here their times become text all at once, and one page after another is written in a thread.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import attrs
import msgspec
import numpy as np
import trio
from quart import Response, g

from atalaia.engine.turns import Turns
from atalaia.http.errors import encode
from atalaia.model.ids import TenantNo
from atalaia.model.views import Point

LARGE = 1_000  # readings
MOST_AT_ONCE = 4  # of one tenant; each holds a connection to the database while it is read


class _Reading(msgspec.Struct, gc=False):
    ts: str
    value: float
    received_at: str
    late: bool


class _Page(msgspec.Struct):
    data: list[_Reading]
    next_cursor: str | None


@attrs.define(eq=False)
class Pages:
    """Shared by all tenants."""

    _turns: Turns = attrs.field(
        factory=lambda: Turns(
            MOST_AT_ONCE,
            f"A tenant may read {MOST_AT_ONCE} pages of more than {LARGE:,} readings at once; "
            "try again after the delay.",
        )
    )
    _core: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(1))

    def one(self, tenant_no: TenantNo, limit: int) -> AbstractContextManager[None]:
        """While a page of so many readings at most is read and written. Raises Busy."""
        return nullcontext() if limit <= LARGE else self._turns.one(tenant_no)

    async def answer(self, points: Sequence[Point], cursor: str | None) -> Response:
        """As `render.page` of `render.point`."""
        g.next_cursor = cursor
        if len(points) <= LARGE:
            text = _write(points, cursor)
        else:
            text = await trio.to_thread.run_sync(_write, points, cursor, limiter=self._core)
        return Response(text, content_type="application/json")


def _write(points: Sequence[Point], cursor: str | None) -> bytes:
    times = np.array([(point.ts, point.received_at) for point in points], "M8[us]").reshape(-1, 2)
    texts = np.datetime_as_string(times, timezone="UTC").tolist()
    data = [
        _Reading(ts, point.value, received_at, point.late)
        for point, (ts, received_at) in zip(points, texts, strict=True)
    ]
    return encode(_Page(data, cursor))
