"""`atalaia users`: a way back in, and who looks after all tenants; for whoever holds the database's
own credentials.
"""

import sys
from functools import partial

from cyclopts import App

from atalaia.cli.database import DataDir, database_url, failed, with_bridge
from atalaia.model.errors import AtalaiaError

app = App(name="users", help="Let a user choose another password; say who looks after all tenants.")


@app.command
def link(email: str, *, data_dir: DataDir = None) -> int:
    """Print the token of a link by which a user chooses a password: once, within an hour.

    It goes to POST /v1/auth/password/reset. Where mails are sent, a mail with it goes out too. For
    the last administrator who has forgotten theirs; all others may be given a link by an
    administrator.

    Parameters
    ----------
    email
        Whose.
    data_dir
        Where credentials.json is, unless DATABASE_URL is set.
    """
    from atalaia.model.people import NewLink
    from atalaia.security.api_keys import hash_secret
    from atalaia.security.tokens import RESET_LIVES_S, new_link
    from atalaia.storage.users import link_for

    text = new_link()
    made = NewLink(text, hash_secret(text), "reset", RESET_LIVES_S)
    address = email.strip().lower()
    try:
        with_bridge(link_for, database_url(data_dir), address, made)
    except AtalaiaError as error:
        return failed(error)
    print(
        f"The token of a link for {address}: whoever sends it with a new password to POST "
        f"/v1/auth/password/reset within {RESET_LIVES_S // 60} minutes signs in with that.",
        file=sys.stderr,
        flush=True,
    )
    print(text)
    return 0


@app.command
def platform(email: str, *, revoke: bool = False, data_dir: DataDir = None) -> int:
    """Let an administrator of the first tenant look after all tenants.

    They sign in again, and it is written into the audit. No route does this.

    Parameters
    ----------
    email
        Whose address. They are invited in the first tenant, and have chosen a password.
    revoke
        They are to look after their own tenant alone.
    data_dir
        Where credentials.json is, unless DATABASE_URL is set.
    """
    from atalaia.storage.users import set_platform

    address = email.strip().lower()
    try:
        work = partial(set_platform, platform=not revoke)
        with_bridge(work, database_url(data_dir), address)
    except AtalaiaError as error:
        return failed(error)
    print(f"{address} looks after {'their own tenant' if revoke else 'all tenants'}")
    return 0
