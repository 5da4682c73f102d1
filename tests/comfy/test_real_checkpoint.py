"""What ComfyUI's core makes of a checkpoint of ours: nothing dropped, nothing missing."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from castsheet.lint.workflow import lint_workflow
from castsheet.sampling.schedule import sigmas
from castsheet.settings import CARD
from tests.comfy.server import PYTHON
from tests.comfy.toy import write_toy

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
