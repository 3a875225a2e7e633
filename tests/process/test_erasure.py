"""The real process sends mails, and erases a tenant by itself, through a kill -9 in between."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.notify.servers import smtp_server
from tests.process.server import Server, data_directory, start
from tests.stack import NOW_MS, fetch_aio, row

pytestmark = pytest.mark.process

ZE, CHOSEN = "ze@padaria.example", "seven grey herons fly"
NAME = "Padaria do Zé"
ROWS = 600_000
MANY = (
    "INSERT INTO readings SELECT tenant_id, series_id, ts + n * interval '1 millisecond', n,"
    f" received_at, false FROM generate_series(1, {ROWS - 1}) AS n,"
    " (SELECT * FROM readings ORDER BY ts LIMIT 1) AS first"
)
"""So many that they are not erased in a moment."""


def wait_for(done: Callable[[], object], most_s: float = 60.0) -> None:
    until = time.monotonic() + most_s
    while not done():
        assert time.monotonic() < until
        time.sleep(0.05)


def platform(server: Server) -> httpx.Client:
    """Whoever looks after all."""
    known = server.credentials
    body = {"email": known["admin_email"], "password": known["admin_password"]}
    found = httpx.post(f"{known['base_url']}/v1/auth/login", json=body, timeout=30).json()
    headers = {"authorization": f"Bearer {found['access_token']}"}
    return httpx.Client(base_url=known["base_url"], headers=headers, timeout=30)


def test_a_customer_is_invited_by_mail_and_erased_through_a_crash(tmp_path: Path) -> None:
    """The invitation's mail opens the account, in whose name readings come; killed while these are
    erased, the next process goes on and comes to the end.
    """
    with data_directory() as data_dir, smtp_server("starttls", tmp_path) as mails:
        known = mails.settings
        environment = {
            "SMTP_HOST": known.host, "SMTP_PORT": str(known.port), "SMTP_USER": known.user or "",
            "SMTP_PASS": known.password or "", "SMTP_FROM": str(known.sender),
            "SMTP_CA_FILE": str(known.ca_file),
        }  # fmt: skip
        server = start(data_dir, **environment)
        with platform(server) as above:
            made = above.post("/v1/admin/tenants", json={"name": NAME, "admin_email": ZE}).json()
            path = f"/v1/admin/tenants/{made['id']}"
            wait_for(lambda: mails.inbox.got)
            part = mails.inbox.got[0][1].get_body(("plain",))
            assert part is not None
            token = part.get_content().split("/v1/auth/password/reset:")[1].split()[0]
            base = server.credentials["base_url"]
            chosen = {"token": token, "password": CHOSEN}
            assert httpx.post(f"{base}/v1/auth/password/reset", json=chosen).status_code == 204
            login = httpx.post(
                f"{base}/v1/auth/login", json={"email": ZE, "password": CHOSEN}, timeout=30
            ).json()
            with httpx.Client(
                base_url=base, headers={"authorization": f"Bearer {login['access_token']}"}
            ) as ze:
                key = ze.post("/v1/api-keys", json={"name": "k"}).json()["key"]
            batch = [row(NOW_MS, 1.0), row(NOW_MS - ROWS, 1.0)]  # which makes the partitions
            sent = httpx.post(f"{base}/v1/readings", json=batch, headers={"x-api-key": key})
            assert sent.json()["accepted"] == 2
            asyncio.run(fetch_aio(server.credentials["database_url"], MANY, ()))
            above.post(f"{path}/suspend")
            assert above.post(f"{path}/erase", json={"name": NAME}).status_code == 202
            wait_for(lambda: above.get(f"{path}/erasure").json()["deleted"].get("readings"))
            before = above.get(f"{path}/erasure").json()
        server.kill()
        server = start(data_dir, **environment)
        with platform(server) as above:
            wait_for(lambda: above.get(f"{path}/erasure").json()["state"] == "erased")
            done = above.get(f"{path}/erasure").json()
            assert above.get(path).status_code == 404
            log = above.get("/v1/audit?action=tenant.erased").json()["data"]
        said = server.stop()
    assert before["state"] == "erasing", "it was killed in between"
    assert 0 < before["deleted"]["readings"] < ROWS
    assert done["deleted"]["readings"] == ROWS + 1
    assert [entry["target"] for entry in log] == [made["id"]]
    assert ZE not in said
    assert (known.password or "") not in said
