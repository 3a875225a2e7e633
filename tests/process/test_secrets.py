"""What the real processes say and show: no password, key or token of theirs."""

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.process.server import Server, command, data_directory, run_to_end, start

pytestmark = pytest.mark.process

CANARY = "canary-of-a-password"


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with data_directory() as path:
        yield path


def family(pid: int) -> list[int]:
    """A process and all that came of it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(found for child in children for found in family(int(child)))]


def shown(pid: int) -> str:
    """Its title and its arguments, as `ps` has them."""
    try:
        return (
            Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
            + Path(f"/proc/{pid}/comm").read_text()
        )
    except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
        return ""


def secrets_of(server: Server) -> dict[str, str]:
    found = server.credentials
    login = {"email": found["admin_email"], "password": found["admin_password"]}
    signed_in = httpx.post(f"{found['base_url']}/v1/auth/login", json=login).json()
    return {
        "password": found["admin_password"],
        "key": found["api_key"].rpartition("_")[2],
        "access": signed_in["access_token"].rpartition(".")[2],
        "refresh": signed_in["refresh_token"],
    }


def test_a_server_says_no_secret_and_shows_none_in_its_arguments(data_dir: Path) -> None:
    """While it serves, its Postgres included; the key alone stands in the line to try it with."""
    server = start(data_dir, ATALAIA_LOG="json")
    secrets = secrets_of(server)
    titles = "\n".join(map(shown, family(server.process.pid)))
    titles += "\n".join(map(shown, family(server.postmaster())))
    assert "atalaia" in titles
    assert "postgres" in titles
    assert [name for name, secret in secrets.items() if secret in titles] == []
    said = server.stop()
    assert "request_answered" in said
    assert [name for name, secret in secrets.items() if secret in said] == []


def test_a_refused_start_says_no_password(data_dir: Path) -> None:
    """Of a database that does not answer, and of an address that is none."""
    for url in (
        f"postgresql://owner:{CANARY}@127.0.0.1:1/atalaia",
        f"postgresql://owner:{CANARY}@127.0.0.1:port/atalaia",
        f"mysql://owner:{CANARY}@127.0.0.1/atalaia",
    ):
        status, said = run_to_end(data_dir, DATABASE_URL=url)
        assert status != 0
        assert said.strip()
        assert CANARY not in said


def test_a_broker_that_does_not_answer_is_named_without_its_password(
    data_dir: Path, database_url: str
) -> None:
    """Whether the start is refused or it is tried again and again."""
    for url in (f"amqp://user:{CANARY}@127.0.0.1:1/", f"amqp://user:{CANARY}@127.0.0.1:port/"):
        process = command(data_dir, DATABASE_URL=database_url, RABBITMQ_URL=url)
        late = threading.Timer(25, process.terminate)
        late.start()
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if "broker" in line.lower() or "rabbitmq" in line.lower():
                break
        process.terminate()
        said += process.communicate(timeout=60)[0]
        late.cancel()
        assert "broker" in said.lower() or "rabbitmq" in said.lower()
        assert CANARY not in said
