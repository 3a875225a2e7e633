"""The audit's chain: whatever is done to a row behind its back is found."""

from functools import partial

import pytest
import trio

from atalaia.model.audit import Actor, AuditEntry
from atalaia.storage.audit import verify_audit
from tests.stack import Stack, make_tenant

pytestmark = pytest.mark.postgres


async def write(stack: Stack, count: int, key: str | None = None) -> None:
    tenant_no = await stack.tenant_no()
    for n in range(count):
        entry = AuditEntry(
            Actor("user:1", 'Zé, o "chefe"'), "rule.created", f"r{n}", {"n": n, "ç": "\0"}
        )
        await stack.sessions.people.record(tenant_no, entry)


async def test_an_untouched_chain_is_sound(stack: Stack) -> None:
    """Of every tenant, also of one without a row; whatever is in it."""
    await write(stack, 7)
    await make_tenant(stack.bridge, stack.database_url)
    sound, faults = await verify_audit(stack.bridge, stack.database_url)
    assert ([head.seq for head in sound], faults) == ([7, 0], [])


@pytest.mark.parametrize(
    ("fault", "seq"),
    [
        ("UPDATE audit SET actor = 'user:2' WHERE seq = 3", 3),
        ("UPDATE audit SET target = target || ' ' WHERE seq = 3", 3),
        ("UPDATE audit SET at = at + interval '1 microsecond' WHERE seq = 3", 3),
        ("UPDATE audit SET detail = '{}' WHERE seq = 3", 3),
        ("UPDATE audit SET action = action || target, target = '' WHERE seq = 3", 3),
        ("UPDATE audit SET hash = sha256(hash) WHERE seq = 3", 3),
        ("DELETE FROM audit WHERE seq = 3", 3),
        ("DELETE FROM audit WHERE seq = 1", 1),
        ("DELETE FROM audit WHERE seq = 6", 6),
        ("DELETE FROM audit WHERE seq >= 4", 4),
        ("DELETE FROM audit", 1),
        (
            "UPDATE audit a SET actor = b.actor, target = b.target, at = b.at, detail = b.detail,"
            " hash = b.hash FROM audit b WHERE (a.seq, b.seq) IN ((2, 5), (5, 2))",
            2,
        ),
        ("UPDATE audit SET seq = seq + 100 WHERE seq = 6", 6),
        ("UPDATE audit_heads SET seq = 5", 6),
        ("UPDATE audit_heads SET hash = ''", 6),
    ],
)
async def test_a_row_that_was_changed_taken_out_or_moved_is_found(
    stack: Stack, fault: str, seq: int
) -> None:
    """By the owner of the tables, whom nothing else holds back; and it says where."""
    await write(stack, 6)
    await stack.sql(fault)
    _, faults = await verify_audit(stack.bridge, stack.database_url)
    assert [found.seq for found in faults] == [seq]


async def test_a_row_of_another_tenant_is_found(stack: Stack) -> None:
    """The tenant is part of what is hashed."""
    await write(stack, 2)
    await make_tenant(stack.bridge, stack.database_url)
    await stack.sql("UPDATE audit SET tenant_id = (SELECT max(tenant_id) FROM tenants)")
    await stack.sql("UPDATE audit_heads SET tenant_id = (SELECT max(tenant_id) FROM tenants)")
    sound, faults = await verify_audit(stack.bridge, stack.database_url)
    assert (len(sound), [found.seq for found in faults]) == (1, [1])


async def test_a_chain_that_was_made_anew_is_found_by_a_head_that_was_kept(stack: Stack) -> None:
    """By itself it is sound; it does not have the row that was told before, or not yet again."""
    await write(stack, 3)
    (kept,) = await stack.sessions.people.heads()
    await write(stack, 2)
    verify = partial(verify_audit, stack.bridge, stack.database_url)
    assert (await verify([kept]))[1] == []
    for rows, what in ((6, "is not the one that was kept"), (2, "is missing")):
        await stack.sql("DELETE FROM audit")
        await stack.sql("DELETE FROM audit_heads")
        await write(stack, rows)
        assert (await verify())[1] == []
        assert [(fault.seq, fault.what) for fault in (await verify([kept]))[1]] == [(3, what)]


async def test_a_rewritten_chain_that_was_told_of_is_found_all_the_same(stack: Stack) -> None:
    """The log may have both heads: each that it has must be there."""
    await write(stack, 2)
    (honest,) = await stack.sessions.people.heads()
    await stack.sql("DELETE FROM audit")
    await stack.sql("DELETE FROM audit_heads")
    await write(stack, 2)
    (forged,) = await stack.sessions.people.heads()
    for kept in ([honest, forged], [forged, honest]):
        _, faults = await verify_audit(stack.bridge, stack.database_url, kept)
        assert [(fault.seq, fault.what) for fault in faults] == [
            (2, "is not the one that was kept")
        ]


async def test_many_at_once_make_one_chain(stack: Stack) -> None:
    """Without gaps, whoever comes first; also from the engine's commits."""
    async with trio.open_nursery() as nursery:
        for n in range(12):
            nursery.start_soon(write, stack, 2)
            text = f"rule r{n} on sensors when t > 1"
            nursery.start_soon(stack.rule, text)
    sound, faults = await verify_audit(stack.bridge, stack.database_url)
    assert ([head.seq for head in sound], faults) == ([36], [])
