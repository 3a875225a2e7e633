"""The documentation's commands and examples are executed, its tables looked up."""

import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from atalaia.http import errors
from tests.process.server import Server, data_directory, start
from tests.stack import Stack

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def test_the_pages_paste_what_is_in_a_checkout() -> None:
    """`./atalaia`, the port it listens on, and no id of nobody."""
    pages = [*DOCS.glob("how-to/*.md"), *DOCS.glob("tutorial/*.md"), ROOT / "README.md"]
    for page in pages:
        text = page.read_text()
        blocks = "\n".join(
            [*re.findall(r"```sh\n(.*?)```", text, re.S), *re.findall(r"^    .*", text, re.M)]
        )
        assert re.findall(r"^ *atalaia .*", blocks, re.M) == [], page
        assert ":8080" not in text, page
        assert re.findall(r"(?<!\{)\$\{?ATALAIA_DATA_DIR(?!:-)", blocks) == [], page
        assert re.findall(r"\b[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-", blocks) == [], page


def run_blocks(page: str, directory: Path, data_dir: Path) -> str:
    """Every sh block of a page, in one shell, in a directory where ./atalaia is."""
    blocks = re.findall(r"```sh\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    assert blocks
    (directory / "atalaia").symlink_to(ROOT / "atalaia")
    done = subprocess.run(
        ["sh", "-eu", "-c", "\n".join(blocks)],
        capture_output=True, text=True, check=False, cwd=directory,
        env={"PATH": "/usr/bin:/bin:/usr/local/bin", "HOME": "/nonexistent",
             "ATALAIA_DATA_DIR": str(data_dir)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def answers(said: str) -> list[dict[str, Any]]:
    """The JSON objects in what was said; curl ends none with a new line."""
    begins = re.finditer(r"^\{|(?<=\})\{", said, re.MULTILINE)
    return [json.JSONDecoder().raw_decode(said, begin.start())[0] for begin in begins]


def test_the_tutorial_runs_as_it_stands(tmp_path: Path) -> None:
    """Against a fresh service; the alert is the one described."""
    with data_directory() as data_dir:
        server = start(data_dir)
        said = answers(run_blocks("tutorial/first-alert.md", tmp_path, data_dir))
        server.stop()
    assert said[0]["accepted"] == 3
    (alert,) = said[-1]["data"]
    assert alert["evidence"] == [{"expression": "avg(temperature, 5m)", "value": 72.0}]


def seconds_to_an_alert(server: Server, data_dir: Path) -> float:
    """Wait for the first alert of the demo."""
    began = time.monotonic()
    headers = {"X-API-Key": (data_dir / "demo-key").read_text()}
    url = f"{server.credentials['base_url']}/v1/alerts"
    while not httpx.get(url, headers=headers).json()["data"] and time.monotonic() - began < 60:
        time.sleep(0.2)
    return time.monotonic() - began


def test_the_how_to_pages_run_as_they_stand(tmp_path: Path) -> None:
    """Simulated sensors, the demo's alerts within seconds, and the account of a file."""
    with data_directory() as data_dir:
        server = start(data_dir, "--demo")
        (tmp_path / "replay").mkdir()
        replayed = run_blocks("how-to/replay-files.md", tmp_path / "replay", data_dir)
        assert seconds_to_an_alert(server, data_dir) < 20
        (tmp_path / "charts").mkdir()
        charted = run_blocks("how-to/charts-and-exports.md", tmp_path / "charts", data_dir)
        (tmp_path / "try").mkdir()
        tried = run_blocks("how-to/try-without-devices.md", tmp_path / "try", data_dir)
        (tmp_path / "register").mkdir()
        register = run_blocks(
            "how-to/keep-a-register-of-sensors.md", tmp_path / "register", data_dir
        )
        (tmp_path / "wires").mkdir()
        wires = run_blocks("how-to/telegraf-and-influx-clients.md", tmp_path / "wires", data_dir)
        server.stop()
    assert "HTTP/1.1 204" in wires
    assert "x-atalaia-ignored: 1" in wires
    sensor, refused = answers(wires[wires.index("{") :])
    assert (sensor["tags"], list(sensor["metrics"])) == (
        {"site": "north"}, ["cpu_usage_idle:cpu0"],
    )  # fmt: skip
    assert "'warm' (bad_value)" in refused["message"]
    page = (DOCS / "how-to" / "replay-files.md").read_text()
    account = re.search(r"\n\n((    .*\n)+)\nand an example", page)
    assert account is not None
    for line in account[1].splitlines():
        assert line.split() in [said.split() for said in replayed.splitlines()], replayed
    assert 'unreadable: pump-1.csv:4: Pressure "oops"' in page
    assert 'unreadable: pump-1.csv:4: Pressure "oops"' in replayed
    charts = answers(charted)
    assert "data" in charts[0], charted[:3000]
    assert len(charts[0]["data"][0]["avg"]) >= 2
    assert [one["sensor"] for one in charts[1]["data"][::2]] == ["chart-1", "chart-2", "chart-3"]
    assert "sensor,metric,ts,value,received_at,late" in charted
    assert re.search(r"^\d\d+ readings.ndjson$", charted, re.MULTILINE)
    assert '"duplicates":' in charted, "the export was brought back"
    assert re.search(r"^retry: \d+$", charted, re.MULTILINE)
    assert "event: readings" in charted
    assert answers(tried)[0]["data"], "an alert of the demo"
    assert re.search(r"sent \d\d+: accepted \d\d+ .* rejected 0", tried)
    assert "ok  stuck: vibration; 1 window per sensor" in tried
    assert re.search(r"^stuck +1 +yes", tried, re.MULTILINE)
    assert "3 sensors created, 0 changed, 0 unchanged, 0 rejected" in register
    assert 'boiler-1,north,boiler,1,10s,"Boiler house, 1st floor",-23.5505,-46.6333' in register
    assert answers(register)[-1]["name"] == "boiler"


def test_the_pages_of_people_and_quotas_run_as_they_stand(tmp_path: Path) -> None:
    """Against a fresh service: signed in, invited, sent, rotated, suspended, and audited; then a
    quota of a tenant and of a key."""
    with data_directory() as data_dir:
        server = start(data_dir)
        said = run_blocks("how-to/people-and-keys.md", tmp_path, data_dir)
        (tmp_path / "quotas").mkdir()
        quotas = run_blocks("how-to/give-each-customer-a-quota.md", tmp_path / "quotas", data_dir)
        server.stop()
    me, signed_in, disabled, sent, suspended, resumed, audit = answers(said)
    assert (me["role"], me["platform"]) == ("admin", True)
    assert signed_in["expires_in"] == 900
    assert (disabled["email"], disabled["state"]) == ("maria@example.org", "disabled")
    assert sent["accepted"] == 1
    assert (suspended["suspended_at"] is None, resumed["suspended_at"]) == (False, None)
    assert [entry["action"] for entry in audit["data"]] == ["key.revoked"]
    assert len(re.findall(r"^ok  \S+  \d+ rows", said, re.MULTILINE)) == 2
    assert "BROKEN" not in said
    assert re.search(r"first +5,000 +2,000,000 +default +\d+ of 20,000 +\d+ of 50\b", quotas), (
        quotas
    )
    assert re.search(r"first key +500 +default", quotas), quotas


def test_the_page_of_the_archive_and_the_erasure_runs_as_it_stands(tmp_path: Path) -> None:
    """Against a fresh service: an archive twice over, and then nothing is left."""
    with data_directory() as data_dir:
        server = start(data_dir)
        said = run_blocks("how-to/export-and-erase.md", tmp_path, data_dir)
        server.stop()
    suspended, erasing, erased = answers(said)
    assert suspended["suspended_at"] is not None
    assert erasing["state"] == "erasing"
    assert (erased["state"], erased["deleted"]["users"]) == ("erased", 1)
    assert "manifest.json" in said
    assert re.search(r"^again.zip: \d", said, re.MULTILINE)


ROWS = re.compile(r"^\| `(.+)` \| (\d+) \| `(\w+)` \| (?:`(\w+)`)? ?\|$", re.MULTILINE)


async def test_what_is_refused_is_answered_as_described(stack: Stack) -> None:
    """Every body of the table, with its status, its code and the code of its row."""
    page = (DOCS / "how-to" / "when-something-is-refused.md").read_text()
    rows = ROWS.findall(page)
    assert len(rows) == page.count("| `{") + page.count("| `[") + page.count('| `"') > 10
    for body, status, code, of_row in rows:
        response = await stack.client.post("/v1/readings", content=body.encode())
        said = response.json()
        assert (response.status_code, said["code"]) == (int(status), code), body
        if of_row:
            assert {reject["code"] for reject in said["rejected"]} == {of_row}, body


def test_every_status_is_documented() -> None:
    """In the reference, and in what a gateway does about it."""
    statuses = {status for status, _ in errors.STATUS.values()} | {405, 408, 500}
    for page in ("reference/http.md", "how-to/when-something-is-refused.md"):
        text = (DOCS / page).read_text()
        # Readings contradict nothing.
        wanted = statuses - ({409} if page.startswith("how-to") else set())
        assert {status for status in wanted if not re.search(rf"\b{status}\b", text)} == set()


def test_the_compose_file_asks_for_what_the_page_sets() -> None:
    """One variable, and no other."""
    page = (DOCS / "how-to" / "run-on-your-postgres.md").read_text()
    needed = re.findall(r"\$\{(\w+):\?", (ROOT / "compose.yaml").read_text())
    assert needed == re.findall(r"(\w+)=\S+ docker compose up", page) == ["POSTGRES_PASSWORD"]


def test_every_row_code_is_documented() -> None:
    """The reference names each code that the source can answer with."""
    reference = (DOCS / "reference" / "http.md").read_text()
    source = "".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    codes = set(re.findall(r'code="([a-z_]+)"', source)) | {"bad_sensor", "bad_metric", "bad_ts"}
    internal = {"startup_refused"}
    letters = (DOCS / "how-to" / "rabbitmq.md").read_text()
    internal |= {code for code in ("bad_routing_key", "unknown_tenant") if f"`{code}`" in letters}
    assert {code for code in codes - internal if f"`{code}`" not in reference} == set()


def test_every_reason_and_every_lint_is_documented() -> None:
    """What keeps an alert from opening: in the reference, and what to do about it in the how-to;
    and each lint. None is told of that the source does not know."""
    rules = ROOT / "src" / "atalaia" / "rules"
    source = (rules / "explaining.py").read_text()
    reasons = set(re.findall(r'Obstacle\(\s*"(\w+)"', source))
    assert len(reasons) == source.count("Obstacle(") > 10
    how_to = (DOCS / "how-to" / "ask-why.md").read_text()
    assert set(re.findall(r"`\[(\w+)\]`", how_to)) == reasons
    reference = (DOCS / "reference" / "http.md").read_text()
    table = reference.split("| `unknown_because` |")[1].split("An unknown rule")[0]
    assert set(re.findall(r"`(\w+)`", table)) == reasons
    lints = (DOCS / "reference" / "rules.md").read_text().split("\n## Lints")[1].split("\n## ")[0]
    named = {code for row in re.findall(r"^\| (`.*?`) \|", lints, re.M) for code in row.split()}
    source = (rules / "lints.py").read_text() + (rules / "unit_check.py").read_text()
    known = set(re.findall(r'"((?:[a-z]+_)+[a-z]+)"', source)) - {"_lint"}
    assert {code.strip("`") for code in named} - known == set()
    assert {f"`{code}`" for code in re.findall(r'int\(\s*"(\w+)"', source)} - named == set()


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Relative links of every page."""
    for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target
