"""`atalaia up` as its users meet it: starts, restarts, crashes, refusals, signals."""

import asyncio
import os
import pwd
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from atalaia.storage.cluster import Account
from tests.process.server import ROOT, Server, data_directory, run_to_end, start
from tests.stack import START_MS, fetch_aio, row

pytestmark = pytest.mark.process


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with data_directory() as path:
        yield path


def test_the_first_start_makes_credentials_and_a_curl_line_that_works(data_dir: Path) -> None:
    """Six keys, mode 0600; the banner's line is pasted into a shell as it is."""
    server = start(data_dir)
    try:
        assert sorted(server.credentials) == [
            "admin_email", "admin_password", "api_key", "base_url", "database_url", "tenant_id",
        ]  # fmt: skip
        mode = (data_dir / "credentials.json").stat().st_mode
        assert stat.S_IMODE(mode) == 0o600
        line = (
            f"curl -sS {server.credentials['base_url']}/v1/readings"
            f" -H 'X-API-Key: {server.credentials['api_key']}' "
            """-d '{"sensor": "hello", "metric": "temperature", "ts": '$(date +%s000)',"""
            """ "value": 71.5}'"""
        )
        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True)
        assert '"accepted":1' in done.stdout
        assert f"{server.credentials['base_url']}/docs\n" in server.said
        assert f"password: {data_dir / 'credentials.json'}\n" in server.said
        assert server.credentials["admin_password"] not in server.said
    finally:
        said = server.stop(signal.SIGINT)
    assert "every answered reading is committed" in said
    assert "Traceback" not in said


def test_the_administrator_signs_in_and_a_restart_signs_nobody_out(data_dir: Path) -> None:
    """With what is in credentials.json. What waited to be written down is, at the end."""
    server = start(data_dir)
    known = server.credentials
    body = {"email": known["admin_email"], "password": known["admin_password"]}
    with server.client as client:
        assert client.get("/v1/sensors").status_code == 200
        signed_in = client.post("/v1/auth/login", json=body).json()
    server.stop()
    server = start(data_dir)
    headers = {"Authorization": f"Bearer {signed_in['access_token']}"}
    with httpx.Client(base_url=server.credentials["base_url"], headers=headers) as person:
        assert person.get("/v1/me").json()["platform"] is True
        (key,) = person.get("/v1/api-keys").json()["data"]
        assert key["last_used_at"] is not None
        body = {"refresh_token": signed_in["refresh_token"]}
        assert person.post("/v1/auth/refresh", json=body).status_code == 200
    server.stop()


def test_kill_9_of_it_and_of_its_postgres_loses_nothing(data_dir: Path) -> None:
    """Adopts the postmaster that it left behind; starts anew after one that was killed."""
    server = start(data_dir)
    with server.client as client:
        assert client.post("/v1/readings", json=[row(START_MS, 1)]).status_code == 200
    postmaster = server.postmaster()
    server.kill()
    server = start(data_dir)
    assert server.postmaster() == postmaster
    key = server.credentials["api_key"]
    server.kill()
    os.kill(postmaster, signal.SIGKILL)
    server = start(data_dir)
    assert server.credentials["api_key"] == key
    with server.client as client:
        points = client.get("/v1/sensors/s/readings?metric=t").json()["data"]
        assert [point["value"] for point in points] == [1.0]
    server.stop()


def _outlive(server: Server, postmaster: int) -> None:
    """Kill the postmaster, and see the service answer all the while and go on."""
    with server.client as client:
        assert client.post("/v1/readings", json=[row(START_MS, 1)]).status_code == 200
        os.kill(postmaster, signal.SIGKILL)
        deadline = time.monotonic() + 15
        while (answer := client.post("/v1/readings", json=[row(START_MS + 1, 2)])).is_error:
            assert (answer.status_code, time.monotonic() < deadline) == (503, True)
            assert int(answer.headers["retry-after"]) >= 1
            assert client.get("/health/live").status_code == 200
            time.sleep(0.1)
        points = client.get("/v1/sensors/s/readings?metric=t").json()["data"]
        assert [point["value"] for point in points] == [1.0, 2.0]
        assert client.get("/health/ready").status_code == 200


