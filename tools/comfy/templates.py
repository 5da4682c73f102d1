"""The six templates. `python -m tools.comfy.templates URL` writes them; URL is a running ComfyUI's."""

from __future__ import annotations

import argparse
import json
import urllib.request
from collections.abc import Callable
from pathlib import Path

from castsheet.settings import CARD
from tools.comfy.draft import Draft, api, editor

PACK = Path(__file__).parents[2] / "src" / "castsheet" / "comfy" / "pack"
MODEL = "ltx-2.3-22b-dev.safetensors"
ADAPTER = "ltx-2.3-22b-ic-lora-ingredients-0.9.safetensors"
ENCODER = "gemma_3_12B_it_fp4_mixed.safetensors"
HERO = "castsheet-hero-face.png", "castsheet-hero-front.png"
ACTION = "hero lifts the drum and walks left through the place, the camera follows."
HELD = "hero stands in the place holding the drum, then looks up. Slow push in."
SHEET_TEXT = (
    "Reference sheet: hero: a person; drum: a drum; place: a place\n\n"
    "Generated video: hero walks left through the place, lifting the drum."
)
COLUMN = 360


def photos(draft: Draft, action: str, *, strengths: tuple[float, float] = (1.0, 1.0)) -> None:
    """Four photos, three elements, one sheet."""
    for row, (name, file) in enumerate(
        zip(
            ("face", "front", "drum photo", "place photo"),
            (*HERO, "castsheet-prop.png", "castsheet-place.png"),
            strict=True,
        )
    ):
        draft.add(
            name, "LoadImage", (0, 400 * row), image=file, _title=f"Photo: {name.removesuffix(' photo')}"
        )
    draft.add(
        "hero",
        "CastsheetElement",
        (COLUMN, 0),
        id="hero",
        kind="character",
        description="a person",
        strength=strengths[0],
        face="face.IMAGE",
        front="front.IMAGE",
    )
    draft.add(
        "drum",
        "CastsheetElement",
        (COLUMN, 560),
        id="drum",
        kind="prop",
        description="a drum",
        strength=strengths[1],
        front="drum photo.IMAGE",
        previous="hero.elements",
    )
    draft.add(
        "place",
        "CastsheetElement",
        (COLUMN, 1120),
        id="place",
        kind="location",
        description="a place",
        front="place photo.IMAGE",
        previous="drum.elements",
    )
    draft.add(
        "sheet", "CastsheetSheet", (2 * COLUMN, 0), elements="place.elements", action=action, _width=380
    )


def model(draft: Draft, x: int) -> None:
    """ComfyUI's own loaders: the dev checkpoint, the adapter at the card's strength, the text encoder."""
    draft.add("checkpoint", "CheckpointLoaderSimple", (x, 0), ckpt_name=MODEL)
    draft.add(
        "adapter",
        "LoraLoaderModelOnly",
        (x, 180),
        model="checkpoint.MODEL",
        lora_name=ADAPTER,
        strength_model=CARD.lora_strength,
    )
    draft.add(
        "encoder", "LTXAVTextEncoderLoader", (x, 360), text_encoder=ENCODER, ckpt_name=MODEL, device="default"
    )
    draft.add("yes", "CLIPTextEncode", (x, 560), clip="encoder.CLIP", text="sheet.prompt", _title="Prompt")
    draft.add("no", "CLIPTextEncode", (x, 780), clip="encoder.CLIP", text="sheet.negative", _title="Negative")
    draft.add("audio vae", "LTXVAudioVAELoader", (x, 1000), ckpt_name=MODEL)


def latents(draft: Draft, x: int) -> None:
    """Texts with their frame rate, an empty latent of the sheet's size, silence."""
    draft.add(
        "timed",
        "LTXVConditioning",
        (x, 0),
        positive="yes.CONDITIONING",
        negative="no.CONDITIONING",
        frame_rate="sheet.fps",
    )
    size = {name: f"sheet.{name}" for name in ("width", "height", "length")}
    draft.add("latent", "EmptyLTXVLatentVideo", (x, 180), **size)
    draft.add("parameters", "GetICLoRAParameters", (x, 400), iclora_model="adapter.MODEL")
    draft.add(
        "silence",
        "LTXVEmptyLatentAudio",
        (x, 520),
        frames_number="sheet.length",
        frame_rate=int(CARD.fps),
        audio_vae="audio vae.Audio VAE",
    )


def our_guide(draft: Draft, at: tuple[int, int], **more: str) -> None:
    """Castsheet Guide on the latent."""
    draft.add(
        "guide",
        "CastsheetGuide",
        at,
        positive="timed.positive",
        negative="timed.negative",
        vae="checkpoint.VAE",
        latent="latent.LATENT",
        sheet="sheet.sheet",
        iclora_parameters="parameters.iclora_parameters",
        **more,
    )


