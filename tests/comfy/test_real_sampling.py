"""Our guide and crop on ComfyUI's own model path, with a checkpoint of random weights.

Random weights show the plumbing: which frames, which tokens, bit for bit. They say nothing of looks.
"""

from __future__ import annotations

import json
import subprocess

import numpy as np
import pytest
import torch

from castsheet.clip import read_video
from castsheet.embedded import DEMO_SCENE
from castsheet.sampling.strength import cell_strengths, token_bias
from castsheet.sheet.manifest import Sheet
from tests.comfy.graphs import Graph, decoded, node, our_crop, our_guide, photos, sampled, save, toy_model
from tests.comfy.server import PYTHON

FILES = {"face": "hero-face.png", "front": "hero-front.png", "place": "place.png"}
LENGTH = 9


def base(**sheet) -> Graph:
    """Sheet, toy model and texts."""
    return photos(FILES, **({"length": LENGTH} | sheet)) | toy_model(LENGTH)


def core_guide(image: list, mask: list | None = None, *, before: str = "timed") -> dict:
    """ComfyUI's own guide, wired by hand."""
    latent = ["latent", 0] if before == "timed" else [before, 2]
    optional = {} if mask is None else {"attention_mask": mask}
    wired = {"positive": [before, 0], "negative": [before, 1], "vae": ["model", 2], "latent": latent}
    return node("LTXVAddGuide", image=image, frame_idx=0, strength=1.0, **wired, **optional)


def core_crop(guide: str) -> dict:
    return node("LTXVCropGuides", positive=[guide, 0], negative=[guide, 1], latent=["apart first", 0])


def latent_of(comfy, graph: Graph, name: str) -> torch.Tensor:
    """The cropped video latent (B,C,F,H,W)."""
    comfy.run(graph | {"window": save(name, ["crop", 2])})
    samples = comfy.probed(name)["samples"]
    return samples[0] if isinstance(samples, list) else samples


def by_hand(guide: dict) -> Graph:
    """ComfyUI's own nodes all the way: guide, sampler, crop."""
    return (
        {"guide": guide}
        | sampled("guide", steps=1)
        | {"apart first": node("LTXVSeparateAVLatent", av_latent=["sampler", 0]), "crop": core_crop("guide")}
    )


def ours(**guide) -> Graph:
    """Our guide, ComfyUI's sampler, our crop."""
    return {"guide": our_guide(**guide)} | sampled("guide", steps=1) | {"crop": our_crop()}


@pytest.mark.parametrize("reference", ["looped", "still"])
def test_a_clip_has_its_own_frames_only(comfy, reference):
    """Red: frames of the sheet reach the decoder, or frames of the clip are cut off with them."""
    done = comfy.run(
        base(reference=reference) | ours() | decoded() | {"window": save("frames", ["frames", 0])}
    )
    assert comfy.probed("frames").shape == (LENGTH, 64, 128, 3)
    (saved,) = done.outputs["saved"]["images"]
    frames, rate = read_video(comfy.base / "output" / saved["subfolder"] / saved["filename"])
    assert (len(frames), rate) == (LENGTH, 24.0)


@pytest.mark.parametrize("reference", ["looped", "still"])
def test_guide_and_crop_are_cores_own_bit_for_bit(comfy, reference):
    """Red: our two nodes do something else than LTXVAddGuide and LTXVCropGuides wired by hand."""
    graph = base(reference=reference)
    hand = latent_of(comfy, graph | by_hand(core_guide(["sheet", 2])), "hand")
    assert torch.equal(hand, latent_of(comfy, graph | ours(), "ours"))
    assert hand.shape[2] == (LENGTH - 1) // 8 + 1


def test_a_mask_of_ones_is_no_mask_and_others_count(comfy):
    """Red: strengths of 1 cost time or change numbers, or other strengths change nothing."""
    graph = base()
    plain = latent_of(comfy, graph | by_hand(core_guide(["sheet", 2])), "plain")
    ones = latent_of(comfy, graph | by_hand(core_guide(["sheet", 2], ["sheet", 3])), "ones")
    assert torch.equal(plain, ones)
    weak = latent_of(comfy, graph | ours(strengths="hero=0.25"), "weak")
    assert not torch.equal(plain, weak)
    graph["hero"]["inputs"]["strength"] = 0.25  # the element's own, through an own LTXVAddGuide
    own = latent_of(comfy, graph | by_hand(core_guide(["sheet", 2], ["sheet", 3])), "own")
    assert torch.equal(weak, own)


def test_a_strength_reaches_the_cells_of_its_panels_alone(comfy):
    """Red: an element's strength bleeds into others' cells, or core's count of guide tokens is broken."""
    graph = base() | {"guide": our_guide(strengths="hero=0.25"), "window": save("cond", ["guide", 0])}
    comfy.run(graph | {"text": save("manifest", ["sheet", 11])})
    ((_, told),) = comfy.probed("cond")
    (entry,) = told["guide_attention_entries"]
    assert entry["pre_filter_count"] == told["keyframe_idxs"].shape[2] == 2 * 2 * 4
    mask = entry["pixel_mask"][0, 0, 0]
    manifest = json.loads(comfy.probed("manifest"))
    boxes = [(read_box(panel["box"]), panel["element"]) for panel in manifest["panels"]]
    image = (manifest["image"]["width"], manifest["image"]["height"])
    cells = cell_strengths(boxes, {"hero": 0.25}, image=image, size=(128, 64), cell=32)
    assert 0 < (cells != 1).sum() < cells.size
    assert (mask.numpy() == np.kron(cells, np.ones((32, 32))).astype(np.float32)).all()


