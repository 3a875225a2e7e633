"""What is shipped: names that do not shadow, an image that can be built, a compose that runs."""

import http.client
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


def test_the_standard_librarys_http_is_not_shadowed() -> None:
    """`atalaia.http` lives in the package; `http` stays what it was, from the root too."""
    done = subprocess.run(
        [sys.executable, "-c", "import http.client, atalaia.http; print(http.client.__file__)"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == http.client.__file__
    assert "atalaia" not in http.client.__file__


def test_the_wheel_holds_what_the_package_reads(tmp_path: Path) -> None:
    """Migrations, the grammar and the page of the API travel with the code."""
    uv = BIN / "uv"
    subprocess.run([uv, "build", "-q", "--wheel", "-o", tmp_path, ROOT], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for needed in ("atalaia/storage/migrations/0001_base.expand.sql", "atalaia/rules/grammar.lark",
                   "atalaia/http/openapi/answers.json", "atalaia/http/swagger_ui/LICENSE",
                   "atalaia/http/swagger_ui/swagger-ui-bundle.js", "atalaia/py.typed"):  # fmt: skip
        assert needed in names


def test_the_dockerfile_is_clean_and_careful() -> None:
    """hadolint has nothing to say; the process is nobody special and PORT is honoured."""
    hadolint = BIN / "hadolint"
    subprocess.run([hadolint, ROOT / "Dockerfile"], check=True)
    text = (ROOT / "Dockerfile").read_text()
    assert text.count("FROM ") == 2
    assert "USER 10001" in text
    assert "HEALTHCHECK" in text
    assert 'CMD ["atalaia", "up", "--host", "0.0.0.0"]' in text


@pytest.mark.parametrize(
    "arguments", [["--help"], ["up", "--help"], ["replay", "--help"], ["--version"]]
)
def test_help_is_quick_to_say_and_whole(arguments: list[str]) -> None:
    """Without numba, trio or a database."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "atalaia", *arguments],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout
    if arguments[0] == "up":
        assert "PORT" in done.stdout
    assert "numba" not in done.stderr


@pytest.mark.parametrize("works", ["--system-certs", "bundled"])
def test_the_bootstrap_trusts_the_systems_certificates(tmp_path: Path, works: str) -> None:
    """Behind a proxy that reads TLS they alone help; a bare machine has none, and uv its own."""
    for name in ("atalaia", "pyproject.toml", "uv.lock"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    uv = tmp_path / ".venv" / "bin" / "uv"
    uv.write_text(
        "#!/bin/sh\n"
        f"[ $1 = --version ] && exec {BIN / 'uv'} --version\n"
        'case "$*" in *--system-certs) w=--system-certs;; *) w=bundled;; esac\n'
        f"[ $w = {works} ]\n"
    )
    uv.chmod(0o755)
    subprocess.run([tmp_path / "atalaia", "--version"], capture_output=True, check=False)
    assert (tmp_path / ".venv" / "atalaia-stamp").exists()


def test_the_bootstrap_makes_its_environment_once(tmp_path: Path) -> None:
    """The stamp of this checkout is taken as it is; a wrong command says what there is."""
    done = subprocess.run(
        [ROOT / "atalaia", "--version"],
        capture_output=True, text=True, check=False, env=os.environ | {"HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "0.1.0"
