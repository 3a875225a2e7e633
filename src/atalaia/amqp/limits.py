"""The bounds of both directions, each with its unit and reason."""

import random

import attrs

MIB = 1024 * 1024


@attrs.frozen
class AmqpLimits:
    """Defaults fit one small machine."""

    prefetch: int = 16  # messages of each shard
    mqtt_prefetch: int = 256  # of the one queue of all devices, whose messages are small
    queue_bytes: int = 16 * MIB  # of each of them, or one message that is larger
    max_body_bytes: int = 8 * MIB
    max_rows: int = 50_000
    poison_per_minute: int = 100  # beyond it something is wrong with us, not with a message,
    poison_share: float = 0.5  # when so much of what comes is poison
    poison_per_tenant: int = 25  # of them; the rest of a tenant's does not stop the others
    poison_pause_s: float = 120.0  # until it is tried again
    letters_per_hour: int = 10_000  # of each tenant, whose letters shall not fill their queue:
    letter_bytes_per_hour: int = 64 * MIB  # it has 1 GiB
    letters_kept: int = 4  # of each tenant, unacknowledged, while their queue takes none
    # Unacknowledged messages are let go long before the broker's acknowledgement timeout
    # (30 minutes) closes the channel; an outage costs one delivery of the limit.
    hold_s: float = 300.0
    # What was put off and fetched is given back when the quota takes longer: the broker does not
    # wait for ever for an acknowledgement.
    turn_s: float = 20.0  # waited for before it is said: longer than a lost connection keeps it
    look_s: float = 15.0  # whether queues give what waits in them
    put_off_s: float = 30.0
    # What the engine does not take now, for reasons of the tenant's alone, is tried for so long.
    not_now_s: float = 3600.0
    not_now_first_s: float = 1.0  # between two tries
    not_now_last_s: float = 20.0
    in_hand_s: float = 600.0  # then what was fetched is given back, at one of its deliveries
    fetch: int = 8  # messages from there at once, of each such tenant
    fetch_bytes: int = 64 * MIB  # of those, over all tenants; one of them may have a quarter
    first_retry_s: float = 0.05
    last_retry_s: float = 5.0
    reconnect_s: float = 2.0
    drain_s: float = 8.0  # at shutdown, for what has been handed to the engine
    publish_s: float = 0.8  # 503 within a second
    publish_bytes: int = 64 * MIB  # not confirmed yet, over all tenants
    publish_at_once: int = 256  # messages in one crossing to the driver


def backoff_s(tries: int, first_s: float, last_s: float) -> float:
    """Full jitter: many that wait for one thing do not come back together."""
    return random.uniform(0.0, min(last_s, first_s * 2 ** min(tries, 16)))  # noqa: S311
