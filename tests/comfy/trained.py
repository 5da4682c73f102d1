"""A trained mini on ComfyUI's own model path, judged by our node against the right sheet and another's.

    CASTSHEET_COMFYUI=TREE python -m tests.comfy.trained --out out/comfy
    python -m tests.comfy.trained --truth --out out/comfy-truth

The bundle is the embedded one unless `--bundle` names a folder that `mini.bundle.package` wrote.

Loader, adapter loader, schedule, sampler and decoder are ComfyUI's; sheet, prompt, guide, crop, judge ours.
Identities are validation seeds in pairs, whose two do the same. A scene is a hero and a place. Heroes are
told to be no human beings, for mini's are puppets with faces of 12 pixels. `--truth` judges their renderings
in the place of clips, without ComfyUI: no model can do better. Both judge with what is installed
(`castsheet[sheet,identity,looks]`). Needs the `mini` extra, an EGL driver, minutes of a CPU for every clip.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from castsheet.clip import Clip
from castsheet.elements import Character, Prop, Scene
from castsheet.embedded import WEIGHTS
from castsheet.judge.judge import Judge, Options
from castsheet.loading.bundle import Bundle
from castsheet.machine.files import write_text
from castsheet.sheet.compose import compose
from castsheet.sheet.manifest import Sheet
from mini.evaluation.identities import ACTIONS, CELL, scene_of, story_of
from mini.story import FPS, FRAMES, HEIGHT, WIDTH
from mini.story.motion import Action
from mini.story.render import Renderer
from mini.story.sample import draw
from mini.world import VALIDATION
from tests.comfy.conftest import tree_version
from tests.comfy.graphs import Graph, node, our_crop, our_guide, save
from tests.comfy.server import TREE, Server

PATIENCE = 3600  # seconds for a clip and its judgements, on a busy machine
BUNDLE = "trained"  # its name among ComfyUI's models
DEEDS = tuple(action for action in ACTIONS if action != "lift")  # nothing is there to be lifted


def clip(index: int, reference: str, told: dict[str, Any]) -> Graph:
    """From an identity's scene to decoded frames."""
    own = str(VALIDATION[index])
    adapter = "mini-ic-lora.safetensors" if reference == "looped" else "mini-ic-lora-still.safetensors"
    return {
        "sheet": sheet(own, reference),
        **scene(own),
        "loader": node("CheckpointLoaderSimple", ckpt_name="mini.safetensors"),
        "model": node(
            "LoraLoaderModelOnly",
            model=["loader", 0],
            lora_name=adapter,
            strength_model=told["lora_strength"],
        ),
        "yes": node("CastsheetEncodePrompt", bundle=BUNDLE, prompt=["sheet", 5]),
        "no": node("CastsheetEncodePrompt", bundle=BUNDLE, prompt=["sheet", 6]),
        "timed": node("LTXVConditioning", positive=["yes", 0], negative=["no", 0], frame_rate=FPS),
        "latent": node("EmptyLTXVLatentVideo", width=WIDTH, height=HEIGHT, length=FRAMES, batch_size=1),
        "guide": our_guide(vae=["loader", 2]),
        "audio vae": node("LTXVAudioVAELoader", ckpt_name="mini.safetensors"),
        "silence": node(
            "LTXVEmptyLatentAudio",
            frames_number=FRAMES,
            frame_rate=int(FPS),
            batch_size=1,
            audio_vae=["audio vae", 0],
        ),
        "joined": node("LTXVConcatAVLatent", video_latent=["guide", 2], audio_latent=["silence", 0]),
        "levels": node(
            "LTXVScheduler",
            steps=told["steps"],
            max_shift=2.05,
            base_shift=0.95,
            stretch=True,
            terminal=0.1,
            latent=["latent", 0],
        ),
        "euler": node("KSamplerSelect", sampler_name="euler"),
        "sampler": node(
            "SamplerCustom",
            model=["model", 0],
            add_noise=True,
            noise_seed=index // 2,
            cfg=told["guidance"],
            positive=["guide", 0],
            negative=["guide", 1],
            sampler=["euler", 0],
            sigmas=["levels", 0],
            latent_image=["joined", 0],
        ),
        "crop": our_crop(),
        "apart": node("LTXVSeparateAVLatent", av_latent=["crop", 2]),
        "frames": node("VAEDecode", samples=["apart", 0], vae=["loader", 2]),
        "seen": save(f"frames-{index}", ["frames", 0]),
    }


