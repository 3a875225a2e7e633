"""The secret of access tokens: kept between starts, none that could be guessed, and the same for
all processes of a database."""

import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from atalaia.app import _agree_on_secrets, _token_keys
from atalaia.bridge import Bridge, open_bridge
from atalaia.cli.up import _jwt
from atalaia.config.settings import JWT_SECRET, JwtSettings, Role, Settings, parse_lifetime
from atalaia.model.errors import StartupRefused
from atalaia.security.tokens import TokenKeys
from atalaia.storage.cluster import Cluster
from atalaia.storage.embedded import query

GOOD, OTHER = "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"


OLD = "00112233445566778899aabbccddeeff"


@pytest.fixture
async def bridge() -> AsyncIterator[Bridge]:
    async with open_bridge() as opened:
        yield opened


def settings(data_dir: Path, *secrets: str) -> Settings:
    return Settings("127.0.0.1", 0, data_dir, jwt=JwtSettings(secrets))


def test_one_is_made_on_the_first_start_and_kept(tmp_path: Path) -> None:
    """Readable by its owner alone; another data directory has another one."""
    first = _token_keys(settings(tmp_path)).secrets
    assert _token_keys(settings(tmp_path)).secrets == first
    assert stat.S_IMODE((tmp_path / JWT_SECRET).stat().st_mode) == 0o600
    other = tmp_path / "other"
    other.mkdir()
    assert _token_keys(settings(other)).secrets != first
    given = _token_keys(settings(tmp_path, GOOD, OTHER)).secrets
    assert given == [GOOD.encode(), OTHER.encode()]


@pytest.mark.parametrize("weak", ["short", "x" * 40, "chave-super-secreta-de-producao-256-bits"])
def test_one_that_could_be_guessed_is_refused(tmp_path: Path, weak: str) -> None:
    """Also as the second of two; also when it is the one that was kept."""
    for secrets in ((weak,), (GOOD, weak)):
        with pytest.raises(StartupRefused, match="ATALAIA_JWT_SECRETS"):
            _token_keys(settings(tmp_path, *secrets))
    (tmp_path / JWT_SECRET).write_text(weak)
    with pytest.raises(StartupRefused):
        _token_keys(settings(tmp_path))


def test_the_environment_says_how_long_tokens_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """By default as the documentation says."""
    assert _jwt() == JwtSettings((), 900, 604_800)
    monkeypatch.setenv("JWT_SECRET", GOOD)
    monkeypatch.setenv("JWT_EXPIRES_IN", "5m")
    monkeypatch.setenv("JWT_REFRESH_EXPIRES_IN", "3600")
    assert _jwt() == JwtSettings((GOOD,), 300, 3_600)
    monkeypatch.setenv("ATALAIA_JWT_SECRETS", f"{OTHER}, {GOOD}")
    assert _jwt().secrets == (OTHER, GOOD)
    monkeypatch.setenv("JWT_REFRESH_EXPIRES_IN", "5m")
    with pytest.raises(StartupRefused, match="longer"):
        _jwt()


@pytest.mark.parametrize(
    ("text", "seconds"), [("900", 900), ("90s", 90), ("15m", 900), ("12h", 43_200), ("7d", 604_800)]
)
def test_lifetimes_are_read(text: str, seconds: int) -> None:
    assert parse_lifetime("X", text) == seconds


@pytest.mark.parametrize("text", ["0", "15 m", "-5m", "1.5h", "soon", "15M", "9" * 20])
def test_other_lifetimes_are_refused(text: str) -> None:
    """With the name of the setting."""
    with pytest.raises(StartupRefused, match="JWT_EXPIRES_IN"):
        parse_lifetime("JWT_EXPIRES_IN", text)


def keys(*secrets: str) -> TokenKeys:
    return TokenKeys([secret.encode() for secret in secrets])


@pytest.mark.postgres
async def test_a_face_with_another_secret_does_not_start(
    bridge: Bridge, database_url: str, cluster: Cluster
) -> None:
    """Of several secrets one in common is enough, so that they can be changed one process at a
    time; what is known is what the last one came with, and no secret.
    """
    await _agree_on_secrets(bridge, database_url, keys(OLD), "http")
    for role in ("http", "http", "engine", "http"):
        with pytest.raises(StartupRefused, match="ATALAIA_JWT_SECRETS to the same"):
            await _agree_on_secrets(bridge, database_url, keys(GOOD), "http")
        await _agree_on_secrets(bridge, database_url, keys(OLD), role)
    for secrets in ((GOOD, OLD), (OLD,), (GOOD, OLD), (GOOD,)):
        await _agree_on_secrets(bridge, database_url, keys(*secrets), "http")
    with pytest.raises(StartupRefused):
        await _agree_on_secrets(bridge, database_url, keys(OLD), "http")
    name = database_url.split("@/")[1].split("?", maxsplit=1)[0]
    kept = query(cluster, "SELECT string_agg(key_id, ',') FROM token_secrets", database=name)
    assert {kept} == keys(GOOD).ids
    assert kept not in GOOD


@pytest.mark.postgres
@pytest.mark.parametrize("role", ["all", "engine"])
async def test_who_lost_the_data_directory_goes_on(
    bridge: Bridge, database_url: str, role: Role
) -> None:
    """With a new secret, which is said once; the others are then held to it."""
    with capture_logs() as said:
        await _agree_on_secrets(bridge, database_url, keys(OLD), role)
        await _agree_on_secrets(bridge, database_url, keys(OLD, OTHER), role)
        await _agree_on_secrets(bridge, database_url, keys(GOOD), role)
        await _agree_on_secrets(bridge, database_url, keys(GOOD), role)
    assert [line["event"] for line in said] == ["token_secret_replaced"]
    with pytest.raises(StartupRefused):
        await _agree_on_secrets(bridge, database_url, keys(OLD), "http")
    await _agree_on_secrets(bridge, database_url, keys(GOOD), "http")
