"""What ComfyUI's core makes of a checkpoint of ours: nothing dropped, nothing missing."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import torch

from castsheet.lint.workflow import lint_workflow
from castsheet.ltx.files.checkpoint import Checkpoint
from castsheet.ltx.model import rope
from castsheet.ltx.model.dit import Stream
from castsheet.ltx.model.sequence import Sequence
from castsheet.sampling.schedule import sigmas
from castsheet.settings import CARD
from mini.training.architecture import FPS, LATENT_CHANNELS
from tests.comfy.server import PYTHON
from tests.comfy.toy import write_toy
from tests.doubles.ltx_tiny import load_wide

ASKED = """
import sys, json
path = sys.argv[1]; sys.argv = ["main.py", "--cpu"]
import comfy.options; comfy.options.enable_args_parsing()
import comfy.sd, comfy.utils
import folder_paths
from pathlib import Path
tensors = comfy.utils.load_torch_file(path)
model, _, vae, _ = comfy.sd.load_checkpoint_guess_config(path, output_vae=True, output_clip=False)
folder_paths.add_model_folder_path("checkpoints", str(Path(path).parent))
from comfy_extras.nodes_lt_audio import LTXVAudioVAELoader
from comfy_extras.nodes_lt import LTXVScheduler
sound = LTXVAudioVAELoader.execute(Path(path).name).args[0].first_stage_model
shapes = lambda named, head: {head + name: list(one.shape) for name, one in named.items()}
levels = LTXVScheduler.execute(30, 2.05, 0.95, True, 0.1).args[0]
print("TOLD" + json.dumps({
    "classes": [type(model.model).__name__, type(model.model.diffusion_model).__name__],
    "file": shapes(tensors, ""),
    "model": shapes(model.model.diffusion_model.state_dict(), "model.diffusion_model."),
    "vae": shapes(vae.first_stage_model.state_dict(), "vae."),
    "sound": sorted(list(one.shape) for one in sound.state_dict().values()),
    "levels": levels.tolist(),
}))
"""


def test_core_loads_minis_layout_whole(tree, tmp_path):
    """Red: ComfyUI drops a tensor of mini's next layout, or makes up one that the file lacks.

    The text projections are the text encoder's; core takes them with its own loader for that.
    """
    path = write_toy(tmp_path / "toy.safetensors")
    asked = subprocess.run(
        [PYTHON, "-c", ASKED, str(path)], cwd=tree, capture_output=True, text=True, check=True
    )
    told = json.loads(asked.stdout.rpartition("TOLD")[2])
    assert told["classes"] == ["LTXAV", "LTXAVModel"]
    parts: dict[str, dict[str, list[int]]] = {}
    for name, shape in told["file"].items():
        parts.setdefault(name.split(".")[0], {})[name] = shape
    assert parts.pop("model") == told["model"]
    assert parts.pop("vae") == told["vae"]
    assert set(parts) == {"audio_vae", "vocoder", "text_embedding_projection"}
    assert sorted([*parts["audio_vae"].values(), *parts["vocoder"].values()]) == told["sound"]
    assert len(parts["text_embedding_projection"]) == 4
    ours = sigmas(CARD.steps, tokens=4096)
    assert max(abs(a - b) for a, b in zip(ours.tolist(), told["levels"], strict=True)) < 1e-6


PASSED = """
import sys, torch
path, given, told = sys.argv[1:]; sys.argv = ["main.py", "--cpu"]
import comfy.options; comfy.options.enable_args_parsing()
import comfy.sd
model, *_ = comfy.sd.load_checkpoint_guess_config(path, output_vae=False, output_clip=False)
denoiser = model.model.diffusion_model.float()
asked = torch.load(given)
with torch.no_grad():
    out = denoiser(
        [asked["pictures"], asked["sound"]], asked["level"], asked["context"], None, frame_rate=asked["fps"]
    )
torch.save(list(out), told)
"""


@torch.no_grad()
def test_core_denoises_as_we_do(tree, tmp_path):
    """Red: mini's header states what ComfyUI's core passes over, and mini's clips are noise there: until its
    theta was the official one, they were.

    Pictures alone, which do not hear the sound, as mini's do not: core 0.22 gives the attentions between the
    streams noise levels in [0, 1], where official code and diffusers give a thousand times as much.
    """
    path = write_toy(tmp_path / "toy.safetensors", deaf=True)
    random = torch.Generator().manual_seed(3)
    cells, ticks = (3, 2, 4), 26
    pictures = torch.randn(1, LATENT_CHANNELS, *cells, generator=random)
    sound = torch.randn(1, 8, ticks, 16, generator=random)
    seen, heard = (torch.randn(1, 128, width, generator=random) for width in (384, 192))
    level = torch.tensor([0.7])
    asked = {"pictures": pictures, "sound": sound, "level": level, "fps": FPS}
    torch.save(asked | {"context": torch.cat([seen, heard], dim=2)}, tmp_path / "given.pt")
    files = [str(path), str(tmp_path / "given.pt"), str(tmp_path / "told.pt")]
    subprocess.run([PYTHON, "-c", PASSED, *files], cwd=tree, capture_output=True, text=True, check=True)
    told = torch.load(tmp_path / "told.pt")

    model = load_wide(Checkpoint.open(path), dtype=torch.float32, audio=True)
    spans, times = rope.video_bounds(*cells, FPS), rope.audio_bounds(ticks)
    settings = model.config
    video = Sequence((24,), rope.video_tables(settings, spans), rope.cross_tables(settings, spans), marked=0)
    audio = Sequence((ticks,), rope.audio_tables(settings, times), rope.cross_tables(settings, times))
    ours = model(
        Stream(pictures.flatten(2).mT, seen, video, level[:, None], level),
        Stream(sound.transpose(1, 2).flatten(2), heard, audio, level[:, None], level),
    )
    own = ours.video_BTC.mT.unflatten(2, cells)
    assert (own - told[0]).norm() < 1e-4 * told[0].norm()


def test_lint_reads_comfys_own_template(tree):
    """Red: a departure of the official template goes unnamed when its own file is read, subgraph and all."""
    code = "import comfyui_workflow_templates_json as t; print(t.__path__[0])"
    found = subprocess.run([PYTHON, "-c", code], cwd=tree, capture_output=True, text=True)
    if found.returncode:
        pytest.skip("pip install comfyui-workflow-templates-json to read the official template")
    file = Path(found.stdout.strip()) / "templates" / "template_ltx2_3_ic_lora_ingredients.json"
    told = lint_workflow(json.loads(file.read_text(encoding="utf-8")))
    for one in told:
        print(one.rule, one.severity, one.message)
    assert [one.rule for one in told] == ["W01", "W01", "W02", "W06", "V01", "V01", "V02"]
