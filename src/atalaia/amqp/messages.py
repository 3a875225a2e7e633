"""Messages as they travel: routing keys, headers, and how they become bodies and dead letters.

Pure. A message's tenant and, from MQTT, its sensor come from the routing key, which the broker's
permissions guard; never from the payload. What we publish ourselves travels under the key of its
queue, and its own in a header.

    <tenant>                          from our HTTP face, whose payload names its sensors
    v1.<tenant>.<sensor>.readings     from MQTT: the topic with / as .
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, get_args
from uuid import UUID, uuid4

import attrs
import numpy as np

from atalaia.amqp.columns import encode_rows, split_rows
from atalaia.engine.ingest import Body
from atalaia.model.batch import Batch, Reject
from atalaia.model.errors import AtalaiaError, Invalid
from atalaia.wire.inflate import inflate
from atalaia.wire.line_protocol import select_lines
from atalaia.wire.options import Format, WireOptions
from atalaia.wire.times import Precision

PREFIX = "x-atalaia-"  # of every header that we write
MESSAGE_ID = "x-atalaia-id"
ADDRESS = "x-atalaia-address"
PAID = "x-atalaia-paid"  # its quota was held to before it was published
PRECISION = "x-atalaia-precision"
BOOL = "x-atalaia-bool"
ARRIVED = "x-atalaia-arrived"  # epoch µs: the time of what has none of its own
SENSOR_TAG = "x-atalaia-sensor-tag"
METRIC_TAGS = "x-atalaia-metric-tags"
FIRST_SEEN = "x-atalaia-first-seen"
REASON = "x-atalaia-reason"
STAGE = "x-atalaia-stage"
EXC_CLASS = "x-atalaia-exc-class"
DETAIL = "x-atalaia-detail"
ATTEMPTS = "x-atalaia-attempts"
OURS_ALONE = {MESSAGE_ID, PAID, FIRST_SEEN, REASON, STAGE, EXC_CLASS, DETAIL, ATTEMPTS}

Stage = Literal["parse", "validate", "evaluate", "store", "deliver"]
MAX_DETAIL = 500
PRECISIONS = get_args(Precision)
LINE_PROTOCOL = "text/vnd.influxdb.line-protocol"
MAX_BYTES = 8 * 1024 * 1024  # of a message: what the broker is told to take
_INFLATED_BEFORE = 1 << 40  # within a bound, to be parsed


@attrs.frozen
class Address:
    """Where a message's readings belong. sensor None: its payload says which."""

    tenant_id: UUID
    sensor: str | None


@attrs.frozen(eq=False)
class Message:
    """What is published: to a shard, or to the dead letters.

    message_id stays what it is from the first publishing to the last replay.
    """

    routing_key: str
    body: bytes
    content_type: str
    encoding: str
    headers: Mapping[str, Any]
    message_id: str = attrs.field(factory=lambda: uuid4().hex)


@attrs.frozen(eq=False)
class Delivery:
    """What a shard delivers. tag: for its acknowledgement; before: earlier deliveries of it.

    paid: its tenant's quota was asked for it; hand: of the channel over which it was fetched out of
    the tenant's queue for later, 0 for what a shard delivers.
    """

    tag: int
    message: Message
    before: int = 0
    paid: bool = False
    hand: int = 0


@attrs.frozen
class Fault:
    """Why a message can never be stored as it is."""

    reason: str
    stage: Stage
    exc_class: str
    detail: str


def fault_of(error: Exception, stage: Stage) -> Fault:
    kind = type(error).__name__
    if not isinstance(error, AtalaiaError):
        return Fault("internal_error", stage, kind, "a fault of ours, which the log describes")
    return Fault(error.code, stage, kind, error.detail)


def fault_of_rows(rejects: tuple[Reject, ...], stage: Stage) -> Fault:
    """Rows that nobody will be told of: the first says why."""
    first = rejects[0]
    return Fault(first.code, stage, "Reject", f"{len(rejects)} rows; the first: {first.detail}")


def parse_address(routing_key: str) -> Address:
    """Raises Invalid (`bad_routing_key`)."""
    text, sensor = routing_key, None
    if routing_key.startswith("v1.") and routing_key.endswith(".readings"):
        text, _, rest = routing_key.removeprefix("v1.").partition(".")
        sensor = rest.removesuffix("readings").removesuffix(".")
    try:
        return Address(UUID(text), sensor)
    except ValueError as error:
        raise Invalid(
            "The routing key is neither a tenant's id nor v1.<tenant>.<sensor>.readings.",
            code="bad_routing_key",
        ) from error


def tenant_of(message: Message) -> UUID | None:
    """Whose it is; None: nobody's."""
    try:
        return parse_address(message.routing_key).tenant_id
    except Invalid:
        return None


