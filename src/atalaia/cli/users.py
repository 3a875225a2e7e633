"""`atalaia users`: a way back in, for whoever holds the database's own credentials."""

from cyclopts import App

from atalaia.cli.database import DataDir, database_url, failed, with_bridge
from atalaia.model.errors import AtalaiaError

app = App(name="users", help="Let a user choose another password.")


@app.command
def link(email: str, *, data_dir: DataDir = None) -> int:
    """Print the token of a link by which a user chooses a password: once, within an hour.

    It goes to POST /v1/auth/password/reset. For the last administrator who has forgotten theirs;
    all others may be given a link by an administrator.

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
    try:
        with_bridge(link_for, database_url(data_dir), email.strip().lower(), made)
    except AtalaiaError as error:
        return failed(error)
    print(text)
    return 0
