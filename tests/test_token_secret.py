"""The secret of access tokens: kept between starts, and none that could be guessed."""

import stat
from pathlib import Path

import pytest

from atalaia.app import _token_keys
from atalaia.cli.up import _jwt
from atalaia.config.settings import JWT_SECRET, JwtSettings, Settings, parse_lifetime
from atalaia.model.errors import StartupRefused

GOOD, OTHER = "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"


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
