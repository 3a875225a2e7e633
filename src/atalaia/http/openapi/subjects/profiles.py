"""What sensors share, and what metrics are measured in."""

from typing import Annotated

import msgspec

from atalaia.http import bodies
from atalaia.http.openapi.ids import PROFILE
from atalaia.http.openapi.operation import (
    Answer,
    Body,
    Duration,
    Example,
    Operation,
    Page,
    Subject,
    Time,
    said,
)
from atalaia.http.openapi.parameters import COUNT, PAGES
from atalaia.http.openapi.subjects.people import DONE
from atalaia.http.openapi.subjects.rules import Lint

BOILER_RULE = 'rule "too hot" on sensors where profile = "boiler" when temperature > 90'


class Group(msgspec.Struct):
    """A value of the tag `group`."""

    name: str
    sensors: Annotated[int, said("How many.")]


class Profile(msgspec.Struct):
    """What sensors with its name as the tag `profile` share."""

    name: str
    description: str
    expected_interval: Duration | None
    rules: str
    created_at: Time
    updated_at: Time


class SavedProfile(Profile):
    """A profile, and what is odd about its rules."""

    lints: list[Lint]


class Unit(msgspec.Struct):
    """What a metric is measured in."""

    metric: str
    unit: str


class SavedUnit(Unit):
    """A unit as it was saved."""

    known: Annotated[bool, said("Whether it is understood, so that it can be converted.")]


PROFILES = Subject(
    "Groups, profiles, metrics",
    "What sensors share, and what metrics are measured in.",
    {
        "GET /v1/groups": Operation(
            "listGroups",
            "Groups, by name",
            parameters=[COUNT],
            answers={200: Answer("The first 1,000.", Page[Group])},
            examples=[Example("all", "All of them", query={"count": "true"})],
        ),
        "GET /v1/profiles": Operation(
            "listProfiles",
            "Profiles, by name",
            parameters=[COUNT],
            answers={200: Answer("All of them.", Page[Profile])},
            examples=[Example("all", "All of them", query={"count": "true"})],
        ),
        "GET /v1/profiles/<name>": Operation(
            "readProfile",
            "A profile",
            answers={200: Answer("The profile.", Profile)},
            examples=[Example("one", "A profile")],
        ),
        "PUT /v1/profiles/<name>": Operation(
            "saveProfile",
            "Make or replace a profile, and its rules with it",
            body=Body.of(
                bodies.ProfileBody,
                {
                    "description": {"maxLength": 1_000},
                    "expected_interval": {},
                    "rules": {"description": "In the rule language, for its sensors alone."},
                },
            ),
            answers={200: Answer("The profile.", SavedProfile)},
            errors={
                400: "`not_of_the_profile`, or no such body.",
                409: "`name_taken`, `too_many_profiles`, `too_many_rules`, `too_much_memory`.",
                422: "`invalid_rule`.",
            },
            examples=[
                Example(
                    "boilers",
                    "With a rule",
                    body={
                        "description": "Boilers of any make",
                        "expected_interval": "10s",
                        "rules": BOILER_RULE,
                    },
                )
            ],
        ),
        "DELETE /v1/profiles/<name>": Operation(
            "deleteProfile",
            "Delete a profile and its rules",
            answers={204: DONE},
            errors={409: "A rule was changed meanwhile."},
            examples=[Example("delete", "Gone", path={"name": PROFILE})],
        ),
        "GET /v1/metrics": Operation(
            "listUnits",
            "What metrics are measured in",
            parameters=PAGES,
            answers={200: Answer("A page of them.", Page[Unit], headers=["Link"])},
            examples=[Example("all", "The first ten", query={"limit": 10, "count": "true"})],
        ),
        "PUT /v1/metrics/<path:metric>": Operation(
            "setUnit",
            "Say what a metric is measured in",
            body=Body.of(bodies.UnitBody, {"unit": {"examples": ["°C"]}}),
            answers={200: Answer("The unit.", SavedUnit)},
            errors={
                400: "`bad_metric`: no metric can have this name. Or no such body.",
                409: "`too_many_units`.",
            },
            examples=[Example("celsius", "Degrees", body={"unit": "°C"})],
        ),
        "DELETE /v1/metrics/<path:metric>": Operation(
            "dropUnit",
            "Forget what a metric is measured in",
            answers={204: DONE},
            examples=[Example("delete", "Forgotten")],
        ),
    },
)
