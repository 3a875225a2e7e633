"""Ids as somebody types them."""

from uuid import UUID

from atalaia.model.errors import Invalid


def tenant_id(text: str, what: str = "The tenant") -> UUID:
    """what: the argument or option. Raises Invalid."""
    try:
        return UUID(text)
    except ValueError:
        raise Invalid(f"{what} is an id such as tenant_id in credentials.json.") from None
