"""What schemathesis makes of the document is answered as the document says.

A few cases of each operation, by the most powerful of all people, so that every route is reached;
`bench/contract.py` asks thousands, of every role and every scope.
"""

import pytest

from tests.http.openapi.contract import judge
from tests.http.openapi.world import BOSS, open_world
from tests.people import bearer, tokens
from tests.stack import Stack

pytestmark = pytest.mark.postgres

CASES = 2


async def test_the_service_keeps_to_its_document(stack: Stack) -> None:
    """No 5xx, no status, header, media type or shape that is not told, nothing taken that is
    against a schema.
    """
    async with open_world(stack) as world:
        headers = bearer(await tokens(stack, BOSS))
        tenant_id = (await world.boss.get("/v1/me")).json()["tenant_id"]
        verdict = await judge(
            stack.url, headers, tenant_id, cases=CASES, phases=("examples", "fuzzing")
        )
    assert verdict.faults == [], verdict.log
    assert verdict.cases > 100
    assert verdict.operations > 70
