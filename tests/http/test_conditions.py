"""ETags, and changes that depend on them: of those who have seen the same, one wins."""

import httpx
import pytest
import trio

from tests.people import add_key, client
from tests.stack import START_MS, Stack, row

pytestmark = pytest.mark.postgres

HOT = "rule hot on sensors when t > {}"


def coded(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


async def tag(stack: Stack, path: str) -> str:
    answer = await stack.client.get(path)
    assert answer.status_code == 200
    found = answer.headers["etag"]
    assert found[0] == found[-1] == '"', "strong"
    return found


async def things(stack: Stack) -> list[tuple[str, str, str, object]]:
    """Path, method, path and body of a change that goes on changing it."""
    rule = f"/v1/rules/{(await stack.rule(HOT.format(1)))['id']}"
    await stack.client.post("/v1/sensors", json={"name": "s1"})
    await stack.client.put("/v1/profiles/p", json={"description": "first"})
    return [
        (rule, "PUT", rule, {"text": HOT.format(2)}),
        (rule, "POST", f"{rule}/disable", None),
        ("/v1/sensors/s1", "PATCH", "/v1/sensors/s1", {"place": "roof"}),
        ("/v1/sensors/s1", "PATCH", "/v1/sensors/s1", {"lateness": "5s"}),
        ("/v1/sensors/s1", "PATCH", "/v1/sensors/s1", {"lateness": "7s", "place": "attic"}),
        ("/v1/sensors/s1", "PUT", "/v1/sensors/s1/tags", {"tags": {"a": "b"}}),
        ("/v1/profiles/p", "PUT", "/v1/profiles/p", {"description": "second"}),
        (rule, "DELETE", rule, None),
        ("/v1/sensors/s1", "DELETE", "/v1/sensors/s1", None),
        ("/v1/profiles/p", "DELETE", "/v1/profiles/p", None),
    ]


async def test_what_was_changed_meanwhile_is_not_changed_again(stack: Stack) -> None:
    """412 for every method with an old tag, and nothing is done; the current one is let in, and
    the answer has the next.
    """
    for path, method, target, body in await things(stack):
        seen = (await stack.client.get(path)).text
        for old in ('"x"', 'W/"x"', f"W/{await tag(stack, path)}", '"x", "y"'):
            sent = {"if-match": old}
            refused = await stack.client.request(method, target, json=body, headers=sent)
            assert coded(refused) == (412, "precondition_failed"), (method, target, old)
        assert (await stack.client.get(path)).text == seen
        sent = {"if-match": f'"x", {await tag(stack, path)}'}
        done = await stack.client.request(method, target, json=body, headers=sent)
        assert done.status_code in (200, 204), done.text
        if method != "DELETE":
            assert done.headers["etag"] == await tag(stack, path) != sent["if-match"][5:]
            again = await stack.client.request(method, target, json=body, headers=sent)
            assert coded(again) == (412, "precondition_failed"), (method, target)
        else:
            assert "etag" not in done.headers


async def test_whoever_has_it_already_is_told_so(stack: Stack) -> None:
    """304 without a body, for GET and HEAD; a weak tag is enough for that."""
    for path in {path for path, *_ in await things(stack)}:
        known = await tag(stack, path)
        for sent in (known, f"W/{known}", f'"x" , {known}', "*"):
            answer = await stack.client.get(path, headers={"if-none-match": sent})
            assert (answer.status_code, answer.content) == (304, b"")
            assert answer.headers["etag"] == known
            assert "content-type" not in answer.headers
            head = await stack.client.head(path, headers={"if-none-match": sent})
            assert head.status_code == 304
        answer = await stack.client.get(path, headers={"if-none-match": '"x"'})
        assert (answer.status_code, answer.headers["etag"]) == (200, known)
        assert answer.json()


async def test_a_profile_is_made_and_none_replaced(stack: Stack) -> None:
    """`If-None-Match: *`; and with `If-Match: *` none is made."""
    path, new = "/v1/profiles/p", {"if-none-match": "*"}
    absent = await stack.client.put(path, json={}, headers={"if-match": "*"})
    assert coded(absent) == (412, "precondition_failed")
    assert (await stack.client.put(path, json={}, headers=new)).status_code == 200
    rules = 'rule p on sensors where profile = "p" when t > 1'
    there = await stack.client.put(path, json={"rules": rules}, headers=new)
    assert coded(there) == (412, "precondition_failed")
    assert (await stack.client.get("/v1/rules")).json()["data"] == []
    assert (await stack.client.put(path, json={}, headers={"if-match": "*"})).status_code == 200


@pytest.mark.parametrize("sent", ["x", '"x', "", '"x" "y"', '*, "x"', "W/x", '"x y"', '"é'])
async def test_what_is_no_tag_is_refused(stack: Stack, sent: str) -> None:
    """400: a condition that is not understood is not left out."""
    rule = f"/v1/rules/{(await stack.rule(HOT.format(1)))['id']}"
    for field, method in (("if-match", "DELETE"), ("if-none-match", "GET")):
        headers = [(field.encode(), sent.encode("latin-1"))]
        answer = await stack.client.request(method, rule, headers=headers)
        assert coded(answer) == (400, "bad_condition")
    assert (await stack.client.get(rule)).status_code == 200


async def test_readings_change_what_is_seen_of_a_sensor_and_keep_no_edit_from_it(
    stack: Stack,
) -> None:
    """A GET is answered anew; what is said of the sensor may still be changed."""
    await stack.client.post("/v1/sensors", json={"name": "s1"})
    seen = await tag(stack, "/v1/sensors/s1")
    await stack.send([row(START_MS, 1, sensor="s1")])
    answer = await stack.client.get("/v1/sensors/s1", headers={"if-none-match": seen})
    assert answer.status_code == 200
    assert answer.json()["last_seen"] is not None
    changed = await stack.client.patch(
        "/v1/sensors/s1", json={"place": "roof"}, headers={"if-match": seen}
    )
    assert changed.status_code == 200


async def test_a_sensor_of_the_same_name_is_another(stack: Stack) -> None:
    """Its tag is not that of the one before."""
    await stack.client.post("/v1/sensors", json={"name": "s1"})
    seen = await tag(stack, "/v1/sensors/s1")
    await stack.client.delete("/v1/sensors/s1")
    await stack.client.post("/v1/sensors", json={"name": "s1"})
    refused = await stack.client.delete("/v1/sensors/s1", headers={"if-match": seen})
    assert coded(refused) == (412, "precondition_failed")


async def test_of_writers_who_have_seen_the_same_one_wins(stack: Stack) -> None:
    """Eight at once, time and again, on the same rule, sensor (by all ways to change one) and
    profile: one is let in, and what stands is what it wrote.
    """
    rule = f"/v1/rules/{(await stack.rule(HOT.format(1)))['id']}"
    await stack.client.post("/v1/sensors", json={"name": "s1"})
    await stack.client.put("/v1/profiles/p", json={})
    watch = 'rule w{} on sensors where profile = "p" when t > {}'

    def change(kind: str, n: int, turn: int) -> tuple[str, str, object]:
        value = 10 * turn + n
        if kind == rule:
            return "PUT", rule, {"text": HOT.format(value + 100)}
        if kind == "/v1/profiles/p":
            return "PUT", kind, {"description": f"{value}", "rules": watch.format(value, value)}
        ways: list[tuple[str, str, object]] = [
            ("PATCH", kind, {"place": f"place {value}"}),
            ("PATCH", kind, {"lateness": f"{value + 1}s"}),
            ("PUT", f"{kind}/tags", {"tags": {"n": f"{value}"}}),
            ("PATCH", kind, {"lateness": f"{value + 1}s", "place": f"place {value}"}),
        ]
        return ways[n % len(ways)]

    for kind in (rule, "/v1/sensors/s1", "/v1/profiles/p"):
        for turn in range(3):
            seen = {"if-match": await tag(stack, kind)}
            answers: list[httpx.Response] = []

            async def write(
                n: int, kind: str = kind, turn: int = turn, seen: dict[str, str] = seen,
                answers: list[httpx.Response] = answers,
            ) -> None:  # fmt: skip
                method, path, body = change(kind, n, turn)
                answers.append(await stack.client.request(method, path, json=body, headers=seen))

            async with trio.open_nursery() as nursery:
                for n in range(8):
                    nursery.start_soon(write, n)
            statuses = sorted(answer.status_code for answer in answers)
            assert statuses == [200] + [412] * 7, kind
            (won,) = [answer for answer in answers if answer.status_code == 200]
            stands = (await stack.client.get(kind)).json()
            assert {name: won.json()[name] for name in stands} == stands
    names = [one["name"] for one in (await stack.client.get("/v1/rules")).json()["data"]]
    assert len(names) == 2, "of the profile's writers one left a rule"


async def test_a_condition_opens_no_door(stack: Stack) -> None:
    """Who may only read is refused before anything is compared."""
    rule = f"/v1/rules/{(await stack.rule(HOT.format(1)))['id']}"
    async with client(stack, {"x-api-key": await add_key(stack, "read")}) as reader:
        seen = {"if-match": await tag(stack, rule)}
        assert coded(await reader.delete(rule, headers=seen)) == (403, "forbidden")
        assert coded(await reader.delete(rule, headers={"if-match": '"x"'})) == (403, "forbidden")


async def test_a_name_that_no_sensor_has_crashes_nobody(stack: Stack) -> None:
    """What the database would refuse never comes to the tenant's turn; nor does an id pass for a
    name, which would change nothing and say that it did.
    """
    made = (await stack.client.post("/v1/sensors", json={"name": "s1"})).json()
    for name in ("%00", "none", "a b", made["id"]):
        for _ in range(6):
            for body in ({"place": "roof"}, {"lateness": "1s"}):
                answer = await stack.client.patch(f"/v1/sensors/{name}", json=body)
                assert coded(answer) == (404, "not_found")
    assert (await stack.client.get("/v1/status")).json()["processing"] == "ok"
    assert (await stack.client.get("/v1/sensors/s1")).json() == made


async def test_a_tag_in_quotes_is_no_star(stack: Stack) -> None:
    """`"*"` is a tag that nothing has."""
    assert (await stack.client.put("/v1/profiles/starred", json={})).status_code in (200, 201)
    sent = {"if-match": '"*"'}
    refused = await stack.client.put("/v1/profiles/starred", json={}, headers=sent)
    assert (refused.status_code, refused.json()["code"]) == (412, "precondition_failed")
