"""Rules as code over HTTP: export, plan, import; the same file twice changes nothing."""

from typing import Any

import pytest

from atalaia.engine import rule_edits
from atalaia.http.rule_checks import all_rules
from atalaia.model.ids import TenantNo
from atalaia.model.rule import StoredRule
from atalaia.ports import Queries
from atalaia.rules.changes import check_count
from atalaia.security.api_keys import new_key
from tests.stack import START_MS, Stack, row

pytestmark = pytest.mark.postgres

HOT = "# why\nrule hot on sensors\n  when t > 10  # because"


def file(*rules: tuple[str, bool]) -> str:
    """A file as people write it."""
    shown = ["rules:"]
    for text, enabled in rules:
        block = "\n".join("      " + line for line in text.split("\n"))
        shown.append(f"  - text: |\n{block}\n    enabled: {str(enabled).lower()}")
    return "\n".join(shown) + "\n"


async def send(stack: Stack, text: str, query: str = "") -> dict[str, Any]:
    response = await stack.client.post(f"/v1/rules:import{query}", content=text)
    assert response.status_code == 200, response.text
    return response.json()  # type: ignore[no-any-return]


def steps(answer: dict[str, Any]) -> list[tuple[str, str, bool]]:
    return [(change["action"], change["name"], change["done"]) for change in answer["changes"]]


async def test_an_export_brings_everything_back(stack: Stack) -> None:
    """Names, texts with their comments, and which rules are out of service."""
    await stack.rule(HOT)
    cold = await stack.rule('rule "c: d" on sensors when t < 1\n\n')
    await stack.client.post(f"/v1/rules/{cold['id']}/disable")
    before = (await stack.client.get("/v1/rules")).json()["data"]
    exported = await stack.client.get("/v1/rules:export")
    assert exported.headers["content-type"].startswith("application/yaml")
    assert "    text: |-\n      # why\n      rule hot on sensors\n" in exported.text
    same = await send(stack, exported.text, "?prune=true")
    assert steps(same) == [("unchanged", "c: d", True), ("unchanged", "hot", True)]
    for rule in before:
        await stack.client.delete(f"/v1/rules/{rule['id']}")
    made = await send(stack, exported.text)
    assert steps(made) == [("create", "c: d", True), ("create", "hot", True)]
    assert (await stack.client.get("/v1/rules:export")).text == exported.text


async def test_a_dry_run_only_says_what_would_be_done(stack: Stack) -> None:
    """With the diff of each text, and what it does to open alerts."""
    await stack.rule(HOT)
    await stack.rule("rule old on sensors when t > 1")
    await stack.send([row(START_MS, 11)])
    text = file((HOT.replace("10", "12"), True), ("rule new on sensors when t > 3", False))
    plan = await send(stack, text, "?dry_run=true&prune=true")
    assert plan["dry_run"] is True
    assert steps(plan) == [
        ("replace", "hot", False), ("create", "new", False), ("delete", "old", False),
    ]  # fmt: skip
    assert [change["closes_alerts"] for change in plan["changes"]] == [True, False, True]
    assert "-  when t > 10  # because\n+  when t > 12  # because" in plan["changes"][0]["diff"]
    assert len(await stack.alerts("&state=open")) == 2
    assert len((await stack.client.get("/v1/rules")).json()["data"]) == 2


async def test_an_import_makes_replaces_switches_and_prunes(stack: Stack) -> None:
    """Rules that the file lacks go only with prune; again, and nothing is left to do."""
    await stack.rule(HOT)
    await stack.rule("rule old on sensors when t > 1")
    text = file((HOT.replace("10", "12"), False), ("rule new on sensors when t > 3", False))
    done = await send(stack, text)
    assert steps(done) == [("disable", "hot", True), ("replace", "hot", True),
                           ("create", "new", True)]  # fmt: skip
    assert done["left"] == ["old"]
    rules = {rule["name"]: rule for rule in (await stack.client.get("/v1/rules")).json()["data"]}
    assert (rules["hot"]["enabled"], rules["new"]["enabled"]) == (False, False)
    assert (rules["hot"]["text"], rules["new"]["revision"]) == (HOT.replace("10", "12") + "\n", 1)
    assert steps(await send(stack, text, "?prune=true")) == [
        ("unchanged", "hot", True), ("unchanged", "new", True), ("delete", "old", True),
    ]  # fmt: skip
    again = await send(stack, text.replace("enabled: false", "enabled: true"), "?prune=true")
    assert steps(again) == [("enable", "hot", True), ("enable", "new", True)]
    await stack.send([row(START_MS, 11)])
    assert [alert["rule"]["name"] for alert in await stack.alerts()] == ["new"]


