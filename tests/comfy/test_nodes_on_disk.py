"""The nodes that read and write files, over a stand-in for ComfyUI; and the pack's installer."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from castsheet.comfy.__main__ import main
from castsheet.comfy.wire import NodeError
from castsheet.embedded import DEMO_SCENE
from castsheet.sheet.manifest import Sheet
from tests.comfy.test_nodes import cast, sheet_of


def test_scenes_go_to_disk_and_come_back(nodes, tmp_path):
    """Red: what nodes built cannot be used by the command line, or a scene escapes ComfyUI's folders."""
    board = sheet_of(nodes)["sheet"]
    saved = nodes["CastsheetSaveScene"].execute(
        elements=cast(nodes, strength=0.5), name="barn", action="hero waves", sheet=board
    )
    assert saved.args == ("castsheet/barn/scene.yaml",)
    loaded = nodes["CastsheetLoadScene"].execute(file="castsheet/barn/scene.yaml")
    assert [one.id for one in loaded.args[0].elements] == ["hero", "barn"]
    assert loaded.args[0].strengths == {"hero": 0.5}
    assert loaded.args[1] == "hero waves"
    assert Sheet.load(tmp_path / "output/castsheet/barn/sheet.png") == board.sheet
    before = nodes["CastsheetLoadScene"].fingerprint_inputs(file="castsheet/barn/scene.yaml")
    picture = tmp_path / "output/castsheet/barn/hero-face-1.png"
    Image.open(picture).transpose(Image.Transpose.ROTATE_180).save(picture)
    assert nodes["CastsheetLoadScene"].fingerprint_inputs(file="castsheet/barn/scene.yaml") != before
    (tmp_path / "secret.yaml").write_text("elements: []")
    for name in ("../secret.yaml", str(tmp_path / "secret.yaml")):
        with pytest.raises(NodeError, match="no file in ComfyUI's input or output folder"):
            nodes["CastsheetLoadScene"].execute(file=name)
    with pytest.raises(NodeError, match="cannot name a folder"):
        nodes["CastsheetSaveScene"].execute(elements=cast(nodes), name="../x", action="")


def test_a_scene_takes_no_other_folder(nodes, tmp_path):
    """Red: pictures of the same names in the user's own folder are replaced, or a second save is refused."""
    mine = tmp_path / "output/castsheet/barn/hero-face-1.png"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    with pytest.raises(NodeError, match="holds files, and is not Castsheet's folder"):
        nodes["CastsheetSaveScene"].execute(elements=cast(nodes), name="barn", action="")
    assert [path.read_bytes() for path in mine.parent.iterdir()] == [b"mine"]
    for action in ("hero waves", "hero jumps"):
        nodes["CastsheetSaveScene"].execute(elements=cast(nodes), name="quay", action=action)
    assert nodes["CastsheetLoadScene"].execute(file="castsheet/quay/scene.yaml").args[1] == "hero jumps"


def test_a_ready_made_sheet_comes_apart(nodes):
    """Red: Split finds no pictures on black, or makes no element of them."""
    canvas = Image.new("RGB", (400, 200))
    for x, name in ((10, "hero-front.png"), (210, "hero-side.png")):
        canvas.paste(Image.open(DEMO_SCENE.parent / name).convert("RGB").resize((120, 180)), (x, 10))
    pixels = torch.from_numpy(np.asarray(canvas, np.float32) / 255)[None]
    out = nodes["CastsheetSplit"].execute(picture=pixels, id="hero", kind="character", description="x")
    assert len(out.args[1]) >= 2
    assert out.args[0].elements[0].images["front"]
    assert "count as front" in out.args[2] or "front" in out.args[2]


def test_a_clip_is_saved_with_what_made_it(nodes, tmp_path):
    """Red: the sidecar lacks the sheet, the prompt, the verdict or the workflow, or a clip is overwritten."""
    node = nodes["CastsheetSidecar"]
    node.hidden.prompt = {"1": {"class_type": "KSampler"}}
    clip = torch.rand(9, 64, 128, 3)
    sound = {"waveform": torch.zeros(1, 1, 24000), "sample_rate": 48000}
    told = {"images": clip, "filename_prefix": "film/shot", "sheet": sheet_of(nodes)["sheet"]}
    first = node.execute(**told, audio=sound, verdict=json.dumps({"verdict": "passes: hero 0.9"}))
    second = node.execute(**told)
    with pytest.raises(NodeError, match="verdict is no verdict"):
        node.execute(**told, verdict='{"verdict": ')
    assert (first.args, second.args) == (("film/shot_00001.mp4",), ("film/shot_00002.mp4",))
    sidecar = json.loads((tmp_path / "output/film/shot_00001.clip.json").read_text())
    made = sidecar["provenance"]
    assert made["comfyui"] == node.hidden.prompt
    assert made["sheet"]["sha256"] == told["sheet"].sheet.sha256
    assert made["notes"] == {"action": "hero waves", "verdict": "passes: hero 0.9"}
    assert sidecar["video"]["audio"]["rate"] == 48000
    node.hidden.prompt = None


def ended(arguments):
    """The exit code of `python -m castsheet.comfy`."""
    with pytest.raises(SystemExit) as left:
        main(arguments)
    return left.value.code


def test_the_pack_goes_into_a_comfyui(tmp_path, capsys):
    """Red: `python -m castsheet.comfy` does not install, or overwrites somebody else's folder."""
    assert ended([str(tmp_path)]) == 2
    assert "has no folder custom_nodes" in capsys.readouterr().err
    (tmp_path / "custom_nodes").mkdir()
    assert ended([str(tmp_path)]) == ended([str(tmp_path)]) == 0
    installed = tmp_path / "custom_nodes" / "castsheet"
    assert {path.name for path in installed.iterdir()} >= {
        "__init__.py",
        "example_workflows",
        "pyproject.toml",
        "web",
    }
    (installed / "__init__.py").write_text("# mine")
    assert ended([str(tmp_path)]) == 2
    assert ended([]) == 2