def test_a_postgres_that_dies_while_we_serve_is_started_again(data_dir: Path) -> None:
    """503 with a delay at worst, then service goes on; the log says it once and does not flood."""
    server = start(data_dir)
    postmaster = server.postmaster()
    try:
        _outlive(server, postmaster)
    except httpx.HTTPError as error:
        raise AssertionError(server.kill()) from error
    assert server.postmaster() != postmaster
    said = server.stop()
    assert (said.count("postgres_died"), said.count("postgres_restarted")) == (1, 1)
    assert "Traceback" not in said


def test_a_second_start_on_the_same_directory_is_refused(data_dir: Path) -> None:
    """Naming the process that holds it."""
    server = start(data_dir)
    code, said = run_to_end(data_dir)
    assert (code, f"in use by process {server.process.pid}" in said) == (1, True)
    server.stop()


def test_a_process_whose_lease_was_taken_ends_with_a_sentence(data_dir: Path) -> None:
    """Whoever waits is told to send it again; exit code 1, no traceback."""
    server = start(data_dir)
    with server.client as client:
        assert client.post("/v1/readings", json=[row(START_MS, 1)]).status_code == 200
        asyncio.run(
            fetch_aio(server.credentials["database_url"], "UPDATE engine_lease SET epoch = 99", ())
        )
        answer = client.post("/v1/readings", json=[row(START_MS + 1, 1)])
        assert (answer.status_code, answer.json()["code"]) == (503, "closing")
    said, _ = server.process.communicate(timeout=60)
    assert server.process.returncode == 1
    assert "another process serves this database now" in said
    assert "Traceback" not in said


def test_a_taken_port_is_a_clear_refusal(data_dir: Path) -> None:
    """Before anything slow was started."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, said = run_to_end(data_dir, "--port", str(taken.getsockname()[1]))
    assert code == 1
    assert "is taken. Choose another with --port" in said
    assert not (data_dir / "postgres").exists()


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["--port", "99999"], {}, "0 to 65535"),
        (["--port=-1"], {}, "0 to 65535"),
        (["--host", "a..b"], {}, "Check --host"),
        ([], {"ATALAIA_RETENTION_DAYS": "x"}, "ATALAIA_RETENTION_DAYS must be"),
        ([], {"ATALAIA_RETENTION_DAYS": "9999999999"}, "ATALAIA_RETENTION_DAYS must be"),
        ([], {"ATALAIA_TENANT_MEMORY": "much"}, "ATALAIA_TENANT_MEMORY must be a size"),
        ([], {"ATALAIA_TENANT_MEMORY": "0MiB"}, "ATALAIA_TENANT_MEMORY must be a size"),
        ([], {"ATALAIA_QUOTA_READINGS": "0"}, "ATALAIA_QUOTA_READINGS must be"),
        ([], {"ATALAIA_CORS_ORIGINS": "https://a.example, *"}, "is no origin"),
        ([], {"ATALAIA_CORS_ORIGINS": "https://a.example/app"}, "is no origin"),
        ([], {"ATALAIA_METRICS_TOKEN": "short"}, "16 printable characters"),
        ([], {"ATALAIA_QUOTA_RULES": "1001"}, "ATALAIA_QUOTA_RULES must be"),
        ([], {"RATE_LIMIT_MAX_REQUESTS": "0"}, "RATE_LIMIT_MAX_REQUESTS must be"),
        ([], {"RATE_LIMIT_WINDOW_MS": "1.5"}, "RATE_LIMIT_WINDOW_MS must be"),
        ([], {"ATALAIA_TRUSTED_PROXY_HOPS": "-1"}, "ATALAIA_TRUSTED_PROXY_HOPS must be"),
        ([], {"ATALAIA_PUBLIC_URL": "api.example.com"}, "ATALAIA_PUBLIC_URL must be"),
    ],
)
def test_settings_that_cannot_be_are_a_clear_refusal(
    data_dir: Path, arguments: list[str], environment: dict[str, str], said: str
) -> None:
    """One sentence, no traceback, nothing started."""
    code, output = run_to_end(data_dir, *arguments, **environment)
    assert (code, said in output, "Traceback" in output) == (1, True, False), output
    assert not (data_dir / "postgres").exists()


def test_a_directory_that_cannot_be_written_is_a_clear_refusal() -> None:
    """A file where the directory should be."""
    code, said = run_to_end(Path("/dev/null/data"))
    assert code == 1
    assert "cannot be written" in said
    assert "--data-dir" in said


def test_a_dead_database_url_is_a_clear_refusal(data_dir: Path) -> None:
    """With what to check, and no traceback."""
    code, said = run_to_end(data_dir, DATABASE_URL="postgresql://x:secret@127.0.0.1:1/y")
    assert code == 1
    assert "DATABASE_URL does not answer" in said
    assert "secret" not in said
    assert "Traceback" not in said


def test_a_given_database_is_used(data_dir: Path, database_url: str) -> None:
    """DATABASE_URL replaces the embedded one."""
    server = start(data_dir, DATABASE_URL=database_url)
    assert server.credentials["database_url"] == database_url
    with server.client as client:
        assert client.post("/v1/readings", json=[row(START_MS, 1)]).json()["accepted"] == 1
    assert not (data_dir / "postgres").exists()
    server.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_an_ordinary_user_can_start_it(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real command and its Postgres under one account; skipped only where they always are."""
    for name in ("COVERAGE_PROCESS_CONFIG", "NUMBA_CACHE_DIR"):  # of files it could not write
        monkeypatch.delenv(name, raising=False)
    nobody = pwd.getpwnam("nobody")
    os.chown(data_dir, nobody.pw_uid, nobody.pw_gid)
    become = ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
    account = Account(nobody.pw_uid, nobody.pw_gid)
    if not all(account.reaches(path) for path in (Path(sys.executable), ROOT / "src" / "atalaia")):
        # Checkout or interpreter lie in a private home: let the account read, and no more where
        # that can be had (containers seldom grant CAP_DAC_READ_SEARCH, number 2).
        status = Path("/proc/self/status").read_text()
        granted = int(status.split("CapBnd:")[1].split()[0], 16)
        power = "+dac_read_search" if granted & 1 << 2 else "+dac_override"
        become += [f"--inh-caps={power}", f"--ambient-caps={power}"]
    server = start(data_dir, prefix=[*become, "--"])
    try:
        assert Path(f"/proc/{server.process.pid}").stat().st_uid == nobody.pw_uid
        assert Path(f"/proc/{server.postmaster()}").stat().st_uid == nobody.pw_uid
        assert (data_dir / "credentials.json").stat().st_uid == nobody.pw_uid
        with server.client as client:
            assert client.post("/v1/readings", json=[row(START_MS, 1)]).status_code == 200
    finally:
        said = server.stop()
    assert "every answered reading is committed" in said
    assert (data_dir / "postgres" / "data").stat().st_uid == nobody.pw_uid


