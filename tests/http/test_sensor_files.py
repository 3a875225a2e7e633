"""All sensors as CSV: what is exported can be imported, and every bad line is named."""

import csv
import io
from typing import Any

import httpx
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from atalaia.engine.gate import Gate
from atalaia.engine.messages import Step
from atalaia.engine.receipt import Receipt
from atalaia.http import sensor_csv, sensor_files
from atalaia.http.bodies import check_tags
from atalaia.http.sensor_csv import (
    SensorFile,
    columns_of,
    read_sensors,
    write_columns,
    write_sensors,
)
from atalaia.model.errors import AtalaiaError
from atalaia.model.ids import TenantNo
from atalaia.model.views import Details, Location
from atalaia.storage.queries import PostgresQueries
from tests.stack import START_MS, Stack, row

FILE = """\
name,group,tag:type,expected_interval,place,latitude,longitude\r
b1,north,boiler,10s,"boiler house, 2nd floor",-23.55,-46.63\r
b2,,,,,,\r
p1,pumps,,1m,,,\r
"""


async def send(stack: Stack, text: str | bytes) -> httpx.Response:
    content = text.encode() if isinstance(text, str) else text
    return await stack.client.post("/v1/sensors:import", content=content)


async def sensors(stack: Stack) -> dict[str, dict[str, Any]]:
    found = (await stack.client.get("/v1/sensors?limit=1000")).json()["data"]
    return {sensor["name"]: sensor for sensor in found}


async def export(stack: Stack) -> list[dict[str, str]]:
    response = await stack.client.get("/v1/sensors:export")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(response.text, newline="")))


async def test_a_file_makes_and_changes_sensors(stack: Stack) -> None:
    """A second time it changes nothing; a column that is missing leaves what is there."""
    await stack.rule('rule hot on group "north" when last(t, 5m) > 30')
    await stack.send([row(START_MS, 31, sensor="b1"), row(START_MS, 31, sensor="b2")])
    assert await stack.alerts() == []
    answer = (await send(stack, FILE)).json()
    assert answer == {"created": 1, "changed": 1, "unchanged": 1, "rejected": []}
    found = await sensors(stack)
    assert found["b1"]["tags"] == {"group": "north", "type": "boiler"}
    assert found["b1"]["location"] == {"latitude": -23.55, "longitude": -46.63}
    assert found["b1"]["place"] == "boiler house, 2nd floor"
    assert (found["p1"]["expected_interval"], found["p1"]["tags"]) == ("1m", {"group": "pumps"})
    again = (await send(stack, FILE)).json()
    assert again == {"created": 0, "changed": 0, "unchanged": 3, "rejected": []}
    await stack.send([row(START_MS + 1, 31, sensor="b1"), row(START_MS + 1, 31, sensor="b2")])
    assert [alert["sensor"] for alert in await stack.alerts()] == ["b1"]
    partial = (await send(stack, "name,group\nb1,\np1,fans\n")).json()
    assert (partial["changed"], partial["unchanged"]) == (2, 0)
    found = await sensors(stack)
    assert (found["b1"]["tags"], found["b1"]["expected_interval"]) == ({"type": "boiler"}, "10s")
    assert found["p1"]["tags"] == {"group": "fans"}
    assert [alert["clear_reason"] for alert in await stack.alerts()] == ["rule_changed"]


