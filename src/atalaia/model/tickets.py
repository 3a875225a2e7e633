"""What a browser shows where it can send no header."""

from uuid import UUID

import attrs


@attrs.frozen
class TicketHolder:
    """Who asked for a ticket: a session or a key, and never both. Whatever these may then, it may.

    tenant_id: where it opens something.
    """

    tenant_id: UUID
    session_id: UUID | None = None
    key_id: str | None = None
