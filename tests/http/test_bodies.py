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


@pytest.mark.parametrize(
    ("line", "body", "detail"),
    [
        (
            "PATCH /v1/sensors/x",
            {"group": "a"},
            "extra fields found (group); there are: lateness, expected_interval, place, location; "
            "tags, such as group and profile, are set by PUT /v1/sensors/{sensor}/tags",
        ),
        (
            "POST /v1/sensors",
            {"name": "x", "profile": "p"},
            "extra fields found (profile); there are: lateness, expected_interval, place, "
            "location, name, tags; group and profile are tags",
        ),
        (
            "PATCH /v1/users/00000000-0000-0000-0000-000000000000",
            {"platform": True, "email": "a@example.org"},
            "extra fields found (email, platform); there are: role, disabled",
        ),
        (
            "POST /v1/rules/backtest",
            {"text": "x", "since": 1},
            "extra fields found (since); there are: text, rule_id, from, to, order, sweep",
        ),
        (
            "POST /v1/rules/backtest",
            {"text": "x", "sweep": {"holds": []}},
            "extra fields found (holds); there are: for, threshold",
        ),
    ],
)
async def test_a_field_that_nobody_knows_is_refused_with_those_that_there_are(
    stack: Stack, line: str, body: object, detail: str
) -> None:
    """By the names that bodies have; and where what was meant may go."""
    method, path = line.split()
    refused = await stack.client.request(method, path, json=body)
    assert (refused.status_code, refused.json()["code"]) == (400, "bad_body")
    assert [problem["detail"] for problem in refused.json()["problems"]] == [detail]
