"""The nodes over a stand-in for ComfyUI: what they promise, and what they do with small values."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from castsheet.comfy import PACK, comfy_entrypoint
from castsheet.comfy.wire import Board, NodeError
from castsheet.embedded import DEMO_SCENE
from castsheet.sheet.manifest import Sheet
from tests.comfy.golden import GOLDEN, reduced

ROOT = Path(__file__).parents[2]
SHEET = {
    "width": 128,
    "height": 64,
    "length": 9,
    "fps": 24.0,
    "action": "hero waves",
    "reference": "looped",
    "cut": "none",
    "prompt_format": "prose",
}


def image(name: str) -> torch.Tensor:
    """One of the demo's pictures as ComfyUI's LoadImage gives it."""
    pixels = np.asarray(Image.open(DEMO_SCENE.parent / name).convert("RGB"), np.float32) / 255
    return torch.from_numpy(pixels)[None]


def hero(nodes, **more):
    told = {"id": "hero", "kind": "character", "description": "a person in red", "importance": 1.0}
    views = {"face": image("hero-face.png"), "front": image("hero-front.png")}
    return nodes["CastsheetElement"].execute(**(told | {"strength": 1.0} | views | more)).args[0]


def cast(nodes, **more):
    told = {"id": "barn", "kind": "location", "description": "a meadow", "strength": 1.0, "importance": 1.0}
    place = {"front": image("place.png"), "previous": hero(nodes, **more)}
    return nodes["CastsheetElement"].execute(**told, **place).args[0]


def sheet_of(nodes, **more):
    """All outputs of the Sheet node, by name."""
    node = nodes["CastsheetSheet"]
    out = node.execute(**({"elements": cast(nodes)} | SHEET | more)).args
    return dict(zip([one.name for one in node.define_schema().outputs], out, strict=True))


def as_info(node) -> dict:
    """A schema in the form in which ComfyUI's /object_info shows it."""
    schema = node.define_schema()
    inputs = {"required": {}, "optional": {}}
    for one in schema.inputs:
        told = {"forceInput": one.told.get("force_input"), **one.told, "tooltip": one.tooltip}
        inputs["optional" if one.optional else "required"][one.id] = [one.io_type, told]
    return {
        "input": inputs,
        "output": [one.io_type for one in schema.outputs],
        "output_name": [one.name for one in schema.outputs],
        "output_node": schema.is_output_node,
        "category": schema.category,
    }


def test_nodes_are_what_saved_workflows_expect(nodes):
    """Red: a node, an input, an output, a type or a default changed: users' saved workflows break."""
    assert reduced({name: as_info(node) for name, node in nodes.items()}) == json.loads(GOLDEN.read_text())


def test_every_input_is_explained(nodes):
    """Red: an input has no tooltip, or a node's help page is missing or forgets an input or an output."""
    for name, node in nodes.items():
        schema = node.define_schema()
        page = (PACK / "web" / "docs" / name / "en.md").read_text(encoding="utf-8")
        assert page.startswith(f"# {schema.display_name}\n")
        for one in schema.inputs:
            assert (one.tooltip and one.tooltip.endswith((".", "JSON."))) or ":" in one.tooltip, (
                f"{name}.{one.id}"
            )
            assert f"`{one.id}`" in page, f"{name}: {one.id} is not on its page"
        for out in schema.outputs:
            assert f"`{out.name}`" in page, f"{name}: {out.name} is not on its page"


def test_the_entry_point_lists_them(stub):
    """Red: ComfyUI finds no nodes."""
    extension = asyncio.run(comfy_entrypoint())
    assert asyncio.run(extension.get_node_list()) == stub.NODES


