"""The user guide says what the program does: its keys are those of the command table."""

from pathlib import Path

from app import commands

GUIDE = Path(__file__).parents[2] / "docs" / "guide.md"


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


def test_the_pictures_of_the_guide_exist():
    for line in GUIDE.read_text(encoding="utf-8").splitlines():
        if line.startswith("!["):
            picture = GUIDE.parent / line.partition("](")[2].rstrip(")")
            assert picture.is_file() and picture.stat().st_size < 300_000, picture
