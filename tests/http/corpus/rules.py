"""Rules that are none, in each of the ways to send them, and files of rules and of sensors."""

from collections.abc import Iterator

from tests.http.corpus.bodies import GOOD
from tests.http.corpus.case import HOSTILE, MIB, Case, case, pack

BAD_BODY, RULE, FILE = (400, "bad_body"), (422, "invalid_rule"), (422, "invalid_rule_file")
CSV, ALL, PARAMETER = (400, "bad_csv"), (400, "all_rejected"), (400, "bad_parameter")
TOO_LARGE = (413, "too_large")

TEXTS = {
    "nothing": "",
    "nonsense": "when the moon is full",
    "no condition": "rule bad on sensors",
    "no selector": "rule bad when t > 1",
    "half": "rule bad on sensors when avg(",
    "50,000 brackets": "rule bad on sensors when " + "(" * 50_000,
    "5,000 nots": "rule bad on sensors when " + "not " * 5_000 + "t > 1",
    "20,000 ands": "rule bad on sensors when " + " and ".join(["t > 1"] * 20_000),
    "1e400": "rule bad on sensors when t > 1e400",
    "5,000 digits": "rule bad on sensors when t > " + "9" * 5_000,
    "window of 99,999 d": "rule bad on sensors when avg(t, 99999d) > 1",
    "window of 0": "rule bad on sensors when avg(t, 0s) > 1",
    "window below 0": "rule bad on sensors when avg(t, -5m) > 1",
    "window of 5,000 digits": "rule bad on sensors when avg(t, " + "9" * 5_000 + "s) > 1",
    "unknown function": "rule bad on sensors when system(t, 1m) > 1",
    "two rules": "rule bad on sensors when t > 1 rule worse on sensors when t > 1",
    "same name twice": "rule bad on sensors when t > 1 rule bad on sensors when t > 2",
    "quote without end": 'rule "bad on sensors when t > 1',
    "NUL": "rule bad on sensors when t\0 > 1",
    "NUL in a pattern": 'rule bad on sensors "a\0*" when t > 1',
    "NUL in a tag": 'rule bad on sensors where a = "\0" when t > 1',
    "NUL in a comment": "rule bad on sensors when t > 1 # \0",
    "NUL in a quoted name": 'rule "b\0d" on sensors when t > 1',
    "lookalike letters": "rule bad on sensors when τ＞1",
    "bidi": "rule bad on sensors when t \u202e> 1",
    "SQL": "rule bad on sensors when t > 1; DROP TABLE rules; --",
    "Python": "rule bad on sensors when __import__('os').system('id') > 1",
    "template": "rule bad on sensors when {{7*7}} > 1",
    "markup": "<script>alert(1)</script>",
    "name of 10,000": f"rule {'x' * 10_000} on sensors when t > 1",
    "metric of 10,000": f"rule bad on sensors when {'x' * 10_000} > 1",
    "100 kB": "rule bad on sensors when t > 1 " + "#" * 100_000,
    "only a comment": "# rule bad on sensors when t > 1",
}


def texts() -> Iterator[Case]:
    for name, text in TEXTS.items():
        single = "two rules" in name or "twice" in name
        yield case(f"rule: {name}", "POST /v1/rules", {"text": text}, to=RULE)
        yield case(f"change of a rule: {name}", "PUT /v1/rules/{rule}", {"text": text}, to=RULE)
        yield case(f"backtest: {name}", "POST /v1/rules/backtest", {"text": text}, to=RULE)
        if not single:
            yield case(f"check: {name}", "POST /v1/rules/check", {"text": text}, to=RULE)
    for name, body, to in [
        ("interval of words", {"text": "rule bad on sensors when t > 1", "interval": "soon"}, BAD_BODY),
        ("interval that is a number", {"text": "rule bad on sensors when t > 1", "interval": 1}, BAD_BODY),
        ("text in a list", {"text": ["rule"]}, BAD_BODY),
    ]:  # fmt: skip
        yield case(f"check: {name}", "POST /v1/rules/check", body, to=to)


def profiles() -> Iterator[Case]:
    line = "PUT /v1/profiles/bad"
    for name, body, to in [
        ("rules of nonsense", {"rules": "rule"}, RULE),
        ("rule of all sensors", {"rules": "rule bad on sensors when t > 1"}, (400, "not_of_the_profile")),
        ("rule of another", {"rules": 'rule bad on sensors where profile = "x" when t > 1'}, (400, "not_of_the_profile")),
        ("taken name", {"rules": 'rule watched on sensors where profile = "bad" when t > 1'}, (409, "name_taken")),
        ("description of 1,001", {"description": "x" * 1_001}, BAD_BODY),
        ("NUL in the description", {"description": "\0"}, BAD_BODY),
        ("interval of 0", {"expected_interval": "0s"}, BAD_BODY),
        ("rules in a list", {"rules": []}, BAD_BODY),
    ]:  # fmt: skip
        yield case(f"profile: {name}", line, body, to=to)
    yield case("profile: name of NUL", "PUT /v1/profiles/a%00", {}, to=(400, "invalid"))
    yield case("profile: name of 300", f"PUT /v1/profiles/{'x' * 300}", {}, to=(400, "invalid"))


