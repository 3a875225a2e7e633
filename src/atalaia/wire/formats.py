"""Bytes to columns, whichever way a sender writes them."""

from atalaia.model.batch import Batch
from atalaia.wire.line_protocol import parse_lines
from atalaia.wire.options import WireOptions
from atalaia.wire.readings import parse_readings
from atalaia.wire.rows import check_hurry
from atalaia.wire.thingsboard import parse_telemetry

AT_ONCE_BYTES = 1024 * 1024
"""Some 16,000 rows, in up to 50 ms where each is of another series."""


def parse(body: bytes, options: WireOptions, *, hurried: bool = False) -> Batch:
    """The readings of one body, with a reject for every row that is not one.

    Raises Invalid when the body as a whole cannot be read, TooLarge for too many rows; hurried:
    TakesLong when that would take more than some milliseconds because of how it is written, or how
    long it is.
    """
    check_hurry(hurried, len(body), AT_ONCE_BYTES)
    match options.format:
        case "line":
            return parse_lines(body, options, hurried=hurried)
        case "thingsboard":
            return parse_telemetry(body, options, hurried=hurried)
        case "json" | "ndjson":
            return parse_readings(body, options=options, hurried=hurried)
