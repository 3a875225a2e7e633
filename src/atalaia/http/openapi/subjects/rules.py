"""Rules: kept, tried, explained."""

from typing import Annotated, Literal
from uuid import UUID

import msgspec

from atalaia.http import bodies
from atalaia.http.openapi.operation import (
    Answer,
    Body,
    Example,
    Operation,
    Page,
    Parameter,
    Schema,
    Subject,
    Time,
    said,
)
from atalaia.http.openapi.parameters import FLAG, PAGES
from atalaia.http.openapi.problems import Problem
from atalaia.http.openapi.subjects.people import DONE

YAML = "application/yaml"
ONCE = "8e03978e-40d5-43dd-bc93-6894a57f9324"
HOT = """\
rule overheating on sensors
  when avg(temperature, 5m) > 70
  clear when avg(temperature, 5m) < 65"""


class Rule(msgspec.Struct):
    """A rule as it is stored."""

    id: UUID
    name: str
    text: Annotated[str, said("In the rule language.")]
    version: Annotated[int, said("Counts edits of what is judged: they close open alerts.")]
    revision: Annotated[int, said("Counts every edit.")]
    enabled: bool
    active_from: Annotated[Time, said("Since when this version judges.")]
    created_at: Time
    updated_at: Time


class Lint(msgspec.Struct):
    """Something odd about a rule, which is saved all the same."""

    code: str
    message: Annotated[str, said("What to do about it.")]
    line: int
    column: int


class SavedRule(Rule):
    """A rule, and what is odd about it."""

    lints: list[Lint]


class Cost(msgspec.Struct):
    """What a rule costs at an interval of its metrics."""

    interval: str
    windows: int
    new_windows: Annotated[int, said("That no rule in force keeps already.")]
    bytes_per_sensor: int
    bytes: Annotated[int, said("Of all sensors that match.")]
    ns_per_reading: Annotated[float, said("Within a factor of two.")]


class CheckedRule(msgspec.Struct):
    """A rule of a text."""

    name: str
    lints: list[Lint]
    cost: Cost
    matches: Annotated[int, said("The sensors that it would watch now.")]


class Memory(msgspec.Struct):
    """Of all rules of the tenant, in bytes."""

    bytes_now: int
    bytes_then: int
    limit: int


class Refusal(msgspec.Struct):
    """Why saving would be refused."""

    code: str
    detail: str


class Checked(msgspec.Struct):
    """What is to be said of rules before they are saved."""

    rules: list[CheckedRule]
    memory: Memory
    refusals: list[Refusal]


class RuleChange(msgspec.Struct):
    """What a file does to a rule."""

    action: Literal["create", "replace", "enable", "disable", "delete", "unchanged"]
    name: str
    closes_alerts: bool
    diff: Annotated[str | None, said("Of the text, unified.")]
    done: bool


class ImportedRules(msgspec.Struct):
    """What a file did, or would do."""

    dry_run: bool
    changes: list[RuleChange]
    left: Annotated[list[str], said("Rules that the file lacks.")]


class FileRule(msgspec.Struct):
    """A rule in a file."""

    name: str
    enabled: bool
    text: str


class RulesFile(msgspec.Struct):
    """All rules of a tenant, by name."""

    rules: list[FileRule]


class BrokenOff(Problem, kw_only=True):
    """An error, and how far a file came before it."""

    changes: list[RuleChange]
    left: list[str]


