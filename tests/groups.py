"""The six groups of properties that the rules stand on, and how many cases of each a run tried.

    .venv/bin/python -m pytest tests -m group

prints the cases per group at its end; with ATALAIA_HYPOTHESIS_PROFILE=soak many more are tried,
or as many per property as ATALAIA_EXAMPLES says.
"""

from collections import Counter
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

import hypothesis
import pytest

P = ParamSpec("P")

ORACLE = "1 transitions and values are those of a naive oracle"
CRASH = "2 a crash anywhere changes no bit"
BATCHES = "3 any split into batches gives the same bytes"
ORDER = "4 any order of arrival within the lateness gives the same steps"
NEIGHBOURS = "5 repeats, other sensors and other rules change nothing"
REPLAY = "6 live is backtest, and a shift in time changes nothing"

CASES: Counter[str] = Counter()


def group(name: str) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Count the runs of a property's body; stands below `given`, which calls it once per case."""

    def mark(test: Callable[P, None]) -> Callable[P, None]:
        @wraps(test)
        def counted(*args: P.args, **kwargs: P.kwargs) -> None:
            CASES[name] += 1
            test(*args, **kwargs)

        return pytest.mark.group(counted)

    return mark


def fraction(divisor: int) -> int:
    """For a property whose cases are dear: a part of the profile's examples, and at least two."""
    profile = hypothesis.settings.default
    assert profile is not None
    return max(2, profile.max_examples // divisor)


def report() -> list[str]:
    """A line per group that was run."""
    return [f"{CASES[name]:>9,} cases  {name}" for name in sorted(CASES)]