async def test_a_file_has_no_more_columns_than_may_be_imported(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where sensors have more names of tags between them, it says what has them all."""
    await send(stack, FILE)
    monkeypatch.setattr(sensor_csv, "MAX_COLUMNS", 7)
    refused = await stack.client.get("/v1/sensors:export")
    assert (refused.status_code, refused.json()["code"]) == (409, "too_many_columns")
    assert "/v1/tenant/export" in refused.json()["detail"]
    monkeypatch.setattr(sensor_csv, "MAX_COLUMNS", 8)
    assert len(await export(stack)) == 3


async def test_pages_of_a_file_are_one_file(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every sensor once, in order, whether the last page is full or not."""
    monkeypatch.setattr(sensor_files, "PAGE", 2)
    await send(stack, "name\n" + "".join(f"s{n}\n" for n in range(6)))
    assert [line["name"] for line in await export(stack)] == [f"s{n}" for n in range(6)]
    monkeypatch.setattr(sensor_files, "PAGE", 4)
    assert [line["name"] for line in await export(stack)] == [f"s{n}" for n in range(6)]


async def test_what_is_exported_is_imported(stack: Stack) -> None:
    """And says the same."""
    await send(stack, FILE)
    before = await stack.client.get("/v1/sensors:export")
    lines = await export(stack)
    assert [line["name"] for line in lines] == ["b1", "b2", "p1"]
    assert (lines[0]["tag:type"], lines[0]["latitude"]) == ("boiler", "-23.55")
    assert (await send(stack, before.content)).json()["unchanged"] == 3


async def test_a_large_register_is_exported_page_by_page(stack: Stack) -> None:
    """More sensors than a page holds, each once."""
    wanted = [f"s{n:05}" for n in range(2_500)]
    answer = (await send(stack, "name\n" + "\n".join(wanted))).json()
    assert answer["created"] == 2_500
    assert [line["name"] for line in await export(stack)] == wanted


async def test_bad_lines_are_named_and_the_others_taken(stack: Stack) -> None:
    """With the line and the column that a spreadsheet shows."""
    text = (
        "name,tag:type,expected_interval,latitude,longitude\n"
        "a,x,10s,1,2\n"
        "b b,x,10s,1,2\n"
        "c,x,soon,1,2\n"
        "d,x,10s,91,2\n"
        "e,x,10s,1,\n"
        "f,x\n"
        f"g,{'x' * 129},10s,1,2\n"
        "\n"
        "a,y,,,\n"
        "h,x,0s,nan,2\n"
    )
    answer = (await send(stack, text)).json()
    assert answer["created"] == 1
    assert [(fault["line"], fault["column"]) for fault in answer["rejected"]] == [
        (3, "name"), (4, "expected_interval"), (5, "latitude"), (6, "longitude"), (7, "name"),
        (8, "tag"), (10, "name"), (11, "latitude"),
    ]  # fmt: skip
    assert list(await sensors(stack)) == ["a"]


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        (b"", 400, "name"),
        (b"sensor,type\na,b\n", 400, 'no column "sensor"'),
        (b"name;group\na;b\n", 400, "separate the columns with commas"),
        (b"name,name\na,b\n", 400, "twice"),
        (b"name,group,tag:group\na,b,c\n", 400, "twice"),
        (b"name,tag:\na,b\n", 400, "tag:"),
        (b"name,latitude\na,1\n", 400, "longitude"),
        (b"name," + b",".join(b"tag:t%d" % n for n in range(1_000)), 400, "1000 columns"),
        (b"name\na" + b",x" * 150_000, 400, "characters"),
        (b"name,place\na,x" + b',"\n"' * 70_000, 400, "characters"),
        (b"name\n\xff\n", 400, "UTF-8"),
        (b'name\n"a\n', 400, "CSV"),
        (b"name\na b\n", 400, "Line 2, name"),
        (b"name\n" + b"".join(b"s%d\n" % n for n in range(10_001)), 413, "in parts"),
    ],
)
async def test_a_file_that_cannot_be_read_changes_nothing(
    stack: Stack, text: bytes, status: int, said: str
) -> None:
    """It is said what is wrong with it."""
    response = await send(stack, text)
    assert response.status_code == status
    assert said in response.json()["detail"]
    assert await sensors(stack) == {}


def test_empty_cells_are_not_kept() -> None:
    """Of a file with columns for the tags of all sensors, in which each has few."""
    columns = [f"tag:t{n}" for n in range(900)]
    text = f"name,{','.join(columns)}\n" + "".join(f"s{n}{',' * 900}x\n" for n in range(50))
    found = read_sensors(text.encode(), check_tags)
    assert [line.tags for line in found.lines] == [{"t899": "x"}] * 50
    assert found.tags == {f"t{n}" for n in range(900)}