def read_box(box: dict):
    from castsheet.sheet.box import Box

    return Box(**box)


def test_two_guides_at_one_frame_leave_no_frame_of_a_sheet(comfy):
    """Red: with a first-frame guide beside the sheet, frames of it stay, as with LTXVCropGuides of 0.22."""
    graph = base() | {"first": core_guide(["load face", 0])}
    two = {"guide": our_guide(positive=["first", 0], negative=["first", 1], latent=["first", 2])}
    after = {"second": core_guide(["load place", 0], before="guide")} | sampled("second", steps=1)
    crop = {"crop": our_crop("second")}
    crop["crop"]["inputs"]["guide"] = ["guide", 3]
    assert latent_of(comfy, graph | two | after | crop, "two").shape[2] == 2
    counted = {"crop": our_crop("second")}
    del counted["crop"]["inputs"]["guide"]
    cropped = graph | two | after | counted | {"cond": save("forgotten", ["crop", 0])}
    assert latent_of(comfy, cropped, "counted").shape[2] == 2
    ((_, told),) = comfy.probed("forgotten")
    assert told["keyframe_idxs"] is None
    assert told["guide_attention_entries"] is None


def test_a_guide_after_the_sound_is_refused_in_words(comfy):
    """Red: the guide is appended to sound, or core's message about channels is all that the user gets."""
    graph = base() | sampled("timed")
    graph["joined"]["inputs"]["video_latent"] = ["latent", 0]
    graph["guide"] = our_guide(latent=["joined", 0])
    done = comfy.result(comfy.submit(graph | {"window": save("sound", ["guide", 2])}))
    assert "holds sound already" in done.error
    assert "before LTXVConcatAVLatent" in done.error


def test_a_bundles_prompt_goes_through_cores_sampler(comfy):
    """Red: a model whose text encoder ComfyUI cannot load cannot be sampled, or words change nothing."""
    graph = base()
    for name, words in (("yes", "hero waves"), ("no", "blurry")):
        graph[name] = node("CastsheetEncodePrompt", bundle="toy", prompt=words)
    waves = latent_of(comfy, graph | ours(), "waves")
    graph["yes"]["inputs"]["prompt"] = "hero sits"
    assert waves.isfinite().all()
    assert not torch.equal(waves, latent_of(comfy, graph | ours(), "sits"))


PARITY = """
import sys, json, torch
sys.argv = ["main.py", "--cpu"]
import comfy.options; comfy.options.enable_args_parsing()
from comfy.ldm.lightricks.model import LTXVModel, _attention_with_guide_mask
torch.manual_seed(0)
told = torch.load(sys.stdin.buffer, weights_only=True)
tokens = told["clip"] + told["guides"]
entry = {"strength": 1.0, "pixel_mask": told["mask"][None, None], "latent_shape": told["shape"],
         "surviving_count": told["guides"]}
merged = {"num_guide_tokens": told["guides"], "resolved_guide_entries": [entry]}
model = LTXVModel.__new__(LTXVModel); torch.nn.Module.__init__(model)
x = torch.zeros(1, tokens, 8)
mask = model._build_guide_self_attention_mask(x, {}, merged)
q, k, v = (told[name] for name in "qkv")
out = _attention_with_guide_mask(q, k, v, told["heads"], mask, None, {})
torch.save({"noisy": mask.noisy_mask, "tracked": mask.tracked_mask, "out": out}, sys.stdout.buffer)
"""


def test_our_bias_is_cores_number_for_number(tree, tmp_path):
    """Red: `--strength` and a mask of the same numbers weigh the sheet differently in the two programs."""
    from castsheet.comfy.pictures import strength_mask
    from castsheet.elements import Scene
    from castsheet.sheet.compose import compose

    sheet: Sheet = compose(Scene.load(DEMO_SCENE), output=(384, 224))
    strengths, size, frames, clip = {"hero": 0.3, "prop": 2.5}, (384, 224), 3, 4 * 7 * 12
    bias = token_bias(sheet, strengths, size=size, cell=32, clip_tokens=clip, frames=frames)
    guides = frames * 7 * 12
    heads, width = 2, 8
    generator = torch.Generator().manual_seed(1)
    q, k, v = (torch.randn(1, clip + guides, heads * width, generator=generator) for _ in range(3))
    given = tmp_path / "given.pt"
    mask = strength_mask(sheet, strengths, size)
    torch.save(
        {
            "clip": clip,
            "guides": guides,
            "mask": mask,
            "shape": [frames, 7, 12],
            "q": q,
            "k": k,
            "v": v,
            "heads": heads,
        },
        given,
    )
    with given.open("rb") as stdin, (tmp_path / "told.pt").open("wb") as stdout:
        subprocess.run([PYTHON, "-c", PARITY], cwd=tree, stdin=stdin, stdout=stdout, check=True)
    told = torch.load(tmp_path / "told.pt", weights_only=True)
    dense = bias.dense()
    apart = max(
        (told["noisy"][0, 0, 0] - dense[0]).abs().max(), (told["tracked"][0, 0] - dense[clip:]).abs().max()
    )
    print(f"largest difference of the attention bias: {apart:.1e}")
    assert apart < 1e-6  # core averages 1024 equal floats a cell
    split = [x.view(1, -1, heads, width).transpose(1, 2) for x in (q, k, v)]
    out = bias.attend(*split).transpose(1, 2).flatten(2)
    assert (out - told["out"]).abs().max() < 1e-5
