"""Identifiers and time. Outside, ids are UUIDv7 text; inside, tenants and series are int4.

The inner numbers never leave the process: they name rows in Postgres and slots in arrays.
"""

import secrets
from typing import NewType
from uuid import UUID

Micros = NewType("Micros", int)
"""UTC epoch in microseconds: Postgres' own resolution, used everywhere inside."""

TenantNo = NewType("TenantNo", int)
"""A tenant's int4 number inside; never reused, never shown."""

SensorNo = NewType("SensorNo", int)
SeriesNo = NewType("SeriesNo", int)
"""A series is one metric of one sensor."""

RuleNo = NewType("RuleNo", int)

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US


def uuid7(now_us: Micros) -> UUID:
    """A time-ordered id (RFC 9562 version 7): 48 bits of ms, then 74 random bits."""
    value = (now_us // 1000 & (1 << 48) - 1) << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return UUID(int=value)