def test_a_sheet_and_all_that_a_graph_needs(nodes):
    """Red: own LTXVAddGuide users do not get a looped reference, masks on cells, or both prompts."""
    out = sheet_of(nodes)
    sheet: Sheet = out["sheet"].sheet
    assert out["image"].shape == (1, 64, 128, 3)
    assert out["image"].dtype == torch.float32
    assert out["reference"].shape == (9, 64, 128, 3)
    assert (out["reference"] == out["image"]).all()
    assert (out["attention_mask"] == 1).all()
    assert out["attention_mask"].shape == (1, 64, 128)
    assert out["panel_masks"].shape == (len(sheet.panels), 64, 128)
    assert out["prompt"].startswith("Reference sheet: hero: a person in red; barn: a meadow")
    assert out["prompt"].endswith("Generated video: hero waves")
    assert (out["width"], out["height"], out["length"], out["fps"]) == (128, 64, 9, 24.0)
    assert json.loads(out["manifest"])["panels"]
    still = sheet_of(nodes, reference="still", action=" ")
    assert still["reference"].shape[0] == 1
    assert still["prompt"] == ""


def test_a_puppet_is_told_by_its_element(nodes):
    """Red: who makes films with robots in ComfyUI gets no verdict on them."""
    told = [sheet_of(nodes, elements=cast(nodes, human=value))["sheet"].sheet for value in (True, False)]
    assert [[one.human for one in sheet.elements] for sheet in told] == [[True, True], [False, True]]
    told = {"id": "lamp", "kind": "prop", "description": "a lamp", "importance": 1.0, "human": False}
    lamp = nodes["CastsheetElement"].execute(**told, front=image("prop.png")).args[0]
    assert lamp.elements[0].kind == "prop"


def test_strengths_are_painted_on_cells(nodes):
    """Red: an element's strength is painted across a cell's edge, where ComfyUI would average it away."""
    weak = sheet_of(nodes, elements=cast(nodes, strength=0.25))
    mask = weak["attention_mask"][0]
    cells = mask.view(2, 32, 4, 32).permute(0, 2, 1, 3).flatten(2)
    assert (cells == cells[..., :1]).all()
    assert set(mask.unique().tolist()) == {0.25, 1.0}


def test_a_ready_made_sheet_keeps_its_manifest(nodes):
    """Red: a sheet made elsewhere loses its panels, or a foreign manifest is believed."""
    known = sheet_of(nodes)
    board: Board = known["sheet"]
    pixels = torch.from_numpy(np.asarray(board.sheet.image, np.float32) / 255)[None]
    again = sheet_of(nodes, elements=None, picture=pixels, manifest=known["manifest"])
    assert again["sheet"].sheet.panels == board.sheet.panels
    with pytest.raises(NodeError, match="no longer matches"):
        sheet_of(nodes, elements=None, picture=1 - pixels, manifest=known["manifest"])
    bare = sheet_of(nodes, elements=None, picture=pixels, action="Reference sheet: a\n\nGenerated video: b")
    assert not bare["sheet"].sheet.panels
    assert bare["panel_masks"].shape[0] == 1


def conditioning(tokens: int = 0) -> list:
    """A context, with the coordinates of earlier guides' tokens."""
    return [[torch.zeros(1, 4, 8), {"keyframe_idxs": torch.zeros(1, 3, tokens, 2)} if tokens else {}]]


def guide(nodes, **more):
    """What the Guide node expands into, and its last output."""
    latent = {"samples": torch.zeros(1, 128, 3, 2, 4)}
    told = {"reference": "as the sheet says", "strength": 1.0, "strengths": "", "vae": "vae"}
    wired = {"positive": conditioning(), "negative": conditioning(), "latent": latent}
    out = nodes["CastsheetGuide"].execute(**(told | wired | {"sheet": sheet_of(nodes)["sheet"]} | more))
    (inner,) = out.expand.values()
    return inner, out.args


