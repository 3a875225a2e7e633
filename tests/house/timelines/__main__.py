"""Draw the timelines of docs/reference/rules.md.

    .venv/bin/python -m tests.house.timelines

writes docs/reference/timelines/*.svg; a test finds when they are out of date.
"""

from tests.house.commands import ROOT
from tests.house.timelines.scenes import SCENES

DIRECTORY = ROOT / "docs" / "reference" / "timelines"

if __name__ == "__main__":
    DIRECTORY.mkdir(exist_ok=True)
    for scene in SCENES:
        (DIRECTORY / f"{scene.name}.svg").write_text(scene.draw(), encoding="utf-8")
