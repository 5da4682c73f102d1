"""The plan of the house: who imports whom, which rooms need no torch, how long files and functions are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tools.house.code import Import, Tree, circles, upward
from tools.house.counts import FILE_LIMIT, FUNCTION_LIMIT, counts, table
from tools.house.order import HOUSE, INSIDE, PURPOSE
from tools.house.picture import draw

ROOT = Path(__file__).parents[1]
HERE = Tree(ROOT)
HOUSES = {"": HOUSE, **INSIDE}

TORCH_FREE = {"errors", "elements", "prompt", "settings", "sheet", "lint", "authoring", "__init__"}
MODEL_BACK_ENDS = {"src/castsheet/authoring/diffusion.py", "src/castsheet/authoring/still.py"}
"""Missing views are drawn with torch: by an image model of the user's, and by mini with a one-frame clip."""

OTHERS_CLASSES = ("src/castsheet/ltx/parts/", "src/castsheet/ltx/files/")
OTHERS_NETWORKS = {
    "src/castsheet/authoring/diffusion.py",
    "src/castsheet/judge/features.py",
    "src/castsheet/pairs/hub.py",
}
"""Both run a network that the user brings, whole: an image pipeline, and an embedder of pictures."""


def _room(one: Import) -> str:
    return one.of.relative_to("src/castsheet").parts[0].removesuffix(".py")


def _names(one: Import, *packages: str) -> bool:
    return one.target.split(".")[0] in packages


def _told(imports: list[Import]) -> str:
    return "\n".join(map(str, imports))


@pytest.mark.parametrize("within", HOUSES)
def test_imports_point_down(within):
    """Red: a room imports one of its own floor or above (cli imports studio), or has no floor."""
    homeless = set(HERE.rooms(within)) - {room for floor in HOUSES[within] for room in floor}
    assert not homeless, f"give these rooms a floor in tools/house/order.py: {homeless}"
    back = upward(HERE.arrows(within), HOUSES[within])
    assert not back, _told(back)


@pytest.mark.parametrize("within", HOUSES)
def test_no_circles(within):
    """Red: rooms import each other in a circle, so that none can be read first."""
    assert circles(HERE.arrows(within)) == []


@pytest.mark.parametrize("within", ["train", "sampling", "judge", "jobs", "loading", "machine", "lint"])
def test_no_circles_of_modules(within):
    """Red: modules of one room need each other to be imported; a name for type checkers only is no need."""
    arrows = HERE.arrows(within).items()
    assert circles({pair: found for pair, found in arrows if any(one.at_import for one in found)}) == []


def test_every_room_has_words_for_the_picture():
    """Red: a new room has a floor and no description, and the picture cannot be drawn."""
    assert {room for floor in HOUSE for room in floor} == set(PURPOSE)


def test_ltx_knows_nothing_of_sheets():
    """Red: the video model cannot be used, or replaced, without the sheet's code."""
    known = {to for of, to in HERE.arrows() if of == "ltx"}
    assert known <= {"errors", "machine", "media"}


def test_torch_free_rooms():
    """Red: a page, a check or a sheet waits seconds for torch, or cannot run where torch is missing."""
    found = [
        one
        for one in HERE.imports
        if _room(one) in TORCH_FREE and _names(one, "torch") and str(one.of) not in MODEL_BACK_ENDS
    ]
    assert not found, _told(found)


def test_others_classes_stay_in_two_rooms():
    """Red: a new release of diffusers or transformers can break more than ltx/parts and ltx/files."""
    found = [
        one
        for one in HERE.imports
        if _names(one, "diffusers", "transformers")
        and not str(one.of).startswith(OTHERS_CLASSES)
        and str(one.of) not in OTHERS_NETWORKS
    ]
    assert not found, _told(found)


def test_nothing_at_run_time_without_torch():
    """Red: the front door, or a torch-free room, loads torch through something that it imports."""
    lines = ["import castsheet", "from castsheet import Scene, Sheet"]
    for room in sorted(TORCH_FREE - {"__init__"}):
        modules = sorted(
            path for path in HERE.files if path.is_relative_to(Path("src/castsheet")) and _home(path) == room
        )
        lines += [f"import {_dotted(path)}" for path in modules if str(path) not in MODEL_BACK_ENDS]
    lines += ["import sys", "assert 'torch' not in sys.modules, 'torch was loaded'"]
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True, cwd=ROOT)


def _home(path: Path) -> str:
    return path.relative_to("src/castsheet").parts[0].removesuffix(".py")


def _dotted(path: Path) -> str:
    return ".".join(path.relative_to("src").with_suffix("").parts).removesuffix(".__init__")


def test_the_root_tells_one_sentence():
    """Red: the root fills up again: more than eight modules stand in the corridor."""
    assert len(HERE.modules_at_root()) <= 8


def test_files_hold_one_idea():
    """Red: a file has outgrown one idea."""
    found = HERE.long_files(FILE_LIMIT)
    assert not found, "\n".join(map(str, found))


def test_functions_hold_one_idea():
    """Red: a function has outgrown one idea."""
    found = HERE.long_functions(FUNCTION_LIMIT)
    assert not found, "\n".join(map(str, found))


def test_picture_is_fresh():
    """Red: docs/architecture.svg is not what the code imports: run `python -m tools.house --draw`."""
    assert (ROOT / "docs" / "architecture.svg").read_text(encoding="utf-8") == draw(HERE)


def test_counting(tmp_path):
    """Red: the script misses a circle, a lazy import, a relative import or a long function."""
    package = tmp_path / "src" / "castsheet"
    for path, text in {
        "__init__.py": "__version__ = '1'\n",
        "errors.py": "import castsheet.clip\nfrom castsheet import __version__\n",
        "clip.py": "def late():\n    from castsheet import errors\n    import torch\n" + "    x = 1\n" * 60,
        "media/__init__.py": "",
        "media/page.py": "from ..errors import A\nfrom . import b\n",
    }.items():
        (package / path).parent.mkdir(parents=True, exist_ok=True)
        (package / path).write_text(text)
    tree = Tree(tmp_path)
    assert set(tree.arrows()) == {("clip", "errors"), ("errors", "clip"), ("media", "errors")}
    assert circles(tree.arrows()) == [("clip", "errors")]
    assert [str(one) for one in upward(tree.arrows(), HOUSE)] == [
        "src/castsheet/errors.py:1 imports castsheet.clip"
    ]
    assert [one.target for one in tree.imports if not one.at_import] == ["castsheet.errors", "torch"]
    assert [(one.name, one.lines) for one in tree.long_functions(60)] == [("late", 63)]
    assert tree.modules_at_root() == ["clip", "errors"]
    assert "| circles | 1 |" in table({"here": counts(tree)})
    with pytest.raises(ValueError, match="circle: clip - errors"):
        draw(tree)
