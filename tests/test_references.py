"""Names in docstrings, comments and pages lead somewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.references import References

ROOT = Path(__file__).parents[1]


def test_no_name_leads_nowhere():
    """Red: prose names a module, function, file, command or heading that is not there."""
    assert References(ROOT).broken() == []


MODULE = '''"""`Sheet.panels`, `sheet.panels`, `sheet.board.Sheet`, `compose(...)`, `torch.nn`, board.py."""


class Sheet:
    """Holds `panels`."""

    def __init__(self):
        self.panels = ()


def compose():
    """`Sheet`"""
'''


@pytest.mark.parametrize(
    ("planted", "name"),
    [
        ("`Sheet.gone`", "Sheet.gone"),
        ("`sheet.gone`", "sheet.gone"),
        ("`castsheet.sheet.gone`", "castsheet.sheet.gone"),
        ("`board.gone(...)`", "board.gone"),
        ("`Gone`", "Gone"),
        ("gone.py", "gone.py"),
        ("`python -m tools.gone`", "tools.gone"),
    ],
)
def test_a_planted_name_is_found(tmp_path, planted, name):
    """Red: prose keeps the name of something that was moved or renamed, and nobody hears of it."""
    module = tmp_path / "src" / "castsheet" / "sheet" / "board.py"
    module.parent.mkdir(parents=True)
    module.write_text(MODULE)
    assert References(tmp_path).broken() == []
    module.write_text(f"{MODULE}# {planted}\n")
    assert References(tmp_path).broken() == [f"src/castsheet/sheet/board.py:13: {name}"]


@pytest.mark.parametrize("link", ["gone.md", "other.md#gone", "#gone", "gone.jpg"])
def test_a_planted_link_is_found(tmp_path, link):
    """Red: a page's link leads to no file, or its anchor to no heading."""
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "other.md").write_text("# Other\n\n## To add: `something`\n")
    page = "# Page\n[here](#page), [there](other.md#to-add-something), [far](https://example.org/x#y)\n"
    (docs / "page.md").write_text(page)
    assert References(tmp_path).broken() == []
    (docs / "page.md").write_text(f"{page}\n[x]({link})\n")
    assert References(tmp_path).broken() == [f"docs/page.md:4: {link}"]
