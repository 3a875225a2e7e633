"""The demo: a tenant of its own with rules and simulated sensors, fed through the gate."""

from pathlib import Path

import attrs
import msgspec
import structlog
import trio

from atalaia.bridge import Bridge
from atalaia.engine.clock import WallClock
from atalaia.engine.gate import Gate
from atalaia.engine.ingest import Body, ingest
from atalaia.engine.messages import CreateRule
from atalaia.model.errors import AtalaiaError, Conflict
from atalaia.model.ids import TenantNo, uuid7
from atalaia.ports import Queries
from atalaia.security.api_keys import new_key, parse_key
from atalaia.security.passwords import hash_password, new_password
from atalaia.simulation import Faults, make_sensors, readings
from atalaia.storage.accounts import NewTenant, create_tenant, key_is_known
from atalaia.wire.options import WireOptions

log = structlog.get_logger()

KEY_FILE = "demo-key"
SENSORS = 12
INTERVAL_S = 1.0
MAX_BYTES = 1_000_000

RULES = (
    "rule boiler-hot on sensors when avg(temperature, 30s) > 68 for 5s"
    " clear when avg(temperature, 30s) < 66"
    " severity warning, critical when avg(temperature, 30s) > 70.5",
    "rule damp on sensors when avg(humidity, 1m) > 55 clear when avg(humidity, 1m) < 52"
    " severity info",
    "rule stuck on sensors when stddev(vibration, 30s) <= 0 and count(vibration, 30s) >= 10",
)


@attrs.frozen
class DemoTenant:
    """Where the demo lives."""

    tenant_no: TenantNo
    api_key: str = attrs.field(repr=False)


async def open_demo(
    bridge: Bridge, url: str, queries: Queries, gate: Gate, data_dir: Path, clock: WallClock
) -> DemoTenant:
    """The demo's tenant with its rules, made on the first time."""
    text = await _find_key(bridge, url, data_dir)
    if text is None:
        key, now = new_key(), clock.now_us()
        password_hash = await trio.to_thread.run_sync(hash_password, new_password())
        tenant = NewTenant(
            uuid7(now), "demo", f"demo-{key.key_id}@atalaia.local", password_hash, key
        )
        await create_tenant(bridge, url, tenant, now)
        text = key.text
        _keep_key(data_dir, text)
    presented = parse_key(text)
    record = None if presented is None else await queries.find_key(presented.key_id)
    if record is None:
        raise AtalaiaError(f"{data_dir / KEY_FILE} holds no key of this database; remove it.")
    for rule in RULES:
        try:
            await gate.edit_rule(record.tenant_no, CreateRule(rule)).wait()
        except Conflict:
            continue  # made by an earlier demo
    return DemoTenant(record.tenant_no, text)


async def _find_key(bridge: Bridge, url: str, data_dir: Path) -> str | None:
    """The key that this database knows, of those kept here; in KEY_FILE when this returns."""
    for path, text in _kept_keys(data_dir):
        presented = parse_key(text)
        if presented is not None and await key_is_known(bridge, url, presented.key_id):
            if path.name != KEY_FILE:
                _keep_key(data_dir, text)
                path.unlink()
            return text
    return None


def _kept_keys(data_dir: Path) -> list[tuple[Path, str]]:
    """The current one first, then those that were set aside for another database."""
    paths = (data_dir / KEY_FILE, *sorted(data_dir.glob(f"{KEY_FILE}-*")))
    return [(path, path.read_text().strip()) for path in paths if path.exists()]


def _keep_key(data_dir: Path, text: str) -> None:
    """Mode 0600; the key of another database is set aside under its id, as credentials are."""
    path = data_dir / KEY_FILE
    if path.exists():
        before = parse_key(path.read_text().strip())
        if before is not None:
            path.replace(data_dir / f"{KEY_FILE}-{before.key_id}")
    path.touch(mode=0o600)
    path.write_text(text)


async def run_demo(gate: Gate, tenant: DemoTenant, clock: WallClock, shutdown: trio.Event) -> None:
    """Feed the sensors' readings once a second, as the faces do, until `shutdown`."""
    sensors = make_sensors(SENSORS, prefix="demo", faults=Faults(), seed=clock.now_us())
    options = WireOptions(precision="us")
    while not shutdown.is_set():
        rows = [attrs.asdict(reading) for reading in readings(sensors, clock.now_us())]
        if rows:
            body = Body(msgspec.json.encode(rows), "identity", options)
            try:
                await ingest(gate, tenant.tenant_no, body, max_bytes=MAX_BYTES)
            except AtalaiaError as error:
                log.warning("demo_readings_lost", rows=len(rows), error=error.detail)
        with trio.move_on_after(INTERVAL_S):
            await shutdown.wait()
