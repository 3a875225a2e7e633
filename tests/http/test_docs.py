"""The document and its page are served from here alone, and kept by browsers."""

import hashlib
from importlib import resources

import msgspec
import pytest

from atalaia.http.docs import TYPES
from atalaia.http.openapi.document import build
from tests.people import client
from tests.stack import Stack

FOLDER = resources.files("atalaia.http").joinpath("swagger_ui")


async def test_the_document_is_served_to_anybody(stack: Stack) -> None:
    """As it is committed, and again only when it changed."""
    async with client(stack) as stranger:
        first = await stranger.get("/openapi.json")
        assert (first.status_code, first.headers["content-type"]) == (200, "application/json")
        assert first.json() == msgspec.json.decode(msgspec.json.encode(build()))
        assert first.headers["cache-control"] == "no-cache"
        again = {"if-none-match": first.headers["etag"]}
        assert (await stranger.get("/openapi.json", headers=again)).status_code == 304
        other = {"if-none-match": '"another"'}
        assert (await stranger.get("/openapi.json", headers=other)).status_code == 200


async def test_the_page_may_load_what_comes_from_here_alone(stack: Stack) -> None:
    """No inline script, no inline style, no other host; every file is there with its type."""
    async with client(stack) as stranger:
        page = await stranger.get("/docs")
        policy = page.headers["content-security-policy"]
        assert policy.startswith("default-src 'self'; img-src 'self' data:; ")
        assert "unsafe" not in policy
        assert "http" not in policy
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        for name, kind in TYPES.items():
            if name == "index.html":
                continue
            assert f"docs/{name}" in page.text
            file = await stranger.get(f"/docs/{name}")
            assert (file.status_code, file.headers["content-type"]) == (200, kind)
            assert file.headers["cache-control"] == "max-age=86400"
            assert file.content == FOLDER.joinpath(name).read_bytes()
            again = await stranger.get(
                f"/docs/{name}", headers={"if-none-match": file.headers["etag"]}
            )
            assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("path", ["/", "/docs/"])
async def test_whoever_opens_the_address_finds_the_page(stack: Stack, path: str) -> None:
    """By a redirect that keeps the path below which a proxy serves it."""
    async with client(stack) as stranger:
        sent = await stranger.get(path)
        assert (sent.status_code, sent.content) == (302, b"")
        assert not sent.headers["location"].startswith(("/", "http"))
        page = await stranger.get(str(sent.url.join(sent.headers["location"])))
        assert (page.status_code, page.url.path) == (200, "/docs")


@pytest.mark.parametrize("file", ["index.html", "README.md", "..%2Fdocs.py", "%2e%2e", "x", "%00"])
async def test_the_page_has_no_other_files(stack: Stack, file: str) -> None:
    """Whatever stands in the package."""
    async with client(stack) as stranger:
        assert (await stranger.get(f"/docs/{file}")).status_code == 404


def test_the_files_of_others_are_as_they_came() -> None:
    """With their licence beside them."""
    lines = FOLDER.joinpath("SHA256SUMS").read_text().splitlines()
    listed = {name: digest for digest, name in (line.split() for line in lines)}
    assert {"LICENSE", "NOTICE", "swagger-ui-bundle.js", "swagger-ui.css"} <= set(listed)
    for name, digest in listed.items():
        assert hashlib.sha256(FOLDER.joinpath(name).read_bytes()).hexdigest() == digest, name
