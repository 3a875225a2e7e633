"""For commands that talk to the database itself: where it is, and a bridge to it."""

import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import trio
from cyclopts import Parameter

from atalaia.config.settings import default_data_dir, load_credentials
from atalaia.model.errors import AtalaiaError, Invalid, StartupRefused

T = TypeVar("T")
DataDir = Annotated[Path | None, Parameter(env_var="ATALAIA_DATA_DIR")]


def database_url(data_dir: Path | None) -> str:
    """Raises StartupRefused when nothing says where the database is."""
    if url := os.environ.get("DATABASE_URL"):
        return url
    known = load_credentials(data_dir or default_data_dir())
    if known is None:
        raise StartupRefused(
            f"There are no credentials in {data_dir or default_data_dir()}. Start `atalaia up`, or "
            "set DATABASE_URL."
        )
    return known.database_url


def with_bridge(work: Callable[..., Awaitable[T]], *args: object) -> T:
    """Run `work(bridge, *args)`."""
    from atalaia.bridge import open_bridge

    async def run() -> T:
        async with open_bridge() as bridge:
            return await work(bridge, *args)

    return trio.run(run)


def failed(error: AtalaiaError) -> int:
    print(f"atalaia: {error}", file=sys.stderr)
    return 2 if isinstance(error, Invalid) else 1
