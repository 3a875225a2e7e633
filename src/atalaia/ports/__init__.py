"""Everything outside the process, as the engine and the faces see it.

`storage` implements these on Postgres. Times are UTC epoch µs; numbers of tenants, sensors and
series are the inner int4 ones. A call either does what it says or raises one of `errors`.
"""

from atalaia.ports.engine import (
    CommitItem,
    EngineStore,
    LatenessWrite,
    RuleWrite,
    SensorRow,
    SeriesRow,
    TagsWrite,
    TenantImage,
    Waiting,
)
from atalaia.ports.errors import Fenced, StoreRefused, StoreSlow, StoreUnavailable, TenantGone
from atalaia.ports.queries import Queries, SensorImage, SeriesFilter
from atalaia.ports.rollups import Rollups

__all__ = [
    "CommitItem",
    "EngineStore",
    "Fenced",
    "LatenessWrite",
    "Queries",
    "Rollups",
    "RuleWrite",
    "SensorImage",
    "SensorRow",
    "SeriesFilter",
    "SeriesRow",
    "StoreRefused",
    "StoreSlow",
    "StoreUnavailable",
    "TagsWrite",
    "TenantGone",
    "TenantImage",
    "Waiting",
]
