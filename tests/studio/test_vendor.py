"""The front end's libraries are what the table says."""

from __future__ import annotations

from tools.vendor import FOLDER, mistakes


def test_vendored_files_are_those_of_the_table():
    """Red: a library of the front end was changed by hand, or came without its row in tools/vendor.py."""
    assert mistakes() == []


def test_no_file_of_the_page_needs_the_network():
    """Red: the page loads a script, a font or a picture from somewhere else."""
    for path in FOLDER.parent.rglob("*"):
        if path.is_file() and path.name != "LICENCES.txt":
            text = path.read_text().replace("http://www.w3.org/", "")
            assert "http://" not in text
            assert "https://" not in text