def test_a_guide_is_cores_own_at_the_latents_size(nodes):
    """Red: the sheet is cropped or too short beside the latent, or a mask slows a run of strengths 1."""
    inner, args = guide(nodes)
    assert inner["class_type"] == "LTXVAddGuide"
    assert inner["inputs"]["image"].shape == (17, 64, 128, 3)  # by the latent, not by the sheet's length
    assert "attention_mask" not in inner["inputs"]
    assert args[3].clip_frames == 3
    weak, _ = guide(nodes, strengths="hero=0.5", reference="still")
    assert weak["inputs"]["image"].shape[0] == 1
    assert weak["inputs"]["attention_mask"].min() == 0.5
    behind, args = guide(nodes, positive=conditioning(8))  # a first frame's guide: 2 x 4 cells
    assert args[3].clip_frames == 2
    assert behind["inputs"]["image"].shape[0] == 9


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"strengths": "hero"}, "strength 'hero'"),
        ({"strengths": "nobody=2"}, "not on the sheet. Fix: choose one of barn, hero"),
        ({"latent": {"samples": torch.zeros(1, 128, 3)}}, "3 dimensions"),
    ],
)
def test_a_guide_refuses_in_one_line(nodes, more, message):
    """Red: a typing error in `strengths` ends in a traceback."""
    with pytest.raises(NodeError, match=re.escape(message)) as error:
        guide(nodes, **more)
    assert "\n" not in str(error.value)


class Nested:
    """Picture and sound latents together, as ComfyUI carries them."""

    is_nested = True

    def __init__(self, parts) -> None:
        self.parts = list(parts)

    def unbind(self):
        return self.parts


def test_a_crop_leaves_the_clip_alone(nodes):
    """Red: guides stay, sound is cut, or the conditioning still speaks of guides that are gone."""
    video, sound = torch.arange(7.0).view(1, 1, 7, 1, 1).expand(1, 1, 7, 2, 4), torch.ones(1, 8, 5, 2)
    latent = {"samples": Nested([video, sound]), "noise_mask": Nested([video, sound]), "kept": 1}
    out = nodes["CastsheetCrop"].execute(positive=conditioning(32), negative=conditioning(32), latent=latent)
    left, heard = out.args[2]["samples"].unbind()
    assert left[0, 0, :, 0, 0].tolist() == [0, 1, 2]
    assert torch.equal(heard, sound)
    assert out.args[2]["noise_mask"].unbind()[0].shape[2] == 3
    assert out.args[2]["kept"] == 1
    assert out.args[0][0][1]["keyframe_idxs"] is None


def test_lint_reports_mends_and_stops(nodes):
    """Red: a fault of the graph that the node stands in is not told, or an error does not stop the run."""
    node = nodes["CastsheetLint"]
    graph = {
        "1": {"class_type": "LTXVAddGuide", "inputs": {}},
        "2": {"class_type": "VAEDecode", "inputs": {"samples": ["1", 2]}},
    }
    node.hidden.prompt = graph
    board = sheet_of(nodes)["sheet"]
    told = {"sheet": board, "mend": True, "look": False}
    out = node.execute(**told, on_error="report")
    report, ok = out.args[7], out.args[9]
    assert report.startswith(("mended", "error"))
    assert "error V03: node 2 (VAEDecode)" in report
    assert not ok
    assert "warning V01: 9 frames" in report
    doubted = replace(board, sheet=replace(board.sheet, layout={"doubts": ["a.png keeps its background"]}))
    told_of = node.execute(sheet=doubted, mend=False, look=False, on_error="report").args[7]
    assert told_of.startswith("look at a.png keeps its background")
    with pytest.raises(NodeError, match="put LTXVCropGuides or CastsheetCrop"):
        node.execute(**told, on_error="stop")
    node.hidden.prompt = None
    adapter = type("Model", (), {"get_attachment": lambda _self, _key: {"reference_mode": "still"}})()
    assert "trained on still sheets" in node.execute(**told, on_error="report", model=adapter).args[7]


