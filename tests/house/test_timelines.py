"""The timelines of the reference are what the engine does today."""

import re
from xml.etree import ElementTree

import pytest

from tests.house.commands import ROOT
from tests.house.timelines.__main__ import DIRECTORY
from tests.house.timelines.scenes import SCENES, Scene

PAGE = (ROOT / "docs" / "reference" / "rules.md").read_text()
SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_a_timeline_is_what_the_engine_does(scene: Scene) -> None:
    """Byte for byte, from rules and readings played anew."""
    stored = (DIRECTORY / f"{scene.name}.svg").read_text(encoding="utf-8")
    assert stored == scene.draw(), "run: python -m tests.house.timelines"


def test_every_point_has_its_timeline() -> None:
    """In the order of the page, its title for those who do not see it; no file is left over."""
    shown = re.findall(r"^### (\d+)\. |!\[(.*?)\]\(timelines/(.*?)\.svg\)", PAGE, re.M | re.S)
    assert [int(number) for number, _, _ in shown if number] == list(range(1, 16))
    points = {int(name[:2]) for _, _, name in shown if name}
    assert points == set(range(1, 16))
    assert [(title, name) for _, title, name in shown if name] == [
        (scene.title, scene.name) for scene in SCENES
    ]
    assert sorted(path.stem for path in DIRECTORY.iterdir()) == sorted(s.name for s in SCENES)
    for scene in SCENES:
        root = ElementTree.parse(DIRECTORY / f"{scene.name}.svg").getroot()
        assert root.findtext(f"{SVG}title") == scene.title
        assert root.findtext(f"{SVG}desc")
