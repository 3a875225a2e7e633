"""The register of sensors."""

from typing import Annotated, Literal
from uuid import UUID

import msgspec

from atalaia.http import bodies
from atalaia.http.openapi.ids import SENSOR
from atalaia.http.openapi.operation import (
    Answer,
    Body,
    Duration,
    Example,
    Operation,
    Page,
    Parameter,
    Subject,
    Time,
    said,
)
from atalaia.http.openapi.parameters import NAME, PAGES, TAG
from atalaia.http.openapi.subjects.people import DONE

CSV = "text/csv"


class Location(msgspec.Struct):
    """Degrees, WGS 84."""

    latitude: Annotated[float, msgspec.Meta(ge=-bodies.MAX_LATITUDE, le=bodies.MAX_LATITUDE)]
    longitude: Annotated[float, msgspec.Meta(ge=-bodies.MAX_LONGITUDE, le=bodies.MAX_LONGITUDE)]


class Sensor(msgspec.Struct):
    """What is known of a sensor."""

    id: UUID
    name: str
    tags: dict[str, str]
    registered_at: Time
    last_seen: Annotated[Time | None, said("When its newest reading arrived.")]
    status: Annotated[
        Literal["never", "active", "overdue"] | None,
        said("Overdue: silent for three intervals. Null without an interval."),
    ]
    metrics: list[str]
    lateness: Annotated[Duration | None, said("Its own; null: that of the tenant.")]
    expected_interval: Annotated[Duration | None, said("Its own, or its profile's.")]
    place: str | None
    location: Location | None


class RefusedLine(msgspec.Struct):
    """A line of a file that was not taken."""

    line: int
    column: str
    detail: str


class Imported(msgspec.Struct):
    """What a file did."""

    created: int
    changed: int
    unchanged: int
    rejected: list[RefusedLine]


FIELDS = {
    "lateness": {"description": "How late readings are still judged, `0s` to `24h`."},
    "expected_interval": {"description": "From one reading to the next, up to `366d`."},
    "place": {},
    "location": {"description": "Degrees, WGS 84."},
}
SENSOR_ANSWER = Answer("The sensor.", Sensor)
FILE = "name,group,profile,tag:hall\r\nboiler-7,north,,3\r\nboiler-8,north,,4\r\n"

SENSORS = Subject(
    "Sensors",
    "The register.",
    {
        "GET /v1/sensors": Operation(
            "listSensors",
            "Sensors, by name",
            parameters=[
                *PAGES,
                Parameter("group", "Of this group alone.", TAG),
                Parameter("profile", "Of this profile alone.", TAG),
            ],
            answers={200: Answer("A page of them.", Page[Sensor], headers=["Link"])},
            examples=[
                Example("first", "The first one of all", query={"limit": 1, "count": "true"})
            ],
        ),
        "POST /v1/sensors": Operation(
            "createSensor",
            "Make a sensor known before its first reading",
            body=Body.of(bodies.NewSensorBody, {**FIELDS, "name": NAME, "tags": {}}),
            answers={201: SENSOR_ANSWER},
            errors={
                400: "`bad_sensor`: no sensor can have this name. Or no such body.",
                409: "`name_taken`, `too_many_sensors`, `too_much_memory`.",
            },
            examples=[
                Example(
                    "boiler",
                    "In a boiler house",
                    body={
                        "name": "boiler-5",
                        "tags": {"group": "north"},
                        "expected_interval": "10s",
                        "place": "boiler house",
                        "location": {"latitude": -23.55, "longitude": -46.63},
                    },
                ),
                Example("taken", "A name that is there", body={"name": SENSOR}, status=409),
            ],
        ),
        "GET /v1/sensors/<sensor>": Operation(
            "readSensor",
            "A sensor",
            answers={200: SENSOR_ANSWER},
            examples=[
                Example("one", "A sensor"),
                Example("unknown", "None of this name", path={"sensor": "nobody"}, status=404),
            ],
        ),
        "PATCH /v1/sensors/<sensor>": Operation(
            "changeSensor",
            "Change what is sent",
            "Null takes a field away.",
            body=Body.of(bodies.SensorBody, FIELDS),
            answers={200: SENSOR_ANSWER},
            errors={409: "`too_much_memory`."},
            examples=[
                Example(
                    "place", "Another place", body={"place": "hall 3", "expected_interval": "1m"}
                )
            ],
        ),
        "DELETE /v1/sensors/<sensor>": Operation(
            "deleteSensor",
            "Delete a sensor",
            "Its alerts close, its history stays; who sends under its name is another sensor.",
            answers={204: DONE},
            examples=[Example("delete", "Gone")],
        ),
        "PUT /v1/sensors/<sensor>/tags": Operation(
            "replaceTags",
            "Replace all tags",
            body=Body.of(bodies.TagsBody, {"tags": {}}),
            answers={200: SENSOR_ANSWER},
            errors={409: "`too_much_memory`."},
            examples=[
                Example("tags", "In the north", body={"tags": {"group": "north", "hall": "3"}})
            ],
        ),
        "GET /v1/sensors:export": Operation(
            "exportSensors",
            "All sensors as a file",
            answers={
                200: Answer("CSV (RFC 4180).", content_types=[CSV], headers=["Content-Disposition"])
            },
            errors={
                409: "`too_many_columns`: more names of tags than a file has columns.",
                429: "`too_many_exports`.",
            },
            examples=[Example("all", "All of them")],
        ),
        "POST /v1/sensors:import": Operation(
            "importSensors",
            "Make or change sensors by a file",
            "A missing column leaves what is there, an empty cell takes it away.",
            body=Body({CSV: {"type": "string"}}),
            answers={200: Answer("What was done.", Imported)},
            errors={
                400: "`bad_csv`, `all_rejected`.",
                409: "`too_many_sensors`, `too_much_memory`.",
            },
            examples=[Example("two", "Two sensors", body=FILE, content_type=CSV)],
        ),
    },
)
