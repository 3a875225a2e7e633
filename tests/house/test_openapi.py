"""The committed document is the one that the code makes, and names every route."""

from openapi_spec_validator import validate

from atalaia.http.access import ROUTES
from atalaia.http.openapi.document import build, operations
from tests.house.openapi import PAGE, pretty


def test_the_committed_document_is_the_served_one() -> None:
    """Byte for byte; whoever compares two versions finds what changed for users."""
    assert PAGE.read_text() == pretty(build()), "run: python -m tests.house.openapi"


def test_the_document_is_valid() -> None:
    """As OpenAPI 3.1 has it."""
    document = build()
    assert document["openapi"].startswith("3.1.")
    validate(document)


def test_every_route_has_an_operation() -> None:
    """And no operation is without a route; names are taken once."""
    assert set(operations()) == set(ROUTES)
    names = [told.name for _, told in operations().values()]
    assert len(set(names)) == len(names)


def test_no_operation_is_bare() -> None:
    """Each has a summary, an answer with a description, and its errors; each parameter, each
    schema of an answer a description.
    """
    document = build()
    for path, methods in document["paths"].items():
        for method, told in methods.items():
            where = f"{method} {path}"
            assert told["summary"], where
            assert any(status < "400" for status in told["responses"]), where
            assert "500" in told["responses"], where
            for response in told["responses"].values():
                assert response.get("$ref") or response["description"], where
            for parameter in told["parameters"]:
                assert parameter.get("$ref") or parameter["description"], where
    for name, schema in document["components"]["schemas"].items():
        assert schema.get("description") or schema["additionalProperties"] is False, name