TEXT = {"maxLength": 20_000, "description": "In the rule language.", "examples": [HOT]}
SAVED = Answer("The rule.", SavedRule)
RULE = Answer("The rule.", Rule)
BAD = "`invalid_rule`, with `line`, `column` and `caret`."
TOO_MUCH = "`name_taken`, `too_many_rules`, `too_many_metrics`, `too_much_memory`."
FILE = {"rules": [{"name": "cold", "text": "rule cold on sensors when temperature < 5"}]}
RULES_FILE: Schema = {
    "title": "A file of rules",
    "type": "object",
    "properties": {
        "rules": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "text": {"type": "string"},
                    "enabled": {"type": "boolean", "default": True},
                },
                "required": ["name", "text"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["rules"],
    "additionalProperties": False,
}

RULES = Subject(
    "Rules",
    "Kept, checked, and moved as a file.",
    {
        "GET /v1/rules": Operation(
            "listRules",
            "Rules, the oldest first",
            parameters=PAGES,
            answers={200: Answer("A page of them.", Page[Rule], headers=["Link"])},
            examples=[
                Example("first", "The first one of all", query={"limit": 1, "count": "true"})
            ],
        ),
        "POST /v1/rules": Operation(
            "createRule",
            "Make a rule",
            body=Body.of(bodies.RuleBody, {"text": TEXT}),
            answers={201: Answer("The rule.", SavedRule, headers=["Location"])},
            errors={409: TOO_MUCH, 422: BAD},
            examples=[
                Example(
                    "pressure",
                    "A pressure that stays",
                    headers={"Idempotency-Key": ONCE},
                    body={"text": "rule pressure on sensors when pressure > 2.5 for 1m"},
                ),
                Example(
                    "another",
                    "Under the key of another request",
                    headers={"Idempotency-Key": ONCE},
                    body={"text": HOT},
                    status=422,
                ),
                Example("wrong", "A misspelt word", body={"text": "rule x when"}, status=422),
            ],
        ),
        "GET /v1/rules/<rule>": Operation(
            "readRule",
            "A rule",
            answers={200: RULE},
            examples=[
                Example("one", "A rule"),
                Example("known", "As it is known", headers={"If-None-Match": "*"}, status=304),
            ],
        ),
        "PUT /v1/rules/<rule>": Operation(
            "replaceRule",
            "Replace the text of a rule",
            body=Body.of(bodies.RuleBody, {"text": TEXT}),
            answers={200: SAVED},
            errors={409: TOO_MUCH, 422: BAD},
            examples=[
                Example("same", "The same words", body={"text": HOT}),
                Example(
                    "late",
                    "Somebody else was faster",
                    headers={"If-Match": '"seen-before-that"'},
                    body={"text": HOT},
                    status=412,
                ),
            ],
        ),
        "DELETE /v1/rules/<rule>": Operation(
            "deleteRule",
            "Delete a rule",
            "Its open alerts close.",
            answers={204: DONE},
            examples=[Example("delete", "Gone")],
        ),
        "POST /v1/rules/<rule>/enable": Operation(
            "enableRule",
            "Let a rule judge",
            answers={200: RULE},
            errors={409: TOO_MUCH},
            examples=[Example("enable", "On")],
        ),
        "POST /v1/rules/<rule>/disable": Operation(
            "disableRule",
            "Let a rule rest",
            "Its open alerts close.",
            answers={200: RULE},
            examples=[Example("disable", "Off")],
        ),
        "POST /v1/rules/check": Operation(
            "checkRules",
            "What is odd about rules, and what they cost",
            "Saves nothing.",
            body=Body.of(
                bodies.CheckBody,
                {
                    "text": TEXT | {"description": "One rule or more."},
                    "interval": {"description": "How often metrics are read, such as `10s`."},
                },
            ),
            answers={200: Answer("What is to be said.", Checked)},
            errors={422: BAD},
            examples=[Example("hot", "A rule", body={"text": HOT, "interval": "10s"})],
        ),
        "GET /v1/rules:export": Operation(
            "exportRules",
            "All rules as a file",
            answers={200: Answer("YAML.", RulesFile, [YAML])},
            examples=[Example("all", "All of them")],
        ),
        "POST /v1/rules:import": Operation(
            "importRules",
            "Make the rules those of a file",
            "Without `dry_run` people need the role `operator`, keys the scope `rules`. "
            "It may break off: the same file again does what is left.",
            parameters=[
                Parameter("dry_run", "Only say what would be done.", FLAG),
                Parameter("prune", "Delete rules that the file lacks.", FLAG),
            ],
            body=Body({YAML: RULES_FILE}),
            answers={200: Answer("What was done.", ImportedRules)},
            errors={
                409: Answer(f"{TOO_MUCH} `changes` says how far it came.", (BrokenOff, Problem)),
                422: "`invalid_rule_file`, with every problem; `invalid_rule`.",
            },
            examples=[
                Example(
                    "dry",
                    "What would be done",
                    query={"dry_run": "true"},
                    body=FILE,
                    content_type=YAML,
                )
            ],
        ),
    },
)
