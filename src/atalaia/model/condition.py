"""What must hold of a thing for a request about it to be carried out (RFC 9110, 13.1).

A tag says what somebody has seen: it is another one after every change.
"""

import hashlib

import attrs

from atalaia.model.errors import PreconditionFailed

ANY = "*"


@attrs.frozen
class Condition:
    """match: one of these is the tag of what there is now; none_match: none of them is; None: not
    asked. ANY stands for whatever there is.
    """

    match: frozenset[str] | None = None
    none_match: frozenset[str] | None = None

    def check(self, tag: str | None) -> None:
        """tag: of what there is; None: there is nothing. Raises PreconditionFailed."""
        if self.match is not None and not _holds(self.match, tag):
            raise PreconditionFailed
        if self.none_match is not None and _holds(self.none_match, tag):
            raise PreconditionFailed("There is one already, or it is as you know it.")


UNCONDITIONAL = Condition()


def _holds(tags: frozenset[str], tag: str | None) -> bool:
    return tag is not None and (ANY in tags or tag in tags)


def tag_of(*parts: object) -> str:
    """Of what these say; the same in every process."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:20]
