"""What a stream sends again of the readings that came while its client was away.

Bounded in minutes, commits and readings: what is beyond is told as a gap, with the question that
fetches it. And in time: whoever looks back again and again waits in between, so that a tenant's
streams together keep a quarter of one connection busy at most.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import attrs
import trio

from atalaia.http import render
from atalaia.model.ids import Micros, TenantNo

MOST_ROWS = 50_000
MOST_SPANS = 500_000  # some 10 MB: looked through for those that are wanted
REST = 3
"""How long nobody looks back after somebody did, in times of how long that took."""


@attrs.define(eq=False)
class LookingBack:
    """Who may look back when: one stream of a tenant at a time."""

    _free_at: dict[TenantNo, float] = attrs.field(factory=dict)

    def wait_s(self, tenant_no: TenantNo) -> float:
        """How long to wait until it may be asked again; 0: `one` may be entered."""
        return max(0.0, self._free_at.get(tenant_no, 0.0) - trio.current_time())

    @contextmanager
    def one(self, tenant_no: TenantNo) -> Iterator[None]:
        """Around one look back."""
        began = trio.current_time()
        self._free_at = {one: at for one, at in self._free_at.items() if at > began}
        self._free_at[tenant_no] = float("inf")
        try:
            yield
        finally:
            now = trio.current_time()
            self._free_at[tenant_no] = now + REST * (now - began)


def gap(after: Micros, until: Micros, **wanted: Any) -> dict[str, Any]:
    """Says that what arrived after `after` and up to `until` is left out. wanted: the filters."""
    begin, end = render.time(after), render.time(until)
    names = {name: ",".join(some) for name, some in wanted.items() if some}
    return {
        "from": begin,
        "to": end,
        "query": "/v1/export?" + urlencode({"from": begin, "to": end, **names}, safe=":,"),
        "detail": "Readings that arrived in between are not sent again. The query has those of "
        "these times; for those that came late, ask from earlier on and compare received_at.",
    }
