"""The API's document as the routes and their examples make it.

    .venv/bin/python -m tests.house.openapi

executes every example against a service of its own, records the answers beside the operations, and
writes docs/reference/openapi.json; tests find when either is out of date.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
import trio

from atalaia.engine.kernels import compile_all
from atalaia.http.openapi.document import build
from atalaia.storage.cluster import Cluster, locate
from atalaia.storage.database import prepare_aio
from atalaia.storage.embedded import query, start, stop
from tests.http.openapi.world import examples, open_world
from tests.places import for_databases
from tests.stack import open_stack

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference" / "openapi.json"
ANSWERS = ROOT / "src" / "atalaia" / "http" / "openapi" / "answers.json"
LONGEST_TEXT = 2_000
SELF = ("text/html", "text/css", "application/zip")  # nothing is learned of them


def pretty(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=1).decode() + "\n"


async def record(database_url: str) -> dict[str, dict[str, object]]:
    """What is answered to each example, by operation and example."""
    answers: dict[str, dict[str, object]] = {}
    async with open_stack(database_url) as stack, open_world(stack) as world:
        for route, told, example in examples():
            response = await world.execute(route, told, example)
            wanted = example.status or next(iter(told.answers))
            assert response.status_code == wanted, (route, example.name, response.text)
            kind = response.headers.get("content-type", "")
            if response.content and len(response.text) < LONGEST_TEXT and not kind.startswith(SELF):
                answers.setdefault(told.name, {})[example.name] = world.told(response)
    return answers


def main() -> None:
    compile_all()
    directory = Path(tempfile.mkdtemp(prefix="atl-", dir=for_databases()))
    directory.chmod(0o755)
    cluster: Cluster = locate(directory)
    start(cluster)
    try:
        query(cluster, "CREATE DATABASE examples")
        import asyncio

        asyncio.run(prepare_aio(cluster.url("examples")))
        ANSWERS.write_text(pretty(trio.run(record, cluster.url("examples"))))
    finally:
        stop(cluster)
        shutil.rmtree(directory)
    # In a process of its own: what was recorded is read once.
    subprocess.run([sys.executable, "-m", "tests.house.openapi", "--page"], check=True, cwd=ROOT)


if __name__ == "__main__":
    if "--page" in sys.argv:
        PAGE.write_text(pretty(build()))
    else:
        main()
