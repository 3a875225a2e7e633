"""The first tenant of a database, and the file in the data directory that says how to reach it.

The file is written before the database: after a crash in between the next start finds a key that
nobody knows and makes another, whereas a key that only the database knows would be lost. No
credentials are overwritten by those of another database.
"""

from pathlib import Path

import attrs
import structlog
import trio

from atalaia.bridge import Bridge
from atalaia.config.settings import Credentials, load_all_credentials, save_credentials
from atalaia.engine.clock import WallClock
from atalaia.model.ids import uuid7
from atalaia.security.api_keys import new_key, parse_key
from atalaia.security.passwords import hash_password, new_password
from atalaia.storage.accounts import NewTenant, add_key, create_tenant, find_tenant, key_is_known

log = structlog.get_logger()

ADMIN_EMAIL = "admin@atalaia.local"
UNKNOWN_PASSWORD = ""


async def open_credentials(
    bridge: Bridge,
    url: str,
    base_url: str,
    data_dir: Path,
    clock: WallClock,
    *,
    leave: bool = False,
) -> Credentials:
    """Credentials whose key this database knows, in credentials.json when this returns.

    leave: a file that fits stays as it is, with the address of the process that wrote it.

    Kept ones where they fit; else a new key, for the first tenant if there is one, with the first
    tenant if there is none. Raises StartupRefused.
    """
    kept = load_all_credentials(data_dir)
    for known in kept:
        key = parse_key(known.api_key)
        if key is not None and await key_is_known(bridge, url, key.key_id):
            current = attrs.evolve(known, base_url=base_url, database_url=url)
            if not leave:
                save_credentials(data_dir, current)
            return current
    key_made = new_key()
    tenant_id = await find_tenant(bridge, url, ADMIN_EMAIL)
    if tenant_id is not None:
        # A second machine, or a data directory that was lost: whoever holds the powerful role's
        # URL may have a key; the password belongs to whoever made it, and stays.
        passwords = [known.admin_password for known in kept if known.tenant_id == str(tenant_id)]
        password = passwords[0] if passwords else UNKNOWN_PASSWORD
        made = Credentials(base_url, str(tenant_id), ADMIN_EMAIL, password, key_made.text, url)
        save_credentials(data_dir, made)
        await add_key(bridge, url, tenant_id, key_made)
        log.warning("key_added_to_first_tenant", tenant_id=str(tenant_id), key_id=key_made.key_id)
        return made
    tenant_id, password = uuid7(clock.now_us()), new_password()
    password_hash = await trio.to_thread.run_sync(hash_password, password)
    made = Credentials(base_url, str(tenant_id), ADMIN_EMAIL, password, key_made.text, url)
    save_credentials(data_dir, made)
    tenant = NewTenant(tenant_id, "first", ADMIN_EMAIL, password_hash, key_made, platform=True)
    await create_tenant(bridge, url, tenant, clock.now_us())
    return made
