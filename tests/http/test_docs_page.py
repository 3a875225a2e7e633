"""The page of the API in a real browser."""

import os

import pytest
from playwright.sync_api import Page

from tests.browser import look
from tests.stack import Stack

pytestmark = pytest.mark.postgres


async def test_the_page_shows_every_route_and_asks_nobody_else(stack: Stack, chromium: str) -> None:
    """Without an error on the console, a breach of its policy, or a request to another host; a
    request that is tried out is answered.
    """
    wanted = (await stack.client.get("/openapi.json")).json()
    shot = os.environ.get("ATALAIA_TEST_SCREENSHOT")

    def visit(page: Page) -> tuple[list[str], str]:
        page.goto(f"{stack.url}/docs")
        page.locator(".opblock-tag").first.wait_for()
        tags = page.locator(".opblock-tag a span").all_inner_texts()
        if shot:
            page.screenshot(path=shot)
        page.locator(".btn.authorize").click()
        form = page.locator(".auth-container form").filter(has_text="X-API-Key")
        form.locator("input").fill(stack.api_key)
        form.locator(".authorize").click()
        page.locator(".btn-done").first.click()
        page.locator(".opblock-tag").first.click()
        block = page.locator("#operations-Readings_in-sendReadings")
        block.locator(".opblock-summary").click()
        block.locator(".try-out__btn").click()
        block.locator(".execute").click()
        answer = block.locator(".live-responses-table .response .response-col_status").first
        answer.wait_for()
        if shot:
            page.screenshot(path=shot.replace(".png", "-tried.png"))
        return tags, answer.inner_text()

    (tags, status), told = await look(chromium, visit)
    assert told.errors == []
    assert {url for url in told.asked if not url.startswith((f"{stack.url}/", "data:"))} == set()
    assert tags == [tag["name"] for tag in wanted["tags"]]
    assert status.startswith("200")
    assert [one["name"] for one in (await stack.client.get("/v1/sensors")).json()["data"]]