def yaml_files() -> Iterator[Case]:
    line = "POST /v1/rules:import"
    ok = "rules:\n  - name: bad\n    text: rule bad on sensors when t > 1\n"
    for name, body in [
        ("nothing", b""), ("no rules", b"a: b"), ("a list", b"- 1"), ("text", b"rules"), ("tab", b"rules:\n\t- x"),
        ("broken UTF-8", b"rules:\n  - \xff"), ("UTF-16", ok.encode("utf-16")), ("NUL", b"rules:\0"),
        ("billion laughs", b"a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nrules: *c"),
        ("merge", b"rules:\n  - <<: {name: bad}"), ("Python's tag", b"rules: !!python/object/apply:os.system ['id']"),
        ("tag", b"rules: !x []"), ("two documents", ok.encode() + b"---\n" + ok.encode()), ("directive", b"%YAML 9.9\n---\nrules: []"),
        ("deep", b"rules: " + b"[" * 10_000), ("deep blocks", b"".join(b" " * n + b"- \n" for n in range(500))),
        ("unknown field", ok.encode() + b"    tenant: 2\n"), ("name twice", ok.encode() + ok.encode()[7:]),
        ("field twice", ok.encode() + b"    name: worse\n"), ("another name within", ok.replace("name: bad", "name: worse").encode()),
        ("enabled that is no answer", ok.encode() + b"    enabled: maybe\n"), ("text that is a list", b"rules:\n  - name: bad\n    text: [1]\n"),
        ("name that is a number", b"rules:\n  - name: 7\n    text: rule bad on sensors when t > 1\n"),
        ("1,001 rules", b"rules:\n" + b"".join(b"  - name: r%d\n    text: rule r%d on sensors when t > 1\n" % (n, n) for n in range(1_001))),
        ("JSON of readings", b"[" + GOOD + b"]"), ("gzip", pack(ok.encode())),
    ]:  # fmt: skip
        yield case(f"file of rules: {name}", line, body, to=FILE)
    for name, text in TEXTS.items():
        if len(text) < 1_000 and "\0" not in text:
            file = "rules:\n  - name: bad\n    text: |-\n      " + text + "\n"
            yield case(f"file of rules: text: {name}", line, file, to=FILE)
    for flag in ("dry_run", "prune"):
        for value in ("maybe", "1", "", "TRUE"):
            yield case(f"file of rules: {flag}={value}", f"{line}?{flag}={value}", ok, to=PARAMETER)


def csv_files() -> Iterator[Case]:
    line = "POST /v1/sensors:import"
    for name, body in [
        ("nothing", b""), ("no name", b"place\nx"), ("unknown column", b"name,tenant_id\nbad,2"), ("column twice", b"name,name\na,b"),
        ("latitude alone", b"name,latitude\nbad,1"), ("tag without a name", b"name,tag:\nbad,x"), ("group twice", b"name,group,tag:group\nbad,a,b"),
        ("broken UTF-8", b"name\n\xff"), ("UTF-16", "name\nbad".encode("utf-16")), ("quote without end", b'name\n"bad'),
        ("text behind a quote", b'name\n"bad"x'), ("NUL in the head", b"na\0me\nbad"), ("cell of 1 MB", b"name\n" + b"x" * MIB),
        ("semicolons", b"name;place\nbad;x"), ("JSON", b'[{"name":"bad"}]'), ("gzip", pack(b"name\nbad\n")),
        ("10,000 columns", b"name," + b",".join(b"tag:t%d" % n for n in range(10_000)) + b",x\n"),
    ]:  # fmt: skip
        yield case(f"file of sensors: {name}", line, body, to=CSV)
    yield case("file of sensors: 10,001 lines", line, b"name\n" + b"b d\n" * 10_001, to=TOO_LARGE)
    for name, cells in [
        ("no name", ",x"), ("too many cells", "bad,x,y"), ("place of 2,000", f"bad,{'x' * 2_000}"), ("NUL", "bad,\0"),
    ]:  # fmt: skip
        yield case(f"line of sensors: {name}", line, f"name,place\n{cells}\n", to=ALL)
    for name, text in HOSTILE.items():
        quoted = text.replace('"', '""')
        yield case(f"line of sensors: name: {name}", line, f'name\n"{quoted}"\n', to=ALL)
    for name, column, cell in [
        ("latitude of NaN", "latitude,longitude", "nan,0"), ("latitude of inf", "latitude,longitude", "inf,0"), ("longitude of 1e400", "latitude,longitude", "0,1e400"),
        ("half a location", "latitude,longitude", "1,"), ("latitude of words", "latitude,longitude", "north,0"),
        ("interval of 0", "expected_interval", "0s"), ("interval of words", "expected_interval", "soon"), ("interval of 5,000 digits", "expected_interval", "9" * 900 + "s"),
        ("interval of 367 d", "expected_interval", "367d"), ("tag of 1,000", "tag:a", "x" * 1_000), ("group of 1,000", "group", "x" * 1_000),
    ]:  # fmt: skip
        yield case(f"line of sensors: {name}", line, f"name,{column}\nbad,{cell}\n", to=ALL)


CASES = (*texts(), *profiles(), *yaml_files(), *csv_files())
