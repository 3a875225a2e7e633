"""Which secrets of access tokens the processes of one database go by, known by their ids alone.

Runs on the powerful role while starting, so every error of the database is a StartupRefused.
"""

from collections.abc import Collection

from atalaia.bridge import Bridge
from atalaia.model.errors import StartupRefused
from atalaia.storage.accounts import transaction_aio


async def agree_on_secrets(
    bridge: Bridge, url: str, key_ids: Collection[str], *, replace: bool
) -> bool:
    """Whether one at least is of the process that started last, or none has started yet; these
    are known from here on.

    replace: they are where none is, too. Else that is StartupRefused, and nothing is changed.
    """
    return await bridge.call(_agree_aio, url, frozenset(key_ids), replace)


async def _agree_aio(url: str, key_ids: frozenset[str], replace: bool) -> bool:
    async with transaction_aio(url, "atalaia_migrate") as connection:
        # Of two that start at once one waits; whoever reads, such as a dump, keeps nobody.
        await connection.execute("LOCK TABLE token_secrets IN SHARE ROW EXCLUSIVE MODE")
        rows = await connection.fetch("SELECT key_id FROM token_secrets")
        known = {row["key_id"] for row in rows}
        agrees = not known or bool(known & key_ids)
        if not agrees and not replace:
            raise StartupRefused(
                "The secret of access tokens is another one than that of this database's other "
                "processes, and each would sign out the other's people. Set ATALAIA_JWT_SECRETS to "
                "the same for all of them; the engine's own is the file jwt-secret in its data "
                "directory."
            )
        if known != key_ids:
            await connection.execute("DELETE FROM token_secrets")
            await connection.execute(
                "INSERT INTO token_secrets SELECT unnest($1::text[])", sorted(key_ids)
            )
        return agrees
