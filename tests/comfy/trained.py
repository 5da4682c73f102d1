"""A trained mini on ComfyUI's own model path, judged by our node against the right sheet and another's.

    CASTSHEET_COMFYUI=TREE python -m tests.comfy.trained BUNDLE --out out/comfy

BUNDLE is a folder that `mini.bundle.package` wrote of the second edition, whose layout ComfyUI's core knows.

Loader, adapter loader, schedule, sampler and decoder are ComfyUI's; sheet, prompt, guide, crop, judge ours.
Identities are validation seeds in pairs, whose two do the same. Beside each clip stands what the judge says
of the rendered truth with the right sheet: no model can do better. Needs the `mini` extra, an EGL driver, and
a minute or more of a CPU for every clip.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from castsheet.clip import Clip
from castsheet.elements import Scene
from castsheet.judge.judge import Judge
from castsheet.loading.bundle import Bundle
from castsheet.machine.files import write_text
from castsheet.sheet.compose import compose
from mini.evaluation.identities import ACTIONS, CELL, Stage
from mini.story import FPS, FRAMES, HEIGHT, WIDTH
from mini.story.motion import Action
from mini.world import VALIDATION
from tests.comfy.conftest import tree_version
from tests.comfy.graphs import Graph, node, our_crop, our_guide, save
from tests.comfy.server import TREE, Server

BUNDLE = "trained"  # its name among ComfyUI's models


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
        graph[f"{name} words"] = save(f"{name}-words-{index}", [name, 5])
    return graph


def action_of(index: int) -> Action:
    """The action of an identity and of its partner."""
    return ACTIONS[index // 2 % len(ACTIONS)]


def truth(stage: Stage, index: int, pictures: Path) -> str:
    """The judge's state of an identity's rendered frames by the sheet of its pictures."""
    sheet = compose(Scene.load(pictures / "scene.yaml"), output=(WIDTH, HEIGHT), grid=CELL)
    frames = stage.frames(VALIDATION[index], action_of(index), range(FRAMES))
    return Judge(sheet)(Clip(frames, FPS)).state


def strip(frames_FHWC: torch.Tensor) -> Image.Image:
    """Five of a clip's frames beside each other."""
    shown = frames_FHWC[:: len(frames_FHWC) // 4].mul(255).round().byte()
    return Image.fromarray(torch.cat(list(shown), dim=1).numpy())


def run(bundle: Path, count: int, reference: str, results: Path) -> None:
    """Make and judge clips of the first identities, and say how often the judge was right."""
    assert TREE, "set CASTSHEET_COMFYUI to a tree of ComfyUI"
    told, rows = dict(Bundle.load(bundle).preset), list[dict[str, Any]]()
    with tempfile.TemporaryDirectory() as folder:
        base, stage = Path(folder), Stage()
        server = Server(Path(TREE), base)
        try:
            for kind, names in {
                "checkpoints": ["mini.safetensors"],
                "loras": ["mini-ic-lora.safetensors", "mini-ic-lora-still.safetensors"],
            }.items():
                for name in names:
                    (base / "models" / kind).mkdir(parents=True, exist_ok=True)
                    (base / "models" / kind / name).symlink_to(bundle.resolve() / name)
            (base / "models" / "castsheet").mkdir()
            (base / "models" / "castsheet" / BUNDLE).symlink_to(bundle.resolve())
            server.wait()
            for index in range(count + count % 2):
                seed, pictures = VALIDATION[index], base / "input" / str(VALIDATION[index])
                pictures.mkdir(parents=True)
                stage.scene(seed, pictures, action_of(index)).save(pictures / "scene.yaml")
            for index in range(count):
                server.run(clip(index, reference, told) | judged(index))
                right, wrong = (server.probed(f"{name}-{index}") for name in ("right", "wrong"))
                best = truth(stage, index, base / "input" / str(VALIDATION[index]))
                rows.append({"seed": VALIDATION[index], "right": right, "wrong": wrong, "truth": best})
                print(rows[-1], server.probed(f"right-words-{index}"), flush=True)
                report = {"comfyui": tree_version(Path(TREE)), "reference": reference, "clips": rows}
                write_text(results / "states.json", json.dumps(report, indent=1) + "\n")
                strip(server.probed(f"frames-{index}")).save(results / f"{VALIDATION[index]}.png")
        finally:
            server.stop()
    passed = sum(row["right"] == "carried" for row in rows)
    denied = sum(row["right"] == "not carried" for row in rows)
    failed = sum(row["wrong"] == "not carried" for row in rows)
    possible = sum(row["truth"] == "carried" for row in rows)
    print(f"of {count} clips the right sheet passes {passed} and fails {denied}, another's fails {failed}")
    print(f"of {count} renderings of the truth the right sheet passes {possible}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--count", type=int, default=16)
    parser.add_argument("--reference", choices=("looped", "still"), default="looped")
    parser.add_argument("--out", type=Path, default=Path("out/comfy"), help="states and frames")
    options = parser.parse_args()
    run(options.bundle, options.count, options.reference, options.out)


if __name__ == "__main__":
    main()