async def test_a_file_takes_away_no_tag_that_it_does_not_speak_of(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor what somebody is told was saved while the file is brought in."""
    await send(stack, "name,group,tag:type\nb1,north,boiler\nb2,north,\n")
    seen = (await stack.client.get("/v1/sensors/b1")).headers["etag"]
    register = PostgresQueries.register
    answers: list[httpx.Response] = []

    async def between(self: PostgresQueries, tenant_no: TenantNo) -> Any:
        found = await register(self, tenant_no)
        tags = {"tags": {"group": "north", "type": "pump", "floor": "2"}}
        answers.append(await stack.client.put(
            "/v1/sensors/b1/tags", json=tags, headers={"if-match": seen}
        ))  # fmt: skip
        await stack.client.post("/v1/sensors", json={"name": "new", "tags": {"floor": "3"}})
        return found

    monkeypatch.setattr(PostgresQueries, "register", between)
    answer = (await send(stack, "name,group\nb1,south\nb2,\nnew,east\n")).json()
    assert answers[0].status_code == 200
    assert answer == {"created": 0, "changed": 3, "unchanged": 0, "rejected": []}
    found = await sensors(stack)
    assert found["b1"]["tags"] == {"group": "south", "type": "pump", "floor": "2"}
    assert (found["b2"]["tags"], found["new"]["tags"]) == ({}, {"group": "east", "floor": "3"})


async def test_places_of_a_file_are_written_in_the_tenants_turn(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who changes a sensor that nobody has changed since is not overtaken by a file."""
    await send(stack, FILE)
    asked: list[object] = []
    do = Gate.do

    def noting(self: Gate, tenant_no: TenantNo, first: Step) -> Receipt[None]:
        asked.append(first)
        return do(self, tenant_no, first)

    monkeypatch.setattr(Gate, "do", noting)
    assert (await send(stack, "name,place\nb1,roof\n")).json()["changed"] == 1
    assert (len(asked), (await sensors(stack))["b1"]["place"]) == (1, "roof")


async def test_files_of_a_tenant_are_brought_in_one_after_another(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that one of them is in memory, from its first line to its last change."""
    order: list[str] = []
    describe = PostgresQueries.describe

    def reading(*args: Any) -> SensorFile:
        order.append("read")
        return read_sensors(*args)

    async def describing(*args: Any) -> Any:
        found = await describe(*args)
        order.append("done")
        return found

    monkeypatch.setattr("atalaia.http.sensor_files.read_sensors", reading)
    monkeypatch.setattr(PostgresQueries, "describe", describing)
    async with trio.open_nursery() as nursery:
        for n in range(4):
            nursery.start_soon(send, stack, f"name,place\ns{n},roof\n")
    assert order == ["read", "done"] * 4
    assert len(await sensors(stack)) == 4


async def test_a_file_beyond_the_quota_makes_nobody(stack: Stack) -> None:
    """All of its new sensors or none."""
    await stack.sql("UPDATE tenants SET max_series = 2")
    response = await send(stack, "name\na\nb\nc\n")
    assert (response.status_code, response.json()["code"]) == (409, "too_many_sensors")
    assert await sensors(stack) == {}


TEXTS = st.text(
    st.characters(exclude_characters="\0", categories=("L", "N", "P", "Z", "S", "Cc")), max_size=20
)
DETAILS = st.builds(
    Details,
    st.none() | st.builds(Location, st.floats(-90, 90), st.floats(-180, 180)),
    st.none() | TEXTS.filter(bool),
    st.none() | st.integers(1, 10**9).map(lambda ms: ms * 1000),
)


@given(
    st.lists(
        st.tuples(
            st.from_regex(r"[A-Za-z0-9_.:-]{1,12}", fullmatch=True),
            st.dictionaries(TEXTS.filter(bool), TEXTS.filter(bool), max_size=4),
            DETAILS,
        ),
        max_size=6,
        unique_by=lambda sensor: sensor[0],
    )
)
def test_whatever_is_written_is_read(
    register: list[tuple[str, dict[str, str], Details]],
) -> None:
    """Quotes, commas, line breaks and all."""
    tags = columns_of([*{tag for _, own, _ in register for tag in own}])
    found = read_sensors(write_columns(tags) + write_sensors(tags, register), check_tags)
    assert found.faults == []
    assert [(line.name, line.tags, line.details) for line in found.lines] == register


@given(st.binary(max_size=200) | TEXTS.map(str.encode))
def test_nothing_sent_breaks_the_reader(body: bytes) -> None:
    """It reads it or says what is wrong."""
    for text in (body, b"name,place\n" + body):
        try:
            read_sensors(text, check_tags)
        except AtalaiaError as error:
            assert error.detail