def core_guide(draft: Draft, at: tuple[int, int]) -> None:
    """ComfyUI's own guide, fed by Castsheet Sheet."""
    draft.add(
        "guide",
        "LTXVAddGuide",
        at,
        positive="timed.positive",
        negative="timed.negative",
        vae="checkpoint.VAE",
        latent="latent.LATENT",
        image="sheet.reference",
        attention_mask="sheet.attention_mask",
        iclora_parameters="parameters.iclora_parameters",
    )


def joined(draft: Draft, at: tuple[int, int]) -> None:
    """Picture and sound in one latent, and what all samplers of a graph share."""
    x, y = at
    draft.add("joined", "LTXVConcatAVLatent", at, video_latent="guide.latent", audio_latent="silence.Latent")
    draft.add("levels", "LTXVScheduler", (x, y + 140), steps=CARD.steps)
    draft.add("euler", "KSamplerSelect", (x, y + 360), sampler_name="euler")
    draft.add(
        "cfg",
        "CFGGuider",
        (x, y + 480),
        model="adapter.MODEL",
        positive="guide.positive",
        negative="guide.negative",
        cfg=CARD.guidance,
    )


def sampled(draft: Draft, at: tuple[int, int], seed: int, *, ours: bool, take: str = "") -> None:
    """One take: noise, sampler, the sheet cut off, frames."""
    x, y = at
    noise, walk, apart, crop, frames = (
        f"{name}{take}" for name in ("noise", "walk", "apart", "crop", "frames")
    )
    draft.add(noise, "RandomNoise", (x, y), noise_seed=seed, _title=f"Seed{take}")
    draft.add(
        walk,
        "SamplerCustomAdvanced",
        (x, y + 120),
        noise=f"{noise}.NOISE",
        guider="cfg.GUIDER",
        sampler="euler.SAMPLER",
        sigmas="levels.SIGMAS",
        latent_image="joined.latent",
    )
    draft.add(apart, "LTXVSeparateAVLatent", (x, y + 320), av_latent=f"{walk}.output")
    wired = {"positive": "guide.positive", "negative": "guide.negative", "latent": f"{apart}.video_latent"}
    if ours:
        draft.add(crop, "CastsheetCrop", (x + COLUMN, y), guide="guide.guide", **wired)
    else:
        draft.add(crop, "LTXVCropGuides", (x + COLUMN, y), **wired)
    draft.add(frames, "VAEDecodeTiled", (x + COLUMN, y + 180), samples=f"{crop}.latent", vae="checkpoint.VAE")


def finished(draft: Draft, at: tuple[int, int], prefix: str) -> None:
    """Sound, and the file."""
    x, y = at
    draft.add(
        "sound", "LTXVAudioVAEDecode", (x, y), samples="apart.audio_latent", audio_vae="audio vae.Audio VAE"
    )
    draft.add(
        "video", "CreateVideo", (x, y + 120), images="frames.IMAGE", audio="sound.Audio", fps="sheet.fps"
    )
    draft.add("save", "SaveVideo", (x, y + 280), video="video.VIDEO", filename_prefix=prefix)


def photos_to_sheet() -> Draft:
    draft = Draft()
    photos(draft, ACTION)
    draft.add("lint", "CastsheetLint", (3 * COLUMN + 60, 0), sheet="sheet.sheet", mend=True, _width=420)
    draft.add(
        "report", "PreviewAny", (4 * COLUMN + 180, 0), source="lint.report", _title="Findings", _width=420
    )
    draft.note("01-photos-to-sheet", (3 * COLUMN + 60, -260), (420, 220))
    return draft


def sheet_to_clip() -> Draft:
    draft = Draft()
    draft.add("picture", "LoadImage", (0, 0), image="castsheet-sheet.png", _title="A ready-made sheet")
    draft.add("sheet", "CastsheetSheet", (COLUMN, 0), picture="picture.IMAGE", action=SHEET_TEXT, _width=380)
    x = 2 * COLUMN + 80
    model(draft, x)
    latents(draft, x + COLUMN)
    core_guide(draft, (x + COLUMN, 740))
    joined(draft, (x + 2 * COLUMN, 0))
    sampled(draft, (x + 2 * COLUMN, 680), 7, ours=False)
    finished(draft, (x + 4 * COLUMN, 0), "castsheet/clip")
    draft.note("02-sheet-to-clip-core-nodes", (0, -220), (700, 180))
    return draft


def one_subgraph() -> Draft:
    draft = Draft()
    photos(draft, ACTION)
    before = set(draft.boxes)
    model(draft, 0)
    latents(draft, COLUMN)
    our_guide(draft, (COLUMN, 740))
    joined(draft, (2 * COLUMN, 0))
    sampled(draft, (2 * COLUMN, 680), 7, ours=True)
    finished(draft, (4 * COLUMN, 0), "castsheet/clip")
    outside = {"save"}
    draft.inside = [name for name in draft.boxes if name not in before | outside]
    draft.boxes["save"].at = (4 * COLUMN + 60, 0)
    draft.subgraph = ("Sheet to clip (Castsheet)", 3 * COLUMN + 60, 0)
    draft.note("03-photos-to-clip-one-subgraph", (3 * COLUMN + 60, -220), (660, 180))
    return draft


