"""What a good engineer writes in an afternoon: FastAPI, a pool, batched executemany.

`uvicorn` with uvloop and httptools runs it. The table and its key are made by the bench; the
series are looked up in a dict that is filled from the database at the start and on a miss.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import asyncpg
from fastapi import FastAPI, Request
from fastapi.responses import ORJSONResponse
from pydantic import BaseModel


class Reading(BaseModel):
    sensor: str
    metric: str
    ts: int
    value: float


INSERT = (
    "INSERT INTO peer_readings (series_id, ts, value) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.pool = await asyncpg.create_pool(
        os.environ["PEER_DATABASE_URL"], min_size=8, max_size=8
    )
    app.state.series = {}
    yield
    await app.state.pool.close()


app = FastAPI(lifespan=lifespan, default_response_class=ORJSONResponse)


async def series_id(sensor: str, metric: str, tenant: str) -> int:
    key = (tenant, sensor, metric)
    known = app.state.series
    if key not in known:
        known[key] = await app.state.pool.fetchval(
            "INSERT INTO peer_series (tenant, sensor, metric) VALUES ($1, $2, $3)"
            " ON CONFLICT (tenant, sensor, metric) DO UPDATE SET metric = excluded.metric"
            " RETURNING series_id",
            *key,
        )
    return known[key]


@app.post("/v1/readings")
async def post_readings(readings: list[Reading], request: Request) -> dict[str, int]:
    tenant = request.headers["x-api-key"]
    rows = [
        (
            await series_id(reading.sensor, reading.metric, tenant),
            datetime.fromtimestamp(reading.ts / 1000, UTC),
            reading.value,
        )
        for reading in readings
    ]
    async with app.state.pool.acquire() as connection, connection.transaction():
        await connection.executemany(INSERT, rows)
    return {"accepted": len(rows)}
