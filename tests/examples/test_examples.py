"""Every file in examples/ runs."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from castsheet import Castsheet, Clip, Sheet
from castsheet.elements import Scene
from castsheet.embedded import DEMO_SCENE
from castsheet.sampling.samplers import SAMPLERS
from castsheet.sheet.compose import compose
from castsheet.sheet.look.tools import Tools
from mini.evaluation.identities import CELL, SIZE
from tests.doubles.tiny_bundle import build_bundle, tiny_sheet

EXAMPLES = Path(__file__).parents[2] / "examples"


def loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def castsheet(tmp_path_factory: pytest.TempPathFactory) -> Castsheet:
    folder = tmp_path_factory.mktemp("tiny")
    return Castsheet.load(build_bundle(folder), device="cpu", cache_dir=folder / "cache")


@pytest.fixture(scope="module")
def demo() -> Sheet:
    return compose(Scene.load(DEMO_SCENE), output=SIZE, grid=CELL, tools=Tools())


def test_all_are_here() -> None:
    """Red: an example is not run by any test, or not named in the folder's page."""
    names = {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".ipynb")}
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    own = Path(__file__).read_text(encoding="utf-8")
    assert all(f"({name})" in page and f'"{Path(name).stem}' in own for name in names)


def test_batch(castsheet: Castsheet, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Red: the batch script is stale."""
    failed = loaded("batch").batch(castsheet, tiny_sheet(), ("hero waves", "hero jumps"), tmp_path, steps=1)
    assert 0 <= failed <= 2
    assert len(list(tmp_path.glob("*.mp4"))) == 2
    assert "hero jumps" in capsys.readouterr().out


def test_custom_detector(demo: Sheet) -> None:
    """Red: a detector of the documented shape does not fit the judge."""
    frames = np.repeat(np.asarray(demo.image.resize(SIZE))[None], 9, 0)
    verdict = loaded("custom_detector").judged(Clip(np.ascontiguousarray(frames), 24.0), demo)
    assert {"skin colour", "colour histogram"} <= set(verdict.models)


def test_progress_and_preview(castsheet: Castsheet, tmp_path: Path) -> None:
    """Red: `on_step` has no picture, or an exception in it does not end the run."""
    example = loaded("progress_and_preview")
    clip = example.make(castsheet, tiny_sheet(), "hero waves", tmp_path, steps=3)
    assert isinstance(clip, Clip)
    assert [path.name for path in sorted(tmp_path.iterdir())] == [f"step-0{n}.png" for n in (1, 2, 3)]
    with pytest.raises(example.Stopped):
        example.make(castsheet, tiny_sheet(), "hero waves", tmp_path / "more", stop_at=1, steps=3)


def test_own_sampler(castsheet: Castsheet) -> None:
    """Red: a sampler cannot be added from outside."""
    loaded("own_sampler")
    try:
        first, *others = (
            castsheet(tiny_sheet(), "hero waves", steps=3, sampler=name)
            for name in ("euler", "adams_bashforth")
        )
        assert not np.array_equal(first.frames, others[0].frames)
    finally:
        del SAMPLERS["adams_bashforth"]


def test_the_notebook_runs_without_torch(tmp_path: Path) -> None:
    """Red: a cell of "sheet_compiler" fails, or the sheet compiler waits for torch."""
    cells = json.loads((EXAMPLES / "sheet_compiler.ipynb").read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    program = "\n".join([*code, "import sys", "assert 'torch' not in sys.modules"])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "notebook" / "sheet.png").is_file()
