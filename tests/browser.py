"""A real browser, for the pages that are served.

Chromium as the system has it: `./atalaia test --install-deps`, or apt-get install chromium.
"""

import shutil
from collections.abc import Callable
from typing import TypeVar

import attrs
import trio
from playwright.sync_api import Page, sync_playwright

INSTALL = "no chromium: ./atalaia test --install-deps, or apt-get install chromium"

T = TypeVar("T")


@attrs.define
class Told:
    """What a page said and asked for while it was looked at."""

    errors: list[str] = attrs.field(factory=list)
    asked: list[str] = attrs.field(factory=list)


def find() -> str | None:
    """Where Chromium is."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)


async def look(chromium: str, visit: Callable[[Page], T]) -> tuple[T, Told]:
    """Run `visit` in a thread, with a page of its own."""
    return await trio.to_thread.run_sync(_look, chromium, visit)


def _look(chromium: str, visit: Callable[[Page], T]) -> tuple[T, Told]:
    told = Told()
    with sync_playwright() as playwright:
        # As root, in a container, Chromium's own sandbox cannot be made.
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 1600})
        page.on(
            "console",
            lambda one: told.errors.append(one.text) if one.type in ("error", "warning") else None,
        )
        page.on("pageerror", lambda error: told.errors.append(str(error)))
        page.on("request", lambda request: told.asked.append(request.url))
        try:
            return visit(page), told
        finally:
            browser.close()
