"""Workflows for the tests, in the API's format."""

from __future__ import annotations

from typing import Any

Graph = dict[str, dict[str, Any]]
CONTEXT = 576  # the toy's text context: both streams' widths, side by side


def node(kind: str, /, **inputs: Any) -> dict[str, Any]:
    """A node; a link is ["id", slot]."""
    return {"class_type": kind, "inputs": inputs}


def photos(files: dict[str, str], **sheet: Any) -> Graph:
    """A hero and a place from files of the input folder, on a sheet "sheet"."""
    settings: dict[str, Any] = {
        "width": 128,
        "height": 64,
        "length": 17,
        "fps": 24.0,
        "action": "hero waves",
        "reference": "looped",
        "cut": "none",
        "prompt_format": "prose",
    }
    graph = {f"load {view}": node("LoadImage", image=name) for view, name in files.items()}
    if "elements" in sheet:
        return {"sheet": node("CastsheetSheet", **(settings | sheet))}
    views = {view: [f"load {view}", 0] for view in files if view != "place"}
    told = {"description": "a person in red", "strength": 1.0, "importance": 1.0}
    graph["hero"] = node("CastsheetElement", id="hero", kind="character", **told, **views)
    if "place" in files:
        told["description"] = "a meadow"
        place = {"front": ["load place", 0], "previous": ["hero", 0]}
        graph["barn"] = node("CastsheetElement", id="barn", kind="location", **told, **place)
    last = "barn" if "place" in files else "hero"
    graph["sheet"] = node("CastsheetSheet", elements=[last, 0], **(settings | sheet))
    return graph


def toy_model(length: int = 17) -> Graph:
    """The toy checkpoint, two texts, and an empty latent of 128 x 64."""
    return {
        "model": node("CheckpointLoaderSimple", ckpt_name="toy.safetensors"),
        "yes": node("ProbeText", width=CONTEXT, seed=1),
        "no": node("ProbeText", width=CONTEXT, seed=2),
        "timed": node("LTXVConditioning", positive=["yes", 0], negative=["no", 0], frame_rate=24.0),
        "latent": node("EmptyLTXVLatentVideo", width=128, height=64, length=length, batch_size=1),
    }


def sampled(guide: str, *, steps: int = 2, seed: int = 5) -> Graph:
    """Sound beside the guided latent, sampled by ComfyUI's own sampler, taken apart again."""
    return {
        "audio vae": node("LTXVAudioVAELoader", ckpt_name="toy.safetensors"),
        "silence": node(
            "LTXVEmptyLatentAudio", frames_number=17, frame_rate=24, batch_size=1, audio_vae=["audio vae", 0]
        ),
        "joined": node("LTXVConcatAVLatent", video_latent=[guide, 2], audio_latent=["silence", 0]),
        "sampler": node(
            "KSampler",
            model=["model", 0],
            positive=[guide, 0],
            negative=[guide, 1],
            latent_image=["joined", 0],
            seed=seed,
            steps=steps,
            cfg=3.0,
            sampler_name="euler",
            scheduler="simple",
            denoise=1.0,
        ),
    }


def our_guide(**inputs: Any) -> dict[str, Any]:
    """The Castsheet Guide node on the toy model's graph."""
    told: dict[str, Any] = {"reference": "as the sheet says", "strength": 1.0, "strengths": ""}
    wired = {"positive": ["timed", 0], "negative": ["timed", 1], "vae": ["model", 2], "latent": ["latent", 0]}
    return node("CastsheetGuide", sheet=["sheet", 0], **(told | wired | inputs))


def our_crop(guide: str = "guide", **inputs: Any) -> dict[str, Any]:
    """The Castsheet Crop node after the sampler."""
    wired = {"positive": [guide, 0], "negative": [guide, 1], "latent": ["sampler", 0], "guide": [guide, 3]}
    return node("CastsheetCrop", **(wired | inputs))


def decoded() -> Graph:
    """The cropped latent as frames and an MP4."""
    return {
        "apart": node("LTXVSeparateAVLatent", av_latent=["crop", 2]),
        "frames": node("VAEDecode", samples=["apart", 0], vae=["model", 2]),
        "video": node("CreateVideo", images=["frames", 0], fps=["sheet", 10]),
        "saved": node("SaveVideo", video=["video", 0], filename_prefix="clip", format="mp4", codec="h264"),
    }


def save(name: str, link: list[Any]) -> dict[str, Any]:
    """A window on a wire."""
    return node("ProbeSave", value=link, name=name)
