"""Token buckets: the average holds, any batch passes, a refusal is true and costs nothing."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from atalaia.engine.quota import BURST_S, BYTES, READINGS, Quotas
from atalaia.model.errors import Overloaded
from atalaia.model.ids import TenantNo
from atalaia.model.quota import NO_QUOTA, Quota

ONE, TWO = TenantNo(1), TenantNo(2)


def refusal(
    quotas: Quotas, now: float, quota: Quota = NO_QUOTA, tenant: TenantNo = ONE
) -> Overloaded | None:
    try:
        quotas.check(tenant, quota, now)
    except Overloaded as error:
        return error
    return None


@given(
    st.integers(1, 1_000_000),
    st.lists(st.tuples(st.floats(0, 5), st.integers(1, 50_000)), max_size=60),
)
def test_the_average_holds_whatever_is_sent(rate: int, sent: list[tuple[float, int]]) -> None:
    """Admitted before the last batch: at most the rate's tokens, the burst, and one batch more."""
    quotas, quota = Quotas(NO_QUOTA), Quota(readings_per_s=rate)
    now, admitted, largest = 0.0, 0, max((rows for _, rows in sent), default=0)
    for pause, rows in sent:
        now += pause
        if refusal(quotas, now, quota) is None:
            quotas.pay(ONE, quota, now, readings=rows)
            admitted += rows
        assert admitted <= rate * (now + BURST_S) + largest + 1


@given(st.integers(1, 1_000_000), st.integers(1, 50_000), st.floats(0, 1e6))
@example(1_000, 1_250, 0.0)  # a second to the dot
@example(1_000, 1_250, 0.1)
def test_the_delay_is_true(rate: int, rows: int, began: float) -> None:
    """Whoever comes back then is let in, and a whole second earlier nobody is."""
    quotas, quota = Quotas(NO_QUOTA), Quota(readings_per_s=rate)
    assert refusal(quotas, began, quota) is None  # the first passes, whatever its size
    quotas.pay(ONE, quota, began, readings=rows)
    refused = refusal(quotas, began, quota)
    if refused is None:
        assert rows <= rate * BURST_S
        return
    assert refused.retry_after_s >= 1
    assert refusal(quotas, began + refused.retry_after_s, quota) is None
    if refused.retry_after_s > 1:
        assert refusal(quotas, began + refused.retry_after_s - 1.001, quota) is not None


def test_what_is_refused_costs_no_tokens() -> None:
    """Else whoever does not wait would never be let in again."""
    quotas, quota = Quotas(NO_QUOTA), Quota(readings_per_s=100)
    quotas.pay(ONE, quota, 0.0, readings=125)
    assert [refusal(quotas, n / 1000, quota) is None for n in range(1_000)].count(False) == 1_000
    assert refusal(quotas, 1.0, quota) is None


@pytest.mark.parametrize(
    ("quota", "code", "who"),
    [
        (Quota(readings_per_s=10), READINGS, "tenant's quota of 10 readings"),
        (Quota(bytes_per_s=10), BYTES, "tenant's quota of 10 bytes"),
        (Quota(key_readings_per_s=10, key_id="k"), READINGS, "key's quota of 10 readings"),
        (Quota(key_bytes_per_s=10, key_id="k"), BYTES, "key's quota of 10 bytes"),
    ],
)
def test_a_refusal_names_the_quota(quota: Quota, code: str, who: str) -> None:
    """Its code and whose it is."""
    quotas = Quotas(NO_QUOTA)
    quotas.pay(ONE, quota, 0.0, readings=1_000, size=1_000)
    refused = refusal(quotas, 0.0, quota)
    assert refused is not None
    assert refused.code == code
    assert who in refused.detail
    assert refused.retry_after_s == 100  # 997.5 tokens are missing


def test_tenants_and_keys_have_buckets_of_their_own() -> None:
    """One that is empty refuses nobody else; a key's limit is that key's."""
    quotas = Quotas(NO_QUOTA)
    one, other = (Quota(key_readings_per_s=10, key_id=name) for name in ("one", "other"))
    quotas.pay(ONE, one, 0.0, readings=1_000)
    assert refusal(quotas, 0.0, one) is not None
    assert refusal(quotas, 0.0, other) is None
    tenants = Quota(readings_per_s=10)
    quotas.pay(ONE, tenants, 0.0, readings=1_000)
    assert refusal(quotas, 0.0, tenants) is not None
    assert refusal(quotas, 0.0, tenants, TWO) is None


def test_defaults_hold_where_nothing_is_written() -> None:
    """And only there."""
    quotas = Quotas(Quota(readings_per_s=10, max_rules=3))
    quotas.pay(ONE, NO_QUOTA, 0.0, readings=100)
    assert refusal(quotas, 0.0) is not None
    assert refusal(quotas, 1.0, Quota(readings_per_s=1_000)) is None  # a change holds at once
    assert quotas.in_force(Quota(max_rules=0)).max_rules == 0
    assert quotas.in_force(NO_QUOTA).readings_per_s == 10


def test_memory_follows_those_who_send() -> None:
    """A bucket that is full again is forgotten, one in debt is not."""
    quotas, quota = Quotas(NO_QUOTA), Quota(readings_per_s=10)
    quotas.pay(ONE, quota, 0.0, readings=10)
    quotas.pay(TWO, quota, 0.0, readings=1_000)
    quotas.forget_full(10.0)
    assert len(quotas._buckets) == 1
    assert refusal(quotas, 10.0, quota, TWO) is not None
