"""Which parameters a route's query may have: those that the API's document tells of.

One that nobody reads would seem to choose something, and choose nothing. The faces of other wires
(`/write`, `/api/...`) leave out what they do not know, as what they stand in for does.
"""

from collections.abc import Mapping, Sequence
from functools import cache

from quart import request

from atalaia.http.openapi.document import operations
from atalaia.http.params import check_known
from atalaia.http.tickets import STREAM_PATH


@cache
def known() -> Mapping[str, Sequence[str]]:
    """Names by method and rule, as the access table writes them, of all under /v1."""
    return {
        route: [one.name for one in operation.parameters if one.where == "query"]
        + ["ticket"] * route.endswith(f" {STREAM_PATH}")
        for route, (_, operation) in operations().items()
        if route.partition(" ")[2].startswith("/v1/")
    }


def check_asked(method: str, rule: str) -> None:
    """Raises Invalid (`bad_parameter`) for a parameter of the request that its route has not."""
    if not request.query_string:
        return
    names = known().get(f"{'GET' if method == 'HEAD' else method} {rule}")
    if names is not None:
        check_known(request.args, names)
