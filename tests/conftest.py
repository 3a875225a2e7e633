"""Fixtures for every suite: one embedded Postgres for the session, a database for each test."""

import asyncio
import fcntl
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from atalaia.engine.kernels import compile_all
from atalaia.storage.cluster import Cluster, locate
from atalaia.storage.database import prepare_aio
from atalaia.storage.embedded import query, start, stop
from tests.broker import Node, open_node, reason_to_skip
from tests.groups import CASES, report
from tests.places import for_databases
from tests.stack import Stack, new_database, open_stack

LONGEST_ID = 60

hypothesis.settings.register_profile("default", deadline=None, max_examples=60)
hypothesis.settings.register_profile("quick", deadline=None, max_examples=8)
soak = int(os.environ.get("ATALAIA_EXAMPLES", "2000"))
hypothesis.settings.register_profile("soak", deadline=None, max_examples=soak)
hypothesis.settings.load_profile(os.environ.get("ATALAIA_HYPOTHESIS_PROFILE", "default"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--strict-skips", action="store_true", help="a skipped test is a failure")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """The same name in every process, whatever hour gzip writes and whatever ids were drawn."""
    long = isinstance(val, str) and len(val) > LONGEST_ID
    return argname if long or isinstance(val, bytes) else None


def pytest_sessionfinish(session: pytest.Session) -> None:
    """With --strict-skips nothing may hide behind a skip."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["cases"] = dict(CASES)
        return
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter is not None and reporter.stats.get("skipped")
    if session.config.getoption("--strict-skips") and skipped:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A worker's count of cases, when the tests are shared out."""
    CASES.update(getattr(node, "workeroutput", {}).get("cases", {}))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """How many cases of each group of properties were tried."""
    for line in report():
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A real Postgres in a directory of its own, for the whole session."""
    directory = Path(tempfile.mkdtemp(prefix="atl-", dir=for_databases()))
    directory.chmod(0o755)
    found = locate(directory)
    start(found)
    query(found, "CREATE DATABASE template_atalaia")
    asyncio.run(prepare_aio(found.url("template_atalaia")))
    yield found
    stop(found)
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def kernel() -> None:
    """Compiled before the service runs, as `up` does: no request's deadline may pay for it.

    By one of the processes that share out the tests; the others load what it compiled.
    """
    cache = Path(os.environ["NUMBA_CACHE_DIR"])
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "compiling").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        compile_all()


@pytest.fixture
def database_url(cluster: Cluster, kernel: None) -> Iterator[str]:
    """A fresh, migrated database, and all that a service on it needs."""
    with new_database(cluster) as url:
        yield url


@pytest.fixture
async def stack(database_url: str) -> AsyncIterator[Stack]:
    """The whole service in this process, listening on a real socket."""
    async with open_stack(database_url) as running:
        yield running


@pytest.fixture(scope="session")
def broker() -> Iterator[Node]:
    """A real RabbitMQ for the whole session: a node takes some ten seconds to start."""
    if why := reason_to_skip():
        pytest.skip(why)
    with open_node() as node:
        yield node


@pytest.fixture
def amqp_url(broker: Node) -> Iterator[str]:
    """A virtual host of its own for each test."""
    with broker.vhost() as url:
        yield url
