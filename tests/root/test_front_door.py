"""`from castsheet import ...`: five names, and torch only for those that need it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import castsheet


def test_the_door_opens_on_five_names():
    """Red: a name of the front door is missing, another class, or hidden from dir() and `import *`."""
    assert sorted(castsheet.__all__) == ["Castsheet", "Clip", "Judge", "Scene", "Sheet"]
    for name in castsheet.__all__:
        assert getattr(castsheet, name).__name__ == name
        assert name in dir(castsheet)
    with pytest.raises(AttributeError, match="Castshet"):
        _ = castsheet.Castshet


@pytest.mark.parametrize("line", ["import castsheet", "from castsheet import Scene, Sheet, Clip"])
def test_sheets_need_no_torch(line):
    """Red: a program that composes sheets waits seconds for torch."""
    program = f"import sys\n{line}\nassert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_type_checkers_see_the_same_homes():
    """Red: mypy and an editor take a name of the front door from another module than Python does."""
    tree = ast.parse(Path(castsheet.__file__).read_text(encoding="utf-8"))
    (guarded,) = [node for node in tree.body if isinstance(node, ast.If)]
    imports = [node for node in guarded.body if isinstance(node, ast.ImportFrom)]
    assert {one.names[0].name: one.module for one in imports} == castsheet._HOMES
