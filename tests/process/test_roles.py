"""Two processes and a broker: the face answers, the engine dies, nothing is lost or doubled."""

import time
from pathlib import Path

import httpx
import pytest

from atalaia.config.settings import JWT_SECRET
from tests.process.server import Server, data_directory, run_to_end, start
from tests.stack import START_MS, row

pytestmark = [pytest.mark.process, pytest.mark.postgres, pytest.mark.rabbit]


def setup(amqp_url: str) -> None:
    from atalaia.cli.main import app

    with pytest.raises(SystemExit) as end:
        app(["broker", "setup", "--shards", "2", "--url", amqp_url])
    assert end.value.code == 0


def counted(server: Server) -> int:
    """Readings of every sensor, as the engine's own face reads them."""
    with server.client as client:
        names = [s["name"] for s in client.get("/v1/sensors?limit=1000").json()["data"]]
        pages = (
            client.get(f"/v1/sensors/{name}/readings?metric=t&limit=10000").json()["data"]
            for name in names
        )
        return sum(len(page) for page in pages)


def until_counted(server: Server, rows: int) -> None:
    deadline = time.monotonic() + 30
    while (found := counted(server)) < rows and time.monotonic() < deadline:
        time.sleep(0.1)
    assert found == rows


def test_an_engine_killed_under_load_loses_and_doubles_nothing(amqp_url: str) -> None:
    """What the face answered 202 is stored once by the engine's later lives. With another secret
    of access tokens than the engine's it does not start, and leaves nothing behind.
    """
    setup(amqp_url)
    with data_directory() as engine_dir, data_directory() as face_dir:
        engine = start(engine_dir, "--role", "engine", RABBITMQ_URL=amqp_url)
        given = {"RABBITMQ_URL": amqp_url, "DATABASE_URL": engine.credentials["database_url"]}
        code, said = run_to_end(face_dir, "--role", "http", **given)
        assert (code, "Set ATALAIA_JWT_SECRETS to the same" in said) == (1, True), said
        assert not (face_dir / "credentials.json").exists()
        given["ATALAIA_JWT_SECRETS"] = (engine_dir / JWT_SECRET).read_text().strip()
        face = start(face_dir, "--role", "http", **given)
        taken = 0
        with face.client as client:
            for life in range(2):
                for _ in range(40):
                    rows = [row(START_MS + taken + n, n, sensor=f"s{taken % 3}") for n in range(5)]
                    if client.post("/v1/readings", json=rows).status_code == 202:
                        taken += len(rows)
                engine.kill()
                response = client.post("/v1/readings", json=row(START_MS - 1 - life, 0, sensor="x"))
                taken += response.status_code == 202
                engine = start(engine_dir, "--role", "engine", RABBITMQ_URL=amqp_url)
        assert taken > 300
        until_counted(engine, taken)
        ready = httpx.get(engine.credentials["base_url"] + "/health/ready")
        assert ready.json()["checks"] == {"database": "ok", "commits": "ok", "broker": "ok"}
        assert "stopped; every answered reading is committed" in face.stop()
        engine.stop()


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (("--role", "engine"), "set RABBITMQ_URL"),
        (("--role", "http"), "set RABBITMQ_URL"),
    ],
)
def test_a_role_without_its_broker_says_what_it_needs(
    tmp_path: Path, arguments: tuple[str, ...], advice: str
) -> None:
    """Before anything is started."""
    code, said = run_to_end(tmp_path, *arguments, RABBITMQ_URL="")
    assert (code, advice in said) == (1, True), said


def test_the_role_http_wants_the_engines_database(tmp_path: Path) -> None:
    """A Postgres of its own would be another truth."""
    url = "amqp://localhost"
    code, said = run_to_end(tmp_path, "--role", "http", RABBITMQ_URL=url)
    assert (code, "set DATABASE_URL" in said) == (1, True), said
    code, said = run_to_end(
        tmp_path, "--role", "http", "--demo", RABBITMQ_URL=url, DATABASE_URL="postgresql://x"
    )
    assert (code, "--demo needs an engine" in said) == (1, True), said