def to_body(message: Message, address: Address, max_rows: int) -> Body:
    """As the HTTP face has it. Raises Invalid for a header that it would refuse."""
    precision = message.headers.get(PRECISION, "ms")
    if precision not in PRECISIONS:
        raise Invalid(f"{PRECISION} is none of {', '.join(PRECISIONS)}.", code="bad_parameter")
    arrived = message.headers.get(ARRIVED)
    sensor_tag = message.headers.get(SENSOR_TAG)
    options = WireOptions(
        format=_format_of(message.content_type),
        precision=precision,
        bool_as_number=message.headers.get(BOOL) == "number",
        max_rows=max_rows,
        sensor=address.sensor,
        now_us=arrived if isinstance(arrived, int) else None,
        sensor_tag=sensor_tag if isinstance(sensor_tag, str) else None,
        metric_tags=split_tags(message.headers.get(METRIC_TAGS)),
    )
    return Body(message.body, message.encoding or "identity", options)


def _format_of(content_type: str) -> Format:
    if content_type == LINE_PROTOCOL:
        return "line"
    return "ndjson" if "ndjson" in content_type or "jsonlines" in content_type else "json"


def split_tags(text: object) -> tuple[str, ...]:
    """Names of tags out of a header."""
    return tuple(text.split(",")) if isinstance(text, str) and text else ()


def is_written_anew(body: Body, batch: Batch) -> bool:
    """Whether `to_messages` looks at each row."""
    return bool(batch.rejects) or body.options.format == "thingsboard"


def to_messages(
    tenant_id: UUID, body: Body, batch: Batch, now_us: int, max_bytes: int = MAX_BYTES
) -> list[Message]:
    """The accepted rows of a batch: its body as it came, or written anew when rows are missing,
    which takes several messages when it is longer then than the broker takes."""
    headers = {FIRST_SEEN: time_text(now_us), PRECISION: body.options.precision, PAID: True}
    if body.options.bool_as_number:
        headers[BOOL] = "number"
    if body.options.format == "line":
        return [_to_lines(tenant_id, body, batch, headers)]
    if is_written_anew(body, batch):
        headers[PRECISION] = "us"
        return [
            Message(str(tenant_id), data, "application/json", "identity", headers)
            for data in split_rows(batch, max_bytes)
        ]
    ndjson = body.options.format == "ndjson"
    kind = "application/x-ndjson" if ndjson else "application/json"
    return [Message(str(tenant_id), body.data, kind, body.encoding, headers)]


def _to_lines(tenant_id: UUID, body: Body, batch: Batch, headers: dict[str, Any]) -> Message:
    """Lines as they came, since they have tags; those alone that have an accepted row."""
    options = body.options
    headers |= {ARRIVED: options.now_us, METRIC_TAGS: ",".join(options.metric_tags)}
    if options.sensor_tag is not None:
        headers[SENSOR_TAG] = options.sensor_tag
    message = Message(str(tenant_id), body.data, LINE_PROTOCOL, body.encoding, headers)
    return _with_lines(message, set(batch.row.tolist())) if batch.rejects else message


def _with_lines(message: Message, wanted: set[int]) -> Message:
    data = inflate(message.body, message.encoding, max_bytes=_INFLATED_BEFORE)
    lines = select_lines(data, wanted)
    return attrs.evolve(message, body=lines, encoding="identity")


def rest_of(
    message: Message, batch: Batch, refused: set[int], max_bytes: int = MAX_BYTES
) -> Message:
    """A message with those rows of another alone, by their index in its body; with all of them
    when the broker would not take it written anew: what is stored counts as duplicate then."""
    if message.content_type == LINE_PROTOCOL:
        return attrs.evolve(_with_lines(message, refused), message_id=uuid4().hex)
    keep = np.isin(batch.row, np.fromiter(refused, np.int32, len(refused)))
    data = encode_rows(batch, np.flatnonzero(keep))
    if len(data) > max_bytes:
        return attrs.evolve(message, message_id=uuid4().hex)
    return attrs.evolve(
        message,
        body=data,
        content_type="application/json",
        encoding="identity",
        headers={**message.headers, PRECISION: "us"},
        message_id=uuid4().hex,
    )


def to_letter(message: Message, fault: Fault, attempts: int, now_us: int) -> Message:
    """A dead letter: the message with why, where, and since when."""
    said = {
        REASON: fault.reason,
        STAGE: fault.stage,
        EXC_CLASS: fault.exc_class,
        DETAIL: fault.detail[:MAX_DETAIL],
        ATTEMPTS: attempts,
    }
    seen = {FIRST_SEEN: time_text(now_us)} | dict(message.headers)
    return attrs.evolve(message, headers=seen | said)


def to_replay(letter: Message) -> Message:
    """A dead letter as it was before, but for when it was first seen and how often it was tried."""
    kept = {PRECISION, BOOL, PAID, FIRST_SEEN, ATTEMPTS, ARRIVED, SENSOR_TAG, METRIC_TAGS}
    headers = {name: value for name, value in letter.headers.items() if name in kept}
    return attrs.evolve(letter, headers=headers)


def time_text(now_us: int) -> str:
    """RFC 3339 in UTC, always with six digits: such texts sort as their times do."""
    seconds, micros = divmod(now_us, 1_000_000)
    moment = datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