def test_judge_and_pick(nodes):
    """Red: the verdict is not JSON that Pick reads, frames and video differ, or the worse take is kept."""
    board = sheet_of(nodes)["sheet"]
    frames = image("place.png").movedim(-1, 1)
    clip = torch.nn.functional.interpolate(frames, (64, 128)).movedim(1, -1).expand(9, -1, -1, -1)
    told = {"sheet": board, "order": "", "read_text": False}
    out = nodes["CastsheetJudge"].execute(**told, images=clip).args
    import comfy.utils as host

    pictures = [preview for *_, preview in host.bars[-1].told if preview]
    assert pictures[0][0] == "JPEG"
    verdict = json.loads(out[0])
    assert (verdict["score"], verdict["passed"]) == (out[1], out[2])
    assert out[5:] == (verdict["verdict"], verdict["state"])
    assert out[3].shape[0] == 1
    assert out[4].shape[0] == len(verdict["elements"])
    from comfy_api.latest import InputImpl, Types

    video = InputImpl.VideoFromComponents(Types.VideoComponents(images=clip, frame_rate=24))
    assert json.loads(nodes["CastsheetJudge"].execute(**told, video=video).args[0]) == verdict
    with pytest.raises(NodeError, match="frames or a video"):
        nodes["CastsheetJudge"].execute(**told)
    pick = nodes["CastsheetPick"]
    better = json.dumps({"passed": True, "score": 0.1, "verdict": "passes"})
    kept = pick.execute(
        stop_early=True, take_1=clip, verdict_1=out[0], take_2=1 - clip, verdict_2=better, take_3=None
    )
    assert kept.args[1] == 2
    assert torch.equal(kept.args[0], 1 - clip)
    assert "kept take 2" in kept.args[3]
    with pytest.raises(NodeError, match="verdict_1 is no verdict"):
        pick.execute(stop_early=True, take_1=clip, verdict_1="well")


def test_a_take_is_made_only_while_none_passes(nodes):
    """Red: three takes are sampled although the first passed, or none although it failed."""
    wanted = nodes["CastsheetPick"].check_lazy_status
    good, bad = json.dumps({"passed": True}), json.dumps({"passed": False})
    wired = {"take_1": None, "verdict_1": None, "take_2": None, "verdict_2": None}
    assert wanted(True, **wired) == ["verdict_1", "take_1"]
    first = wired | {"take_1": 1, "verdict_1": good}
    assert wanted(True, **first) == []
    assert wanted(False, **first) == wanted(True, **(first | {"verdict_1": bad})) == ["verdict_2", "take_2"]


@pytest.mark.usefixtures("stub")
def test_cancel_ends_the_wait_at_once():
    """Red: Cancel waits for the end of the work, or the work goes on for ever."""
    import comfy.model_management as host

    from castsheet.comfy.watch import watched

    ended, begun = threading.Event(), threading.Event()

    def work(tell):
        try:
            while True:
                tell(1, 10, Image.new("RGB", (8, 8)))
                begun.set()
        finally:
            ended.set()

    def cancel() -> None:
        begun.wait()
        host.cancelled = True

    threading.Thread(target=cancel).start()
    with pytest.raises(host.InterruptProcessingException):
        watched(work)
    assert ended.wait(10)
    with pytest.raises(ZeroDivisionError):
        watched(lambda _tell: 1 / 0)


LIGHT = """
import sys
for name in ("diffusers", "transformers", "accelerate", "tokenizers", "typer", "rich", "huggingface_hub"):
    sys.modules[name] = None
sys.path.insert(0, "tests/comfy/stub")
import pytest
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "tests/comfy/test_nodes.py", "-k", "KEPT"]))
"""


def test_the_light_install_is_enough():
    """Red: sheet, lint, guide, crop or judge needs a package that `castsheet[comfy]` does not list."""
    kept = "sheet_and_all or guide_is_cores or crop_leaves or lint_reports or judge_and_pick"
    code = LIGHT.replace("KEPT", kept)
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=300)
