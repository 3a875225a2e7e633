"""`atalaia dlq`: the dead letters of RabbitMQ, for whoever looks after the service."""

import re
import sys
from typing import TYPE_CHECKING, Annotated

import attrs
from cyclopts import App, Parameter

from atalaia.cli.amqp import USUAL, Broker, crossing, reported
from atalaia.model.errors import AtalaiaError, Invalid

if TYPE_CHECKING:
    from atalaia.amqp.dead_letters import Letter, Selection

app = App(name="dlq", help="Look at dead letters of RabbitMQ, send them again, drop them.")

MAX_SHOWN = 64 * 1024  # of a body: a terminal is no place for more


@Parameter(name="*")
@attrs.frozen
class Letters:
    """The options of every command that is about some of the letters."""

    reason: Annotated[
        str | None, Parameter(help="Only those with this reason, such as bad_json.")
    ] = None
    tenant: Annotated[str | None, Parameter(help="Only those of this tenant's id.")] = None
    since: Annotated[
        str | None,
        Parameter(help="Only those first seen then or later: a time such as 2026-01-31T12:00:00Z."),
    ] = None
    until: Annotated[str | None, Parameter(help="Only those first seen then or earlier.")] = None

    def selection(self) -> "Selection":
        """Raises Invalid for a time that is none."""
        from atalaia.amqp.dead_letters import Selection

        since, until = _time(self.since, "--since"), _time(self.until, "--until")
        return Selection(self.reason, self.tenant, since, until)


ALL = Letters()


@app.command(name="list")
def list_letters(
    *,
    limit: int = 100,
    which: Letters = ALL,
    broker: Broker = USUAL,
) -> int:
    """Show dead letters, oldest first.

    Parameters
    ----------
    limit
        How many to show.
    """

    def run() -> int:
        from atalaia.amqp.dead_letters import list_aio

        if limit < 1:
            raise Invalid("--limit is 1 or more.")
        chosen = which.selection()
        found = crossing(list_aio, broker.address(), chosen, limit + 1)
        shown = found[:limit]
        head = ("id", "first seen", "tenant", "reason", "stage", "tries", "bytes", "detail")
        lines = [head, *(_cells(letter) for letter in shown)]
        widths = [max(len(line[n]) for line in lines) for n in range(len(head))]
        for line in lines:
            print("  ".join(map(str.ljust, line, widths)).rstrip())
        if len(found) > limit:
            print(f"atalaia: there are more than {limit}; --limit shows more.", file=sys.stderr)
        return 0

    return reported(run)


@app.command
def show(message_id: str, /, *, broker: Broker = USUAL) -> int:
    """Show one dead letter whole: its headers, then its body.

    Parameters
    ----------
    message_id
        The id that `dlq list` shows.
    """

    def run() -> int:
        from atalaia.amqp.dead_letters import Selection, list_aio

        found = crossing(list_aio, broker.address(), Selection(message_id=message_id), 1)
        if not found:
            raise AtalaiaError(f"There is no dead letter {message_id}; see atalaia dlq list.")
        letter = found[0]
        for name, value in (
            ("id", letter.message.message_id),
            ("tenant", letter.tenant),
            ("routing key", letter.message.routing_key),
            ("reason", letter.reason),
            ("stage", letter.stage),
            ("raised", letter.exc_class),
            ("detail", letter.detail),
            ("first seen", letter.first_seen),
            ("tries", letter.attempts),
            ("content", f"{letter.message.content_type} {letter.message.encoding}"),
        ):
            print(f"{name + ':':13}{_printable(str(value))}")
        print()
        print(_body(letter))
        return 0

    return reported(run)


@app.command
def replay(
    *,
    rate: float | None = None,
    dry_run: bool = False,
    which: Letters = ALL,
    broker: Broker = USUAL,
) -> int:
    """Send dead letters to the queues they came from.

    What is stored already counts as duplicate, so sending twice is harmless.

    Parameters
    ----------
    rate
        At most so many a second.
    dry_run
        Only say how many.
    """

    def run() -> int:
        from atalaia.amqp.dead_letters import replay_aio

        if rate is not None and not rate > 0:
            raise Invalid("--rate is a number of letters a second, above 0.")
        chosen = which.selection()
        if dry_run:
            return _count(broker.address(), chosen, "would be sent again")
        print(f"{crossing(replay_aio, broker.address(), chosen, rate):,} sent again")
        return 0

    return reported(run)


@app.command
def drop(
    *,
    everything: bool = False,
    dry_run: bool = False,
    which: Letters = ALL,
    broker: Broker = USUAL,
) -> int:
    """Delete dead letters for good.

    Parameters
    ----------
    everything
        All of them; needed when nothing else says which.
    dry_run
        Only say how many.
    """

    def run() -> int:
        from atalaia.amqp.dead_letters import Selection, drop_aio

        chosen = which.selection()
        if chosen == Selection() and not everything:
            raise Invalid("Say which: --reason, --tenant, --since, --until, or --everything.")
        if dry_run:
            return _count(broker.address(), chosen, "would be dropped")
        print(f"{crossing(drop_aio, broker.address(), chosen):,} dropped")
        return 0

    return reported(run)


def _cells(letter: "Letter") -> tuple[str, ...]:
    """Whole, however wide the terminal is: an id is there to be copied."""
    message = letter.message
    cells = (message.message_id, letter.first_seen, letter.tenant, letter.reason, letter.stage,
             f"{letter.attempts}", f"{len(message.body):,}", letter.detail)  # fmt: skip
    return tuple(_printable(cell) for cell in cells)


def _count(url: str, chosen: "Selection", what: str) -> int:
    from atalaia.amqp.dead_letters import count_aio

    print(f"{crossing(count_aio, url, chosen):,} {what}")
    return 0


def _time(text: str | None, option: str) -> str | None:
    from atalaia.amqp.messages import time_text
    from atalaia.wire.times import parse_rfc3339

    if text is None:
        return None
    try:
        return time_text(parse_rfc3339(text))
    except ValueError as error:
        raise Invalid(f"{option}: {error}.") from error


def _printable(text: str) -> str:
    """What a stranger sent must not steer the terminal."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", "\N{REPLACEMENT CHARACTER}", text)


def _body(letter: "Letter") -> str:
    from atalaia.wire.inflate import inflate

    body, encoding = letter.message.body, letter.message.encoding
    try:
        body = inflate(body, encoding, max_bytes=8 * 1024 * 1024)
    except AtalaiaError as error:
        print(f"atalaia: shown as it is: {error.detail}", file=sys.stderr)
    lines = body[:MAX_SHOWN].decode(errors="replace").splitlines()
    more = f"\n… {len(body) - MAX_SHOWN:,} more bytes" if len(body) > MAX_SHOWN else ""
    return "\n".join(_printable(line) for line in lines) + more
