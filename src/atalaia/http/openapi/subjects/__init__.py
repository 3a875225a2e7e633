"""What is told of each route, by subject, in the order of the page."""

from atalaia.http.openapi.operation import Subject
from atalaia.http.openapi.subjects.alerts import ALERTS
from atalaia.http.openapi.subjects.ingest import INGEST
from atalaia.http.openapi.subjects.keys import AUDIT, KEYS
from atalaia.http.openapi.subjects.people import SIGNING_IN, USERS
from atalaia.http.openapi.subjects.profiles import PROFILES
from atalaia.http.openapi.subjects.rules import RULES
from atalaia.http.openapi.subjects.sensors import SENSORS
from atalaia.http.openapi.subjects.series import READINGS
from atalaia.http.openapi.subjects.service import SERVICE, SETTINGS
from atalaia.http.openapi.subjects.tenants import TENANTS
from atalaia.http.openapi.subjects.trials import TRIALS

SUBJECTS: tuple[Subject, ...] = (
    INGEST, READINGS, SENSORS, PROFILES, RULES, TRIALS, ALERTS, SETTINGS,
    SIGNING_IN, USERS, KEYS, AUDIT, TENANTS, SERVICE,
)  # fmt: skip
