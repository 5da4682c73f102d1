"""One ComfyUI server for all tests that need a real one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from castsheet.embedded import DEMO_SCENE
from tests.comfy.server import PYTHON, TREE, Server

WEIGHTS = (
    "checkpoints/ltx-2.3-22b-dev.safetensors",
    "loras/ltx-2.3-22b-ic-lora-ingredients-0.9.safetensors",
    "text_encoders/gemma_3_12B_it_fp4_mixed.safetensors",
)


@pytest.fixture(scope="session")
def tree() -> Path:
    if not TREE:
        pytest.skip("NO REAL COMFYUI: set CASTSHEET_COMFYUI to a tree of ComfyUI to test against it")
    return Path(TREE)


@pytest.fixture(scope="session")
def comfy(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server, with the toy model, the demo's pictures, and empty files named as templates want them."""
    from tests.comfy.toy import (
        write_bundle,
        write_toy,
    )  # needs diffusers, which the light install's test does without

    base = tmp_path_factory.mktemp("comfyui")
    server = Server(tree, base)
    try:
        toy = write_toy(base / "models" / "checkpoints" / "toy.safetensors")
        write_bundle(base / "models" / "castsheet" / "toy", toy)
        for name in WEIGHTS:
            (base / "models" / name).parent.mkdir(exist_ok=True)
            (base / "models" / name).touch()
        for picture in DEMO_SCENE.parent.iterdir():
            shutil.copy(picture, base / "input")
        yield server.wait()
    finally:
        server.stop()


def tree_version(tree: Path) -> str:
    """Version and commit of the tree."""
    code = "import comfyui_version; print(comfyui_version.__version__)"
    version = subprocess.run([PYTHON, "-c", code], cwd=tree, capture_output=True, text=True, check=True)
    commit = subprocess.run(
        ["git", "rev-parse", "--short=8", "HEAD"], cwd=tree, capture_output=True, text=True
    )
    return f"{version.stdout.strip()}, commit {commit.stdout.strip() or 'unknown'}"


@pytest.fixture(scope="session")
def stub() -> Iterator[ModuleType]:
    """Our nodes over the stand-in for ComfyUI's interface."""
    sys.path.insert(0, str(Path(__file__).parent / "stub"))
    try:
        from castsheet.comfy import extension

        yield extension
    finally:
        sys.path.remove(str(Path(__file__).parent / "stub"))


@pytest.fixture
def nodes(stub: ModuleType, tmp_path: Path) -> dict[str, type]:
    """The nodes by id, in a ComfyUI whose folders are the test's."""
    import folder_paths

    folder_paths.root, folder_paths.models_dir = tmp_path, str(tmp_path / "models")
    for name in ("input", "output", "temp"):
        (tmp_path / name).mkdir()
    return {node.define_schema().node_id: node for node in stub.NODES}
