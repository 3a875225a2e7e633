"""Token buckets: readings and bytes per second, of each tenant and of each key.

A batch passes while there is no debt and may make one, so that a batch of any size
passes and the average holds. What is refused costs no tokens. Pure: told the time, never asks.
"""

from collections.abc import Container, Iterator

import attrs

from atalaia.model.errors import QuotaUsedUp
from atalaia.model.ids import TenantNo
from atalaia.model.quota import Quota
from atalaia.model.standing import BucketName, Standing

READINGS, BYTES = "quota_readings", "quota_bytes"  # what a refusal is called

BURST_S = 0.25
"""Of rate, saved up at most. Windows of a second let through so much in one go that others waited
232 ms (p99), with windows of a tenth of a second 50 ms at the same rate."""

ROUNDING = 1e-3  # of a token, so that whoever waits just as long as told is not told again


@attrs.define(eq=False)
class Bucket:
    """Tokens come at `rate` a second; times are in seconds, of one clock."""

    rate: int
    _at: float
    _tokens: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._tokens = self.rate * BURST_S

    def wait_s(self, now: float) -> float:
        """Until tokens are there; 0 when they are."""
        self._fill(now)
        return 0.0 if self._tokens > -ROUNDING else -self._tokens / self.rate

    def pay(self, tokens: int, now: float) -> None:
        self._fill(now)
        self._tokens -= tokens

    def full(self, now: float) -> bool:
        """Then a new bucket is as good."""
        self._fill(now)
        return self._tokens >= self.rate * BURST_S

    def stands(self, now: float) -> tuple[int, float, float]:
        """Tokens, none while there is a debt; seconds until it is full; and as `wait_s`."""
        wait_s = self.wait_s(now)
        return max(0, int(self._tokens)), BURST_S - self._tokens / self.rate, wait_s

    def _fill(self, now: float) -> None:
        filled = self._tokens + (now - self._at) * self.rate
        self._tokens, self._at = min(filled, self.rate * BURST_S), now


@attrs.frozen
class _Limit:
    """One of those that a sender is held to. whose: a tenant's number, or a key's id."""

    code: str
    whose: TenantNo | str
    rate: int

    @property
    def bucket(self) -> BucketName:
        if isinstance(self.whose, str):
            return "key-bytes" if self.code == BYTES else "key-readings"
        return "bytes" if self.code == BYTES else "readings"

    def used_up(self, wait_s: float) -> QuotaUsedUp:
        owner = "key" if isinstance(self.whose, str) else "tenant"
        what = "bytes" if self.code == BYTES else "readings"
        return QuotaUsedUp(
            f"This {owner}'s quota of {self.rate:,} {what} a second is used up; "
            "send the same batch again after the delay.",
            code=self.code,
            wait_s=wait_s,
            bucket=self.bucket,
        )


@attrs.define(eq=False)
class Quotas:
    """The buckets in use. defaults: for whatever a quota leaves open; what these leave open too is
    not bounded.
    """

    defaults: Quota
    _buckets: dict[tuple[str, TenantNo | str], Bucket] = attrs.field(factory=dict)

    def check(
        self,
        tenant_no: TenantNo,
        quota: Quota,
        now: float,
        codes: Container[str] = (READINGS, BYTES),
    ) -> None:
        """Raises QuotaUsedUp when tokens are used up. Costs two or three look-ups."""
        for limit in self._limits(tenant_no, quota):
            if limit.code in codes and (wait_s := self._bucket(limit, now).wait_s(now)):
                raise limit.used_up(wait_s)

    def pay(
        self, tenant_no: TenantNo, quota: Quota, now: float, *, readings: int = 0, size: int = 0
    ) -> None:
        """For what was taken in; size in bytes. May leave debts."""
        for limit in self._limits(tenant_no, quota):
            self._bucket(limit, now).pay(size if limit.code == BYTES else readings, now)

    def standings(self, tenant_no: TenantNo, quota: Quota, now: float) -> list[Standing]:
        """Of every bucket that a sender is held to; none where nothing is bounded."""
        return [
            Standing(limit.bucket, limit.rate, 1.0, *self._bucket(limit, now).stands(now))
            for limit in self._limits(tenant_no, quota)
        ]

    def in_force(self, quota: Quota) -> Quota:
        """The quota with the defaults where it leaves something open."""
        ours = self.defaults
        return Quota(
            readings_per_s=quota.readings_per_s or ours.readings_per_s,
            bytes_per_s=quota.bytes_per_s or ours.bytes_per_s,
            max_rules=ours.max_rules if quota.max_rules is None else quota.max_rules,
            key_readings_per_s=quota.key_readings_per_s or ours.key_readings_per_s,
            key_id=quota.key_id,
            key_bytes_per_s=quota.key_bytes_per_s or ours.key_bytes_per_s,
            waiting_bytes=quota.waiting_bytes or ours.waiting_bytes,
        )

    def forget_full(self, now: float) -> None:
        """Drop what a new bucket would be as good as: memory follows those who send."""
        full = [name for name, bucket in self._buckets.items() if bucket.full(now)]
        for name in full:
            del self._buckets[name]

    def _limits(self, tenant_no: TenantNo, quota: Quota) -> Iterator[_Limit]:
        ours = self.defaults
        if rate := quota.readings_per_s or ours.readings_per_s:
            yield _Limit(READINGS, tenant_no, rate)
        if rate := quota.bytes_per_s or ours.bytes_per_s:
            yield _Limit(BYTES, tenant_no, rate)
        if quota.key_id and (rate := quota.key_readings_per_s or ours.key_readings_per_s):
            yield _Limit(READINGS, quota.key_id, rate)
        if quota.key_id and (rate := quota.key_bytes_per_s or ours.key_bytes_per_s):
            yield _Limit(BYTES, quota.key_id, rate)

    def _bucket(self, limit: _Limit, now: float) -> Bucket:
        bucket = self._buckets.get((limit.code, limit.whose))
        if bucket is None:
            bucket = self._buckets[limit.code, limit.whose] = Bucket(limit.rate, now)
        bucket.rate = limit.rate  # it may have been changed; debts stay
        return bucket
