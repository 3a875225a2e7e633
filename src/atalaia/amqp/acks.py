"""Which acknowledgements to send: one for many where everything before is done. Pure."""

import attrs


@attrs.define(eq=False)
class Acks:
    """Of one channel, whose delivery tags count from 1."""

    _until: int = 0  # every tag up to this one has been acknowledged
    _beyond: set[int] = attrs.field(factory=set)

    def gone(self, tags: list[int]) -> None:
        """They were given back: nothing is to be acknowledged, and nothing is open there."""
        self._beyond.update(tags)

    def done(self, tags: list[int]) -> list[tuple[int, bool]]:
        """(tag, and all before it) for tags that are done now and were not before.

        The broker takes an acknowledgement of many for all that is still open below its tag:
        nothing that is open may be there.
        """
        fresh = set(tags)
        top = self._until
        while top + 1 in fresh or top + 1 in self._beyond:
            top += 1
        acks = []
        below = sorted(tag for tag in fresh if tag <= top)
        if below:
            acks.append((below[-1], True))
        singles = sorted(tag for tag in fresh if tag > top)
        acks += [(tag, False) for tag in singles]
        self._beyond = {tag for tag in self._beyond if tag > top} | set(singles)
        self._until = top
        return acks
