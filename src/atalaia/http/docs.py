"""The API as a document and as a page: `/openapi.json`, and Swagger UI at `/docs`.

Every file of the page is in the package; it may run and fetch what comes from here alone.
"""

import hashlib
from importlib import resources

import attrs
from quart import Blueprint, Response, request

from atalaia.http.openapi.document import document
from atalaia.model.errors import NotFound

PAGE_POLICY = (
    "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; object-src 'none'"
)
"""Icons of Swagger UI's style sheet are data: images; its inline styles are set by its script."""

DAY_S = 86_400
TYPES = {
    "index.html": "text/html; charset=utf-8",
    "favicon-32x32.png": "image/png",
    "page.css": "text/css; charset=utf-8",
    "start.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
}


@attrs.frozen
class File:
    """kept_s: how long a browser need not ask again."""

    content: bytes = attrs.field(repr=False)
    content_type: str
    kept_s: int
    etag: str

    @classmethod
    def of(cls, content: bytes, content_type: str, kept_s: int = 0) -> "File":
        return cls(content, content_type, kept_s, hashlib.sha256(content).hexdigest()[:32])

    def answer(self, **headers: str) -> Response:
        """304 for who has it already."""
        fresh = request.if_none_match.contains_weak(self.etag)
        response = Response(b"" if fresh else self.content, 304 if fresh else 200)
        if fresh:
            del response.headers["content-type"]
        else:
            response.headers["content-type"] = self.content_type
        response.headers["cache-control"] = f"max-age={self.kept_s}" if self.kept_s else "no-cache"
        response.set_etag(self.etag)
        response.headers.update(headers)
        return response


def _elsewhere(where: str) -> Response:
    response = Response(b"", 302, {"location": where})
    del response.headers["content-type"]
    return response


def blueprint() -> Blueprint:
    """`/openapi.json`, `/docs` and below, without a credential; `/` leads to the page."""
    routes = Blueprint("docs", __name__)
    folder = resources.files("atalaia.http").joinpath("swagger_ui")
    files = {
        name: File.of(folder.joinpath(name).read_bytes(), kind, DAY_S)
        for name, kind in TYPES.items()
    }
    page = attrs.evolve(files.pop("index.html"), kept_s=0)
    described = File.of(document(), "application/json")

    @routes.get("/openapi.json")
    async def read_document() -> Response:
        return described.answer()

    @routes.get("/docs")
    async def read_page() -> Response:
        return page.answer(**{"content-security-policy": PAGE_POLICY})

    # Relative, so that they hold behind a proxy that serves all of this below a path of its own.
    @routes.get("/")
    async def find_page() -> Response:
        return _elsewhere("docs")

    @routes.get("/docs/")
    async def find_page_again() -> Response:
        return _elsewhere("../docs")

    @routes.get("/docs/<file>")
    async def read_file(file: str) -> Response:
        if file not in files:
            raise NotFound
        return files[file].answer()

    return routes
