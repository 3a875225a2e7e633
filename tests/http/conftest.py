"""What tests of pages share."""

import pytest


@pytest.fixture(scope="session")
def chromium() -> str:
    """Where it is."""
    from tests.browser import INSTALL, find

    found = find()
    if found is None:
        pytest.skip(INSTALL)
    return found
