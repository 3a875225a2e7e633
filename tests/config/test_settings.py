"""What one process is told, and what cannot be together."""

from pathlib import Path

import pytest

from atalaia.config.settings import Settings
from atalaia.model.errors import StartupRefused
from atalaia.model.ids import DAY_US


def settings(**given: int) -> Settings:
    return Settings("127.0.0.1", 0, Path("/tmp"), **given)  # type: ignore[arg-type]


def test_rollups_are_kept_for_ever_or_for_as_long_as_is_said() -> None:
    """In µs; not shorter than the readings."""
    assert settings().rollup_us is None
    assert settings(retention_days=30).rollup_us is None
    assert settings(retention_days=30, rollup_days=30).rollup_us == 30 * DAY_US


@pytest.mark.parametrize("given", [{"rollup_days": 9}, {"rollup_days": 9, "retention_days": 10}])
def test_rollups_do_not_go_before_the_readings(given: dict[str, int]) -> None:
    """Averages that are gone while what they are made of is there would be a riddle."""
    with pytest.raises(StartupRefused, match="ATALAIA_ROLLUP_DAYS"):
        settings(**given)
