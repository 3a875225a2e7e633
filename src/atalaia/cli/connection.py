"""Which server a command talks to, and with which key."""

import os
from pathlib import Path
from typing import Annotated, Any

import attrs
import httpx
from cyclopts import Parameter

from atalaia.config.settings import default_data_dir, load_credentials
from atalaia.model.errors import Invalid, StartupRefused


class GaveUp(Exception):
    """The server stayed away, or refused in a way that sending again cannot mend."""


@attrs.frozen
class Connection:
    """A running server and a key for it."""

    base_url: str
    api_key: str = attrs.field(repr=False)

    @property
    def headers(self) -> dict[str, str]:
        return {"X-API-Key": self.api_key}


@Parameter(name="*")
@attrs.frozen
class Server:
    """The options of every command that talks to a server."""

    url: Annotated[
        str | None, Parameter(help="The server; default from ATALAIA_URL or credentials.json.")
    ] = None
    key: Annotated[
        str | None, Parameter(help="The API key; default from ATALAIA_API_KEY or credentials.json.")
    ] = attrs.field(default=None, repr=False)
    data_dir: Annotated[
        Path | None, Parameter(env_var="ATALAIA_DATA_DIR", help="Where credentials.json is.")
    ] = None

    @property
    def named(self) -> bool:
        """Whether somebody said which server, beyond where its credentials are."""
        return self.url is not None or "ATALAIA_URL" in os.environ

    def connect(self) -> Connection:
        """See find_connection."""
        return find_connection(self.url, self.key, self.data_dir)


USUAL = Server()


def find_connection(url: str | None, key: str | None, data_dir: Path | None) -> Connection:
    """Options first, then ATALAIA_URL and ATALAIA_API_KEY, then credentials.json.

    Raises StartupRefused when neither says, Invalid when they cannot be meant.
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
    return Connection(_check_url(url), _check_key(key))


def _check_url(text: str) -> str:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host:
        raise Invalid(f'The server\'s address is such as http://127.0.0.1:3000, not "{text}".')
    return text.rstrip("/")


def _check_key(text: str) -> str:
    if not (text.isascii() and text.isprintable() and text.strip()):
        raise Invalid("The key holds characters that no key has; copy it again.")
    return text.strip()


def problem_of(response: httpx.Response) -> str:
    """What the server says instead of what was asked for, in one sentence."""
    try:
        detail = str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        detail = " ".join(response.text[:200].split())
    return f"The server at {response.url.netloc.decode()} answers {response.status_code}: {detail}"


def parse_page(response: httpx.Response) -> dict[str, Any]:
    """A page of a list: data and next_cursor. Raises GaveUp for anything else."""
    if response.status_code != 200:
        raise GaveUp(problem_of(response))
    try:
        page: dict[str, Any] = response.json()
        page["data"], page["next_cursor"]
    except (ValueError, KeyError, TypeError) as error:
        raise GaveUp(f"{response.url} is answered by something else than Atalaia") from error
    return page


def no_answer(connection: Connection, error: httpx.HTTPError) -> str:
    """Why there is no response, in one sentence."""
    return f"{connection.base_url} does not answer ({error or type(error).__name__})"
