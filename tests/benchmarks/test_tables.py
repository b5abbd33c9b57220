"""Tables of a page are measured by the commands that stand in it, and nothing else of the page changes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import tables
from typer import BadParameter

PAGE = """# Figures

Before.

<!-- table first -->
`python -c "print(40 + 2)"`

41
<!-- end -->

Between.

<!-- table second -->
`python -c "import sys; print(sys.argv[1:])" CROPS.zip "a b"`

old
<!-- end -->
"""


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "page.md"
    path.write_text(PAGE)
    monkeypatch.setattr(tables, "PAGE", path)
    return path


def test_a_table_is_measured_and_the_rest_stays(page):
    tables.main(["first"], crops=None, training=None)
    assert page.read_text() == PAGE.replace("\n41\n", "\n42\n")


def test_what_needs_people_waits_for_them(page, capsys):
    tables.main([], crops=None, training=None)
    assert page.read_text() == PAGE.replace("\n41\n", "\n42\n")
    tables.main(["second"], crops=Path("mine.zip"), training=None)
    assert page.read_text() == PAGE.replace("\n41\n", "\n42\n").replace("\nold\n", "\n['mine.zip', 'a b']\n")


def test_a_command_that_fails_leaves_the_page(page):
    page.write_text(PAGE.replace("40 + 2", "1 / 0"))
    with pytest.raises(Exception, match="non-zero exit status"):
        tables.main(["first"], crops=None, training=None)
    assert page.read_text() == PAGE.replace("40 + 2", "1 / 0")


def test_unknown_tables_are_refused(page):
    with pytest.raises(BadParameter, match="third"):
        tables.main(["third"], crops=None, training=None)


def test_the_page_of_benchmarks_names_scripts_that_are_there():
    """Each command is one of ours, so that all can be measured anew."""
    found = [table["command"].split() for table in tables.TABLE.finditer(tables.PAGE.read_text(encoding="utf-8"))]
    assert len(found) > 10
    assert all(words[0] == "python" and (tables.ROOT / words[1]).is_file() for words in found)
