"""Every metric, declared here with its kind, unit and meaning. Never labelled by tenant."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()

READINGS = Counter(
    "atalaia_readings_total",
    "Readings by what became of them: stored, late (stored too), duplicate, rejected; and ignored:"
    " texts in formats that have them.",
    ["result"],
    registry=REGISTRY,
)
BATCHES = Counter(
    "atalaia_batches_total",
    "Batches by answer: ok or an error code.",
    ["answer"],
    registry=REGISTRY,
)
ALERTS = Counter(
    "atalaia_alert_transitions_total",
    "Committed alert transitions by kind.",
    ["kind"],
    registry=REGISTRY,
)
COMMITS = Counter("atalaia_commits_total", "Group commits.", registry=REGISTRY)
COMMIT_SECONDS = Histogram(
    "atalaia_commit_seconds",
    "Seconds from the start of a group commit to its end, retries included.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
    registry=REGISTRY,
)
COMMIT_ROWS = Histogram(
    "atalaia_commit_rows",
    "Readings per group commit.",
    buckets=(1, 10, 100, 1_000, 5_000, 10_000, 20_000, 50_000),
    registry=REGISTRY,
)
REQUEST_SECONDS = Histogram(
    "atalaia_http_request_seconds",
    "Seconds to answer, by route template and status.",
    ["route", "status"],
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=REGISTRY,
)
LOOP_LAG_SECONDS = Histogram(
    "atalaia_event_loop_lag_seconds",
    "Seconds by which a task went on later than it had asked for, ten times a second: for so long"
    " nobody was answered.",
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
    registry=REGISTRY,
)
ACTORS = Gauge("atalaia_actors", "Tenant actors in memory.", registry=REGISTRY)
QUARANTINED = Gauge("atalaia_tenants_quarantined", "Tenants in quarantine.", registry=REGISTRY)
ACTOR_CRASHES = Counter("atalaia_actor_crashes_total", "Crashes of actors.", registry=REGISTRY)
UNSETTLED_ROWS = Gauge(
    "atalaia_unsettled_readings", "Readings taken and not committed yet.", registry=REGISTRY
)
ROLLED_UP = Counter("atalaia_rollup_packs_total", "Packs of rollups written.", registry=REGISTRY)
EXPIRED = Counter(
    "atalaia_readings_expired_total",
    "Readings deleted because their tenant keeps them no longer.",
    registry=REGISTRY,
)
ERASED = Counter(
    "atalaia_rows_erased_total",
    "Rows deleted because their tenant is being erased.",
    registry=REGISTRY,
)
ERASURES = Gauge("atalaia_erasures_under_way", "Tenants that are being erased.", registry=REGISTRY)
MAILS = Counter(
    "atalaia_mails_total",
    "Mails by what became of a try: sent, put off (tried again), dead (nobody takes it), expired.",
    ["result"],
    registry=REGISTRY,
)
STREAMS = Gauge("atalaia_streams", "Streams that clients follow.", registry=REGISTRY)
DELIVERIES = Counter(
    "atalaia_deliveries_total",
    "Messages of RabbitMQ that are done, by result: stored, poison, refused (of a suspended"
    " tenant), put off (to the tenant's own queue), no room (there).",
    ["result"],
    registry=REGISTRY,
)
DEAD_LETTERS = Counter(
    "atalaia_dead_letters_total",
    "Messages sent to the dead letters, by the stage that refused them.",
    ["stage"],
    registry=REGISTRY,
)
LETTERS_DROPPED = Counter(
    "atalaia_dead_letters_dropped_total",
    "Messages that were to be dead letters, beyond their tenant's share of them, by stage.",
    ["stage"],
    registry=REGISTRY,
)
PUBLISHED = Counter(
    "atalaia_published_total",
    "Messages sent to RabbitMQ by fate: confirmed, refused (full), returned, unknown.",
    ["fate"],
    registry=REGISTRY,
)
