"""Nodes around the sampler: the sheet goes in as a guide, and comes off again.

Legend: B batch, C channels, F latent frames, H height, W width, T guide tokens.
"""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from castsheet.comfy.node import CATEGORY, GuideType, IcLoraType, Node, SheetType, schema
from castsheet.comfy.wire import CELL, Board, Guided, clip_length

KEYFRAMES, ENTRIES = (
    "keyframe_idxs",
    "guide_attention_entries",
)  # of CONDITIONING, as ComfyUI's core names them


class CastsheetGuide(Node):
    """The sheet as ComfyUI's own guide, at the latent's size."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return schema(
            node_id="CastsheetGuide",
            display_name="Castsheet Guide",
            category=CATEGORY,
            description="Adds the sheet with ComfyUI's own LTXVAddGuide, at the latent's exact size, with"
            " strengths an element. Put it before the audio latent is joined, and Castsheet Crop after the"
            " sampler.",
            enable_expand=True,
            inputs=[
                io.Conditioning.Input("positive", tooltip="The encoded prompt."),
                io.Conditioning.Input("negative", tooltip="The encoded negative prompt."),
                io.Vae.Input("vae", tooltip="The checkpoint's video VAE."),
                io.Latent.Input("latent", tooltip="The video latent, without audio."),
                SheetType.Input("sheet", tooltip="From Castsheet Sheet or Lint."),
                io.Combo.Input(
                    "reference",
                    options=["as the sheet says", "looped", "still"],
                    default="as the sheet says",
                    tooltip="looped: for the whole clip. still: one frame, for adapters trained on it.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=10.0,
                    step=0.01,
                    tooltip="Of the whole sheet. Below 1 it is also shown with noise; to weaken one element,"
                    " use `strengths`.",
                ),
                io.String.Input(
                    "strengths",
                    default="",
                    tooltip="Of single elements: hero=1.2 lamp=0.5. They replace the elements' own.",
                ),
                IcLoraType.Input(
                    "iclora_parameters",
                    optional=True,
                    tooltip="From Get IC-LoRA Parameters, for adapters that read a smaller sheet.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive"),
                io.Conditioning.Output(display_name="negative"),
                io.Latent.Output(display_name="latent"),
                GuideType.Output(display_name="guide", tooltip="For Castsheet Crop: where the clip ends."),
            ],
        )

    @classmethod
    def run(cls, iclora_parameters: Any = None, **inputs: Any) -> io.NodeOutput:
        """Expand into LTXVAddGuide."""
        from comfy_execution.graph_utils import GraphBuilder

        samples = inputs["latent"]["samples"]
        board: Board = inputs["sheet"]
        _refuse_audio(samples)
        clip_frames = int(samples.shape[2]) - guide_frames(inputs["positive"], samples)
        size = (int(samples.shape[4]) * CELL, int(samples.shape[3]) * CELL)
        image, mask = _shown(board, size, inputs["reference"], inputs["strengths"], clip_frames)
        graph = GraphBuilder()
        optional = {"attention_mask": mask, "iclora_parameters": iclora_parameters}
        guide = graph.node(
            "LTXVAddGuide",
            **{name: inputs[name] for name in ("positive", "negative", "vae", "latent", "strength")},
            image=image,
            frame_idx=0,
            **{name: value for name, value in optional.items() if value is not None},
        )
        out = (guide.out(0), guide.out(1), guide.out(2), Guided(clip_frames))
        return io.NodeOutput(*out, expand=graph.finalize())


def _refuse_audio(samples: Any) -> None:
    """Refuse a latent that holds sound: the guide would be appended to both.

    Raises:
        SettingsError: it does.
    """
    from castsheet.errors import SettingsError

    if hasattr(samples, "unbind") and getattr(samples, "is_nested", False):
        raise SettingsError(
            "the latent holds sound already", remedy="put Castsheet Guide before LTXVConcatAVLatent"
        )
    if samples.ndim != 5:
        raise SettingsError(
            f"the latent has {samples.ndim} dimensions, a video's has 5",
            remedy="wire EmptyLTXVLatentVideo, or another video latent",
        )


def _shown(board: Board, size: tuple[int, int], reference: str, strengths: str, clip_frames: int) -> Any:
    """The image batch for the guide, and its mask or None where all strengths are 1."""
    from castsheet.comfy.pictures import strength_mask, to_tensor

    mode = board.reference if reference.startswith("as") else reference
    image = to_tensor(board.sheet.conditioning_image(*size))
    frames = clip_length(clip_frames) if mode == "looped" else 1
    own = read_strengths(strengths)
    mask = strength_mask(board.sheet, own or board.strengths, size)
    return image.expand(frames, -1, -1, -1), None if bool((mask == 1).all()) else mask


def read_strengths(text: str) -> dict[str, float]:
    """`hero=1.2 lamp=0.5` as numbers by name, as `castsheet generate --strength` reads it.

    Raises:
        SettingsError: it cannot be read.
    """
    from castsheet.settings import Settings
    from castsheet.settings.kinds import described

    found: dict[str, float] = described(Settings)["strength"].kind.from_option(text or "none")
    return found


def guide_frames(conditioning: Any, samples: Any) -> int:
    """Latent frames that guides have appended to a latent so far, of whatever node and at whatever time.

    Every guide adds the coordinates of its tokens to the conditioning, (1,3,T,2); a frame has one for each
    cell. Counting different start times instead takes two guides of one time for one.
    """
    tokens = next((int(one[1][KEYFRAMES].shape[2]) for one in conditioning if _has(one, KEYFRAMES)), 0)
    return tokens // (int(samples.shape[3]) * int(samples.shape[4]))


def _has(one: Any, key: str) -> bool:
    return one[1].get(key) is not None


class CastsheetCrop(Node):
    """Guides off, before the decoder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return schema(
            node_id="CastsheetCrop",
            display_name="Castsheet Crop",
            category=CATEGORY,
            description="Cuts every guide off the sampled latent, so that no frame of the sheet is decoded."
            " Right with several guides at one time, and with sound in the latent.",
            inputs=[
                io.Conditioning.Input("positive", tooltip="The one that went into the sampler."),
                io.Conditioning.Input("negative", tooltip="The one that went into the sampler."),
                io.Latent.Input("latent", tooltip="From the sampler; with or without sound."),
                GuideType.Input(
                    "guide", optional=True, tooltip="From Castsheet Guide. Without it, guides are counted."
                ),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive"),
                io.Conditioning.Output(display_name="negative"),
                io.Latent.Output(display_name="latent"),
            ],
        )

    @classmethod
    def run(cls, positive: Any, negative: Any, latent: Any, guide: Guided | None = None) -> io.NodeOutput:
        """Cut, and forget the guides in the conditioning."""
        samples = latent["samples"]
        video = samples.unbind()[0] if getattr(samples, "is_nested", False) else samples
        frames = guide.clip_frames if guide else int(video.shape[2]) - guide_frames(positive, video)
        out = {**latent, "samples": _first(samples, frames)}
        if latent.get("noise_mask") is not None:
            out["noise_mask"] = _first(latent["noise_mask"], frames)
        return io.NodeOutput(_forgotten(positive), _forgotten(negative), out)


def _first(value: Any, frames: int) -> Any:
    """The first frames of a video tensor (B,C,F,H,W); of a latent with sound, those of its video half."""
    if getattr(value, "is_nested", False):
        video, *sound = value.unbind()
        return type(value)((video[:, :, :frames], *sound))
    return value[:, :, :frames]


def _forgotten(conditioning: Any) -> list[Any]:
    """The conditioning without guides. It may serve another sampler, whose latent has none."""
    return [[tensor, {**extras, KEYFRAMES: None, ENTRIES: None}] for tensor, extras in conditioning]
