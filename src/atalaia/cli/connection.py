"""Which server a command talks to, and with which key."""

import os
from pathlib import Path

import attrs

from atalaia.config.settings import default_data_dir, load_credentials
from atalaia.model.errors import StartupRefused


@attrs.frozen
class Connection:
    """A running server and a key for it."""

    base_url: str
    api_key: str = attrs.field(repr=False)

    @property
    def headers(self) -> dict[str, str]:
        return {"X-API-Key": self.api_key}


def find_connection(url: str | None, key: str | None, data_dir: Path | None) -> Connection:
    """Options first, then ATALAIA_URL and ATALAIA_API_KEY, then credentials.json.

    Raises StartupRefused when neither says.
    """
    url = url or os.environ.get("ATALAIA_URL")
    key = key or os.environ.get("ATALAIA_API_KEY")
    if url is None or key is None:
        directory = data_dir or default_data_dir()
        known = load_credentials(directory)
        if known is None:
            raise StartupRefused(
                f"There are no credentials in {directory}. Start `atalaia up`, or name the server "
                "with --url and --key (or ATALAIA_URL and ATALAIA_API_KEY)."
            )
        url, key = url or known.base_url, key or known.api_key
    return Connection(url.rstrip("/"), key)
