"""Bodies of management requests, beyond what their routes' own tests send."""

import pytest

from tests.stack import Stack

pytestmark = pytest.mark.postgres


@pytest.mark.parametrize(
    ("days", "status"), [("30", 200), ("30.0", 200), ("3e1", 200), ("30.5", 400), ("1e400", 400),
                         ("true", 400), ('"30"', 400), ("1e30", 400)]
)  # fmt: skip
async def test_a_whole_number_may_be_written_with_a_point(
    stack: Stack, days: str, status: int
) -> None:
    """As JSON Schema has it, and some languages write it; nothing else becomes a number."""
    body = f'{{"days": {days}}}'.encode()
    answer = await stack.client.put("/v1/settings/retention", content=body)
    assert answer.status_code == status, answer.text
    if status == 200:
        assert answer.json() == {"days": 30}