def scene(name: str) -> Graph:
    """The scene file of an identity."""
    return {f"scene {name}": node("CastsheetLoadScene", file=f"{name}/scene.yaml")}


def sheet(name: str, reference: str) -> dict[str, Any]:
    """The sheet of an identity's scene."""
    return node(
        "CastsheetSheet",
        elements=[f"scene {name}", 0],
        width=WIDTH,
        height=HEIGHT,
        length=FRAMES,
        fps=FPS,
        action=[f"scene {name}", 1],
        reference=reference,
        cut="none",
        prompt_format="prose",
    )


def judged(index: int) -> Graph:
    """Verdicts on the clip by its own sheet and by its partner's."""
    other = str(VALIDATION[index ^ 1])
    graph = scene(other) | {"other sheet": sheet(other, "looped")}
    for name, by in (("right", "sheet"), ("wrong", "other sheet")):
        graph[name] = node("CastsheetJudge", sheet=[by, 0], order="", read_text=False, images=["frames", 0])
        graph[f"{name} state"] = save(f"{name}-{index}", [name, 6])
        graph[f"{name} score"] = save(f"{name}-score-{index}", [name, 1])
        graph[f"{name} words"] = save(f"{name}-words-{index}", [name, 5])
    return graph


def action_of(index: int) -> Action:
    """The action of an identity and of its partner."""
    return DEEDS[index // 2 % len(DEEDS)]


def asked(renderer: Renderer, index: int, folder: Path) -> Scene:
    """An identity's scene of a puppet and a place, and its pictures in the folder."""
    folder.mkdir(parents=True)
    scene = scene_of(renderer, VALIDATION[index], folder, action_of(index))
    kept = (
        one.model_copy(update={"human": False}) if isinstance(one, Character) else one
        for one in scene.elements
        if not isinstance(one, Prop)
    )
    return scene.model_copy(update={"elements": tuple(kept)})


def truth(renderer: Renderer, index: int) -> Clip:
    """An identity's rendered frames, without its prop."""
    story = replace(story_of(VALIDATION[index], action_of(index)), shown=(False,))
    return Clip(draw(renderer, story, range(FRAMES), masks_every=FRAMES)[0], FPS)


def of_truth(count: int, results: Path) -> None:
    """Judge renderings by their own sheet and by their partner's."""
    renderer, rows = Renderer(), list[dict[str, Any]]()
    with tempfile.TemporaryDirectory() as folder:
        options, sheets = Options.installed(), list[Sheet]()
        for index in range(count + count % 2):
            scene = asked(renderer, index, Path(folder, str(index)))
            sheets.append(compose(scene, output=(WIDTH, HEIGHT), grid=CELL))
    for index in range(count):
        clip = truth(renderer, index)
        pair = (("right", sheets[index]), ("wrong", sheets[index ^ 1]))
        told = {name: Judge(sheet, options)(clip) for name, sheet in pair}
        rows.append({"seed": VALIDATION[index], **{name: one.state for name, one in told.items()}})
        rows[-1] |= {f"{name}_score": one.score for name, one in told.items()}
        rows[-1]["words"] = told["right"].verdict
        print(rows[-1], flush=True)
        _write(rows, results, "truth", "none")
        strip(torch.from_numpy(np.asarray(clip.frames)) / 255).save(results / f"{VALIDATION[index]}.png")
    _sum_up(rows)


def strip(frames_FHWC: torch.Tensor) -> Image.Image:
    """Five of a clip's frames beside each other."""
    shown = frames_FHWC[:: len(frames_FHWC) // 4].mul(255).round().byte()
    return Image.fromarray(torch.cat(list(shown), dim=1).numpy())


def run(bundle: Path, count: int, reference: str, results: Path) -> None:
    """Make and judge clips of the first identities, and say how often the judge was right."""
    assert TREE, "set CASTSHEET_COMFYUI to a tree of ComfyUI"
    told, rows = dict(Bundle.load(bundle).preset), list[dict[str, Any]]()
    with tempfile.TemporaryDirectory() as folder:
        base, renderer = Path(folder), Renderer()
        # ComfyUI's own choice for a CPU is slower than the same attention in torch's words.
        server = Server(Path(TREE), base, args=("--use-pytorch-cross-attention",))
        try:
            _lend(bundle, base)
            server.wait()
            for index in range(count + count % 2):
                pictures = base / "input" / str(VALIDATION[index])
                asked(renderer, index, pictures).save(pictures / "scene.yaml")
            for index in range(count):
                server.run(clip(index, reference, told) | judged(index), PATIENCE)
                row: dict[str, Any] = {"seed": VALIDATION[index]}
                for name in ("right", "wrong"):
                    row[name] = server.probed(f"{name}-{index}")
                    row[f"{name}_score"] = server.probed(f"{name}-score-{index}")
                rows.append(row | {"words": server.probed(f"right-words-{index}")})
                print(rows[-1], flush=True)
                _write(rows, results, tree_version(Path(TREE)), reference)
                strip(server.probed(f"frames-{index}")).save(results / f"{VALIDATION[index]}.png")
        finally:
            server.stop()
    _sum_up(rows)


def _lend(bundle: Path, base: Path) -> None:
    """The bundle's files where ComfyUI and our nodes look for them."""
    for kind, names in {
        "checkpoints": ["mini.safetensors"],
        "loras": ["mini-ic-lora.safetensors", "mini-ic-lora-still.safetensors"],
    }.items():
        for name in names:
            (base / "models" / kind).mkdir(parents=True, exist_ok=True)
            (base / "models" / kind / name).symlink_to(bundle.resolve() / name)
    (base / "models" / "castsheet").mkdir()
    (base / "models" / "castsheet" / BUNDLE).symlink_to(bundle.resolve())


def _write(rows: list[dict[str, Any]], results: Path, made_by: str, reference: str) -> None:
    results.mkdir(parents=True, exist_ok=True)
    report = {"made_by": made_by, "reference": reference, "clips": rows}
    write_text(results / "states.json", json.dumps(report, indent=1) + "\n")


def _sum_up(rows: list[dict[str, Any]]) -> None:
    """How often each sheet passes, and which of the two the score prefers."""
    for name in ("right", "wrong"):
        states = [row[name] for row in rows]
        told = ", ".join(f"{one} {states.count(one)}" for one in ("carried", "cannot tell", "not carried"))
        print(f"of {len(rows)} clips, the {name} sheet: {told}")
    nearer = sum(row["right_score"] > row["wrong_score"] for row in rows)
    print(f"the right sheet's score is the higher one in {nearer} of {len(rows)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bundle", type=Path, default=WEIGHTS)
    parser.add_argument("--count", type=int, default=16)
    parser.add_argument("--reference", choices=("looped", "still"), default="still")
    parser.add_argument("--truth", action="store_true", help="judge renderings, without ComfyUI")
    parser.add_argument("--out", type=Path, default=Path("out/comfy"), help="states and frames")
    options = parser.parse_args()
    if options.truth:
        of_truth(options.count, options.out)
    else:
        run(options.bundle, options.count, options.reference, options.out)


if __name__ == "__main__":
    main()
