"""The types of the page's modules fit, by TypeScript, and the page stays small."""

from __future__ import annotations

import gzip
import shutil

import pytest

from tools.page.__main__ import PAGE, compiler, mistakes
from tools.vendor import FOLDER


def test_the_pages_types_fit():
    """Red: a module reads a field that the API does not tell, or calls a function with something else."""
    program = compiler()
    if program is None:
        pytest.skip("NO TYPESCRIPT: npm could not fetch it; the page's types were not checked")
    assert mistakes(program) == []


def test_a_mistake_is_found(tmp_path, monkeypatch):
    """Red: the checker says yes to everything."""
    program = compiler()
    if program is None:
        pytest.skip("NO TYPESCRIPT: npm could not fetch it; the checker was not tried")
    shutil.copytree(PAGE, tmp_path / "page")
    gallery = tmp_path / "page" / "gallery.js"
    gallery.write_text(gallery.read_text().replace("${one.verdict}", "${one.verdikt}"))
    monkeypatch.setattr("tools.page.__main__.PAGE", tmp_path / "page")
    (found,) = mistakes(program)
    assert "verdikt" in found


def test_the_page_is_small():
    """Red: the first page loads 100 KB or more, or the wheel carries 250 KB of front end."""
    files = [path for path in PAGE.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 250_000
    first = [path for path in files if path.name not in ("uplot.js", "LICENCES.txt", "login.html")]
    assert sum(len(gzip.compress(path.read_bytes())) for path in first) < 100_000
    assert FOLDER.is_relative_to(PAGE)
