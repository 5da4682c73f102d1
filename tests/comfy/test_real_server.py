"""Our nodes in a real ComfyUI: registration, sheets, caching, errors, Cancel."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from castsheet.comfy import PACK
from castsheet.embedded import DEMO_SCENE
from castsheet.sheet.manifest import Sheet
from tests.comfy.conftest import tree_version
from tests.comfy.events import Listener
from tests.comfy.golden import GOLDEN, reduced
from tests.comfy.graphs import node, photos, save
from tests.comfy.server import PYTHON, TREE, Server

FILES = {"face": "hero-face.png", "front": "hero-front.png", "place": "place.png"}


def test_a_real_comfyui_was_there():
    """Skips, and says so in the summary: nothing below was tested against a real ComfyUI."""
    if not TREE:
        warnings.warn("no real ComfyUI: set CASTSHEET_COMFYUI to test the nodes in one", stacklevel=1)
        pytest.skip("NO REAL COMFYUI")
    print(f"ComfyUI {tree_version(Path(TREE))}")


def test_it_starts_with_our_pack_alone(tree, tmp_path):
    """Red: the pack breaks ComfyUI's start, or drags the pipeline in with it."""
    server = Server(tree, tmp_path, probe=False)
    try:
        server.wait()
    finally:
        server.stop()
    log = server.log.read_text()
    assert "IMPORT FAILED" not in log
    assert "Cannot import" not in log
    (seconds,) = re.findall(r"([\d.]+) seconds.*custom_nodes/castsheet", log)
    print(f"import of the pack: {seconds} s")
    code = (
        f"import sys, asyncio; sys.path.insert(0, {str(tree)!r}); sys.argv = ['main.py', '--cpu']\n"
        "import comfy.options; comfy.options.enable_args_parsing()\n"
        "import comfy_api.latest; before = set(sys.modules)\n"
        "import castsheet.comfy; asyncio.run(castsheet.comfy.comfy_entrypoint())\n"
        "print(sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    told = subprocess.run([PYTHON, "-c", code], cwd=tree, capture_output=True, text=True, check=True)
    assert "'castsheet'" in told.stdout
    assert not re.search("diffusers|transformers|accelerate", told.stdout.splitlines()[-1])


def test_nodes_are_what_saved_workflows_expect(comfy):
    """Red: a node, an input, an output, a type or a default changed: users' saved workflows break."""
    ours = {name: info for name, info in comfy.get("/object_info").items() if name.startswith("Castsheet")}
    assert reduced(ours) == json.loads(GOLDEN.read_text())
    for name, info in ours.items():
        for kind in ("required", "optional"):
            for key, (_, told) in info["input"].get(kind, {}).items():
                assert told.get("tooltip"), f"{name}.{key} has no tooltip"
        assert info["description"]


def test_templates_and_help_are_served(comfy):
    """Red: Browse Templates does not list an example, an example cannot be queued, or a node has no help."""
    listed = comfy.get("/workflow_templates")["castsheet"]
    assert sorted(listed) == sorted(path.stem for path in (PACK / "example_workflows").glob("*.json"))
    known = comfy.get("/object_info")
    for path in sorted((PACK / "api").glob("*.json")):
        graph = json.loads(path.read_text())
        assert {one["class_type"] for one in graph.values()} <= set(known)
        answer = comfy.post("/prompt", {"prompt": graph})
        assert not answer["node_errors"], f"{path.name}: {answer}"
        comfy.post("/interrupt", {})
        comfy.post("/queue", {"clear": True})
        comfy.result(answer["prompt_id"])
    for name in (one for one in known if one.startswith("Castsheet")):
        text = comfy.text(f"/extensions/castsheet/docs/{name}/en.md")
        assert text.startswith("# ")


def test_a_sheet_is_the_command_lines(comfy, tmp_path):
    """Red: the node's sheet differs from `castsheet sheet` in a byte, or its tensors are not ComfyUI's."""
    scene = comfy.base / "input" / "scene.yaml"
    shutil.copy(DEMO_SCENE, scene)
    graph = {
        "scene": node("CastsheetLoadScene", file="scene.yaml"),
        **photos({}, elements=["scene", 0], width=384, height=224),
        "save": node(
            "CastsheetSaveScene", elements=["scene", 0], name="saved", action="", sheet=["sheet", 0]
        ),
        "image": save("image", ["sheet", 1]),
        "mask": save("mask", ["sheet", 3]),
        "panels": save("panels", ["sheet", 4]),
    }
    comfy.run(graph)
    command = [PYTHON, "-m", "castsheet.cli", "sheet", str(scene), "-o", str(tmp_path / "sheet.png")]
    subprocess.run([*command, "--output", "384x224", "--cut", "none"], check=True, capture_output=True)
    saved = comfy.base / "output" / "castsheet" / "saved"
    for name in ("sheet.png", "sheet.json"):
        assert (saved / name).read_bytes() == (tmp_path / name).read_bytes()
    sheet = Sheet.load(tmp_path / "sheet.png")
    image = comfy.probed("image")
    assert image.dtype == torch.float32
    assert image.shape == (1, 224, 384, 3)
    expected = np.asarray(sheet.conditioning_image(384, 224))
    assert (image[0].mul(255).round().numpy() == expected).all()
    assert comfy.probed("mask").shape == (1, 224, 384)
    assert (comfy.probed("mask") == 1).all()
    panels = comfy.probed("panels")
    assert panels.shape == (len(sheet.panels), 224, 384)
    assert (panels.sum(0) <= 1).all()
    scene = saved / "scene.yaml"
    subprocess.run([PYTHON, "-m", "castsheet.cli", "lint", str(scene), "--no-look"], capture_output=True)
    assert "hero-face-1.png" in scene.read_text()


def test_what_did_not_change_is_not_made_again(comfy):
    """Red: every run composes the sheet anew, or a photo's new content under its old name goes unseen."""
    shutil.copy(comfy.base / "input" / "hero-face.png", comfy.base / "input" / "own.png")
    graph = photos(FILES | {"face": "own.png"}, width=192, height=96)
    graph["image"] = save("cached", ["sheet", 1])
    comfy.run(graph)
    before = comfy.probed("cached")
    again = comfy.run(graph)
    assert {"hero", "barn", "sheet"} <= again.cached
    face = Image.open(comfy.base / "input" / "own.png")
    face.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(comfy.base / "input" / "own.png")
    changed = comfy.run(graph)
    assert not {"hero", "barn", "sheet"} & changed.cached
    assert not torch.equal(before, comfy.probed("cached"))


REFUSED = {
    "nothing": (photos({}, elements=None), "needs elements, or a ready-made picture", "wire a Castsheet"),
    "no face": (photos({"detail": "hero-face.png"}), "needs a face or a figure", "images"),
    "absent": ({"x": node("CastsheetLoadScene", file="../secret.yaml")}, "no file in ComfyUI's", "relative"),
    "uncropped": (
        photos(FILES)
        | {
            "check": node("CastsheetLint", sheet=["sheet", 0], mend=False, look=False, on_error="stop"),
            "guide": node("LTXVAddGuide", image=["sheet", 2]),
            "decoder": node("VAEDecode", samples=["guide", 2]),
        },
        "V03 node decoder (VAEDecode) decodes what node guide (LTXVAddGuide) added",
        "put LTXVCropGuides",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_one_line_with_its_remedy(comfy, case):
    """Red: a user's mistake ends in a traceback instead of one line that says what to do."""
    graph, what, remedy = REFUSED[case]
    graph = json.loads(json.dumps(graph))
    if "sheet" in graph:
        graph["sheet"]["inputs"] = {k: v for k, v in graph["sheet"]["inputs"].items() if v is not None}
        graph.setdefault("out", save("refused", ["sheet", 1]))
    else:
        graph["out"] = save("refused", ["x", 1])
    done = comfy.result(comfy.submit(graph))
    assert what in done.error, done.error
    assert remedy in done.error.partition("Fix: ")[2]
    assert "\n" not in done.error


@pytest.mark.parametrize(
    ("changes", "what"), [({"width": 770}, "use 768 or 800"), ({"length": 120}, "use 113 or 121")]
)
def test_odd_sizes_are_refused_before_anything_runs(comfy, changes, what):
    """Red: a size that no latent has is noticed after the photos were cut out."""
    graph = photos(FILES, **changes) | {"out": save("odd", ["sheet", 1])}
    assert what in json.dumps(comfy.post("/prompt", {"prompt": graph}))


def test_a_bad_name_is_refused_before_anything_runs(comfy):
    """Red: an element's unusable name is noticed while the prompt is built."""
    graph = photos(FILES) | {"out": save("odd", ["sheet", 1])}
    graph["hero"]["inputs"]["id"] = "Old Man"
    assert "is no name" in json.dumps(comfy.post("/prompt", {"prompt": graph}))


def test_cancel_stops_a_judge_and_the_next_prompt_runs(comfy):
    """Red: Cancel waits for the judge's end, or leaves the server stuck; or no progress is told."""
    frames = np.random.default_rng(0).integers(0, 255, (1, 448, 768, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(frames[0]).save(buffer, "PNG")
    (comfy.base / "input" / "noise.png").write_bytes(buffer.getvalue())
    graph = photos(FILES, width=768, height=448)
    graph["noise"] = node("LoadImage", image="noise.png")
    graph["clip"] = node("RepeatImageBatch", image=["noise", 0], amount=481)
    graph["judge"] = node("CastsheetJudge", sheet=["sheet", 0], images=["clip", 0], order="", read_text=False)
    graph["out"] = save("judged", ["judge", 0])
    with Listener(comfy) as listener:
        id = comfy.submit(graph, listener.client)
        listener.wait("progress", lambda told: told["node"] == "judge")
        comfy.post("/interrupt", {})
        done = comfy.result(id, 30)
        assert done.interrupted
        assert listener.previews
    comfy.run(photos(FILES) | {"out": save("after", ["sheet", 1])})
