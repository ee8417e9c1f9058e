"""The user guide says what the program does: its keys are those of the command table."""

import re
from pathlib import Path

from app import commands

ROOT = Path(__file__).parents[2]
GUIDE, README = ROOT / "docs" / "guide.md", ROOT / "README.md"


def rows() -> list[str]:
    """The table of keys as the guide must show it, in Markdown."""
    lines = []
    for menu, entries in commands.sheet().items():
        lines += ["", f"| {menu} | |", "|---|---|"]
        lines += [f"| {text} | {keys.replace('|', '&#124;')} |" for text, keys in entries]
    return lines[1:]


def test_the_guide_shows_every_key(qapp):
    table = "\n".join(rows())
    assert table in GUIDE.read_text(encoding="utf-8"), f"put this into docs/guide.md:\n{table}"


def test_the_pictures_of_the_guide_exist_and_say_what_they_show():
    shown = re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", GUIDE.read_text(encoding="utf-8"))
    assert len(shown) > 25
    for words, picture in shown:
        path = GUIDE.parent / picture
        assert words and path.is_file() and path.stat().st_size < 300_000, picture


def test_every_picture_is_shown_somewhere():
    texts = GUIDE.read_text(encoding="utf-8") + README.read_text(encoding="utf-8")
    for path in (GUIDE.parent / "images").iterdir():
        assert f"images/{path.name})" in texts, path.name
