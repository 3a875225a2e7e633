"""What the documentation says of who may call what is what the routes say."""

from tests.house.access import HEAD, PAGE, current_page, table


def test_the_page_is_the_table() -> None:
    """Every route, every role, every scope."""
    page = PAGE.read_text()
    assert page.count(HEAD) == 1
    assert page == current_page(page), "run: python -m tests.house.access"
    assert table().count("\n") > 40