async def test_every_problem_of_a_file_is_answered_at_once(stack: Stack) -> None:
    """With rule, line and column, and nothing is begun."""
    text = file(("rule a on sensors when t > 1", True), ("rule b on sensors\n when avgg(t, 1m) > 2",
                True), ("rule a on sensors when t > 1 fro 2s", True))  # fmt: skip
    response = await stack.client.post("/v1/rules:import", content=text)
    body = response.json()
    assert (response.status_code, body["code"]) == (422, "invalid_rule_file")
    assert [(p["line"], p["column"]) for p in body["problems"]] == [(7, 13), (10, 36)]
    assert (await stack.client.get("/v1/rules")).json()["data"] == []
    latin = await stack.client.post("/v1/rules:import", content=b"rules:\n # \xe9")
    assert (latin.status_code, latin.json()["problems"][0]["line"]) == (422, 2)


async def test_an_import_that_breaks_off_says_how_far_it_came(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The status is that of the failure; sending the file again does the rest."""
    text = file(*((f"rule {name} on sensors when t > 1", True) for name in "abc"))
    with monkeypatch.context() as patched:
        patched.setattr(rule_edits, "check_count", lambda rules, _: check_count(rules, 2))
        response = await stack.client.post("/v1/rules:import", content=text)
    body = response.json()
    assert (response.status_code, body["code"]) == (409, "too_many_rules")
    assert steps(body) == [("create", "a", True), ("create", "b", True), ("create", "c", False)]
    assert steps(await send(stack, text)) == [
        ("unchanged", "a", True), ("unchanged", "b", True), ("create", "c", True),
    ]  # fmt: skip


async def test_reading_needs_less_than_changing(stack: Stack) -> None:
    """A key for pipelines that may only read exports, checks and plans, and imports nothing."""
    key = new_key()
    await stack.sql(
        "INSERT INTO api_keys (tenant_id, key_id, hash, name, scopes)"
        " SELECT tenant_id, $1, $2, 'reader', '{read}' FROM tenants",
        key.key_id,
        key.hash,
    )
    reader = {"x-api-key": key.text}
    plan = await stack.client.post(
        "/v1/rules:import?dry_run=true", content="rules: []", headers=reader
    )
    assert plan.status_code == 200, plan.text
    assert (await stack.client.get("/v1/rules:export", headers=reader)).status_code == 200
    made = await stack.client.post("/v1/rules:import", content="rules: []", headers=reader)
    assert made.status_code == 403


async def test_an_import_meets_a_rule_that_has_just_gone(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was to be deleted: that is done. It was to be replaced: a conflict, and once more."""

    async def read_then_lose(queries: Queries, tenant_no: TenantNo) -> list[StoredRule]:
        rules = list(await all_rules(queries, tenant_no))
        for rule in rules:
            await stack.client.delete(f"/v1/rules/{rule.rule_id}")
        return rules

    await stack.rule(HOT)
    text = file((HOT.replace("10", "12"), True))
    with monkeypatch.context() as patched:
        patched.setattr("atalaia.http.rule_files.all_rules", read_then_lose)
        response = await stack.client.post("/v1/rules:import", content=text)
        assert (response.status_code, response.json()["code"]) == (409, "conflict")
        assert "send the file again" in response.json()["detail"]
        await stack.rule(HOT)
        gone = await send(stack, file(("rule new on sensors when t > 3", True)), "?prune=true")
    assert steps(gone) == [("create", "new", True), ("delete", "hot", True)]
    assert steps(await send(stack, text)) == [("create", "hot", True)]


async def test_a_key_for_rules_alone_keeps_them(stack: Stack) -> None:
    """What a pipeline needs: to compare and to import, and nothing else."""
    await stack.sql("UPDATE api_keys SET scopes = '{rules}'")
    done = await send(stack, file((HOT, True)))
    assert steps(done) == [("create", "hot", True)]
    assert (await stack.client.get("/v1/rules:export")).status_code == 200
    assert (await stack.send([])).status_code == 403
    assert (await stack.client.get("/v1/api-keys")).status_code == 403