def test_the_demo_opens_alerts_and_keeps_its_key(data_dir: Path) -> None:
    """Simulated sensors come by themselves; a second start finds the same tenant."""
    import httpx

    keys = []
    for _ in range(2):
        server = start(data_dir, "--demo")
        keys.append((data_dir / "demo-key").read_text())
        headers = {"X-API-Key": keys[-1]}
        with httpx.Client(base_url=server.credentials["base_url"], headers=headers) as client:
            for _ in range(100):
                sensors = client.get("/v1/sensors").json()["data"]
                if len(sensors) == 12 and sensors[0]["last_seen"] is not None:
                    break
                time.sleep(0.1)
            assert len(sensors) == 12
            assert len(client.get("/v1/rules").json()["data"]) == 3
        server.stop()
    assert keys[0] == keys[1]
    assert stat.S_IMODE((data_dir / "demo-key").stat().st_mode) == 0o600


def test_rates_and_proxies_are_as_the_environment_says(data_dir: Path) -> None:
    """Each client behind the proxy has its own rate."""
    environment = {"RATE_LIMIT_MAX_REQUESTS": "2", "ATALAIA_TRUSTED_PROXY_HOPS": "1",
                   "ATALAIA_PUBLIC_URL": "https://api.example.com"}  # fmt: skip
    server = start(data_dir, **environment)
    with server.client as client:

        def status(address: str, proto: str = "https") -> int:
            sent = {"x-api-key": "no", "x-forwarded-for": address, "x-forwarded-proto": proto}
            return client.get("/v1/sensors", headers=sent).status_code

        assert [status("1.1.1.1") for _ in range(3)] == [401, 401, 429]
        assert status("9.9.9.9, 1.1.1.1") == 429
        assert status("2.2.2.2") == 401
        assert status("3.3.3.3", "http") == 403
        assert client.get("/v1/sensors").status_code == 200
    server.stop()