def per_element_strength() -> Draft:
    draft = Draft()
    photos(draft, HELD, strengths=(1.2, 0.7))
    x = 3 * COLUMN + 60
    model(draft, x)
    latents(draft, x + COLUMN)
    our_guide(draft, (x + COLUMN, 740))
    joined(draft, (x + 2 * COLUMN, 0))
    sampled(draft, (x + 2 * COLUMN, 680), 7, ours=True)
    finished(draft, (x + 4 * COLUMN, 0), "castsheet/strength")
    draft.add("mask", "MaskToImage", (2 * COLUMN, 1000), mask="sheet.attention_mask")
    draft.add(
        "shown",
        "PreviewImage",
        (2 * COLUMN, 1120),
        images="mask.IMAGE",
        _title="Strengths (white: 1 and more)",
    )
    draft.note("04-strength-an-element", (3 * COLUMN + 60, -240), (700, 200))
    return draft


def three_takes() -> Draft:
    draft = Draft()
    photos(draft, ACTION)
    x = 3 * COLUMN + 60
    model(draft, x)
    latents(draft, x + COLUMN)
    our_guide(draft, (x + COLUMN, 740))
    joined(draft, (x + 2 * COLUMN, 0))
    for number in (1, 2, 3):
        y = 700 * (number - 1)
        sampled(draft, (x + 3 * COLUMN, y), 6 + number, ours=True, take=f" {number}")
        draft.add(
            f"judge {number}",
            "CastsheetJudge",
            (x + 5 * COLUMN, y),
            sheet="sheet.sheet",
            images=f"frames {number}.IMAGE",
            _title=f"Judge take {number}",
        )
    takes = {f"take_{n}": f"frames {n}.IMAGE" for n in (1, 2, 3)}
    verdicts = {f"verdict_{n}": f"judge {n}.verdict" for n in (1, 2, 3)}
    draft.add("pick", "CastsheetPick", (x + 6 * COLUMN, 0), **takes, **verdicts)
    draft.add(
        "save",
        "CastsheetSidecar",
        (x + 6 * COLUMN, 400),
        images="pick.images",
        filename_prefix="castsheet/best",
        sheet="sheet.sheet",
        verdict="pick.verdict",
    )
    draft.add("report", "PreviewAny", (x + 6 * COLUMN, 620), source="pick.report", _title="Takes", _width=420)
    draft.note("05-three-takes-judged", (x + 5 * COLUMN, -240), (700, 200))
    return draft


def mini_demo() -> Draft:
    draft = Draft()
    draft.add("scene", "CastsheetLoadScene", (0, 0), file="demo")
    draft.add(
        "sheet",
        "CastsheetSheet",
        (COLUMN, 0),
        elements="scene.elements",
        action="scene.action",
        cut="none",
        _width=380,
    )
    draft.add("clip", "CastsheetGenerate", (2 * COLUMN + 80, 0), sheet="sheet.sheet", seed=7)
    draft.add(
        "judge",
        "CastsheetJudge",
        (2 * COLUMN + 80, 300),
        sheet="sheet.sheet",
        images="clip.images",
        _width=420,
    )
    draft.add(
        "save",
        "CastsheetSidecar",
        (3 * COLUMN + 160, 0),
        images="clip.images",
        filename_prefix="castsheet/demo",
        sheet="sheet.sheet",
        verdict="judge.verdict",
    )
    draft.add("verdict", "PreviewAny", (3 * COLUMN + 160, 420), source="judge.summary", _title="Verdict")
    draft.note("06-mini-demo-no-download", (0, 200), (330, 220))
    return draft


TEMPLATES: dict[str, Callable[[], Draft]] = {
    "01-photos-to-sheet": photos_to_sheet,
    "02-sheet-to-clip-core-nodes": sheet_to_clip,
    "03-photos-to-clip-one-subgraph": one_subgraph,
    "04-strength-an-element": per_element_strength,
    "05-three-takes-judged": three_takes,
    "06-mini-demo-no-download": mini_demo,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("address", help="of a running ComfyUI: http://127.0.0.1:8188")
    with urllib.request.urlopen(f"{parser.parse_args().address}/object_info") as answer:
        info = json.loads(answer.read())
    for folder, write in (("example_workflows", editor), ("api", api)):
        (PACK / folder).mkdir(exist_ok=True)
        for name, make in TEMPLATES.items():
            text = json.dumps(write(make(), info), indent=1) + "\n"
            (PACK / folder / f"{name}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
