"""Nodes that make things with Castsheet's own pipeline, and the node that saves a clip with what made it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfy_api.latest import InputImpl, Types, io

from castsheet.comfy.node import CATEGORY, Node, SheetType, bundle_path, bundles, schema
from castsheet.comfy.wire import Board, verdict_of

if TYPE_CHECKING:
    from castsheet.clip import Clip
    from castsheet.comfy.watch import Tell


def _bundle_input() -> Any:
    return io.Combo.Input(
        "bundle",
        options=bundles(),
        default="mini",
        tooltip="mini is embedded and needs no download; others are folders in models/castsheet.",
    )


class CastsheetEncodePrompt(Node):
    """A prompt in a bundle's own text encoder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return schema(
            node_id="CastsheetEncodePrompt",
            display_name="Castsheet Encode Prompt",
            category=CATEGORY,
            description="Encodes a prompt with a bundle's own text encoder, for models whose encoder ComfyUI"
            " cannot load.",
            inputs=[
                _bundle_input(),
                io.String.Input("prompt", default="", multiline=True, tooltip="The whole prompt."),
            ],
            outputs=[io.Conditioning.Output(display_name="conditioning")],
        )

    @classmethod
    def run(cls, bundle: str, prompt: str) -> io.NodeOutput:
        """Encode; video and audio contexts lie side by side in the last dimension, as ComfyUI wants them."""
        import torch

        from castsheet.comfy.watch import watched

        found = watched(lambda _tell: _contexts(bundle_path(bundle), prompt))
        parts = [one for one in (found.video_BLD, found.audio_BLD) if one is not None]
        return io.NodeOutput([[torch.cat(parts, dim=-1).float().cpu(), {}]])


def _contexts(model: str, prompt: str) -> Any:
    from castsheet.pipeline import Castsheet

    models = Castsheet.load(model).models
    return models.contexts([prompt], audio=models.source.checkpoint.has_audio)[0]


class CastsheetGenerate(Node):
    """A clip by Castsheet's own pipeline."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return schema(
            node_id="CastsheetGenerate",
            display_name="Castsheet Generate",
            category=CATEGORY,
            description="Makes a clip with Castsheet's own pipeline: the embedded mini, or a bundle. For"
            " LTX-2.3 itself use ComfyUI's own loaders and samplers, with Castsheet Guide.",
            inputs=[
                SheetType.Input("sheet", tooltip="From Castsheet Sheet; its prompt is used."),
                _bundle_input(),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=2**63 - 1,
                    control_after_generate=True,
                    tooltip="Another number gives another take.",
                ),
                io.Int.Input("steps", default=0, min=0, max=1000, tooltip="0 takes the model's own number."),
            ],
            outputs=[
                io.Image.Output(display_name="images", tooltip="The frames."),
                io.Video.Output(display_name="video", tooltip="Frames and sound, for Save Video."),
                io.Float.Output(display_name="fps", tooltip="Frames a second."),
            ],
        )

    @classmethod
    def run(cls, sheet: Board, bundle: str, seed: int, steps: int) -> io.NodeOutput:
        """Generate at the model's own size; the sheet is scaled to it."""
        import torch

        from castsheet.comfy.watch import watched

        clip = watched(lambda tell: _made(sheet, bundle_path(bundle), seed, steps, tell))
        images = torch.from_numpy(clip.frames).float() / 255
        sound = None
        if clip.audio is not None:
            wave = torch.from_numpy(clip.audio.T.copy())[None]
            sound = {"waveform": wave, "sample_rate": clip.audio_rate}
        parts = Types.VideoComponents(images=images, audio=sound, frame_rate=Fraction(clip.fps))
        return io.NodeOutput(images, InputImpl.VideoFromComponents(parts), clip.fps)


def _made(board: Board, model: str, seed: int, steps: int, tell: Tell) -> Clip:
    from castsheet.errors import DependencyError, PromptError

    if not board.prompt:
        raise PromptError("the sheet has no action", remedy="write what happens into the Sheet node's action")
    try:
        from castsheet.pipeline import Castsheet
    except ImportError as error:
        raise DependencyError(
            f"Castsheet's own pipeline needs {error.name}",
            remedy="pip install castsheet, with its dependencies",
        ) from error
    castsheet = Castsheet.load(model)
    own: dict[str, Any] = {} if steps == 0 else {"steps": steps}
    strength = dict(board.strengths)
    return castsheet(
        board.sheet,
        prompt=board.prompt,
        seed=seed,
        on_step=lambda step, count, _latents: tell(step, count, None),
        strength=strength,
        **own,
    )


class CastsheetSidecar(Node):
    """A clip on disk, with a contact sheet and a record of what made it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return schema(
            node_id="CastsheetSidecar",
            display_name="Castsheet Save Clip + Sidecar",
            category=CATEGORY,
            description="Saves an MP4, its contact sheet, and a JSON with the sheet's hash, the prompt, the"
            " verdict and the whole workflow.",
            is_output_node=True,
            inputs=[
                io.Image.Input("images", tooltip="The decoded frames."),
                io.String.Input(
                    "filename_prefix", default="castsheet/clip", tooltip="In ComfyUI's output folder."
                ),
                SheetType.Input("sheet", tooltip="Names the sheet, the prompt and the frame rate."),
                io.Audio.Input("audio", optional=True, tooltip="Sound for the MP4."),
                io.String.Input(
                    "verdict", optional=True, force_input=True, tooltip="From Castsheet Judge or Pick."
                ),
            ],
            outputs=[
                io.String.Output(display_name="file", tooltip="The MP4, relative to the output folder.")
            ],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
        )

    @classmethod
    def run(
        cls, images: Any, filename_prefix: str, sheet: Board, audio: Any = None, verdict: str | None = None
    ) -> io.NodeOutput:
        """Write the three files, whole or not at all."""
        import folder_paths

        from castsheet.clip import Clip
        from castsheet.comfy.pictures import to_frames

        root = Path(folder_paths.get_output_directory())
        folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(filename_prefix, str(root))
        wave, rate = (None, None) if audio is None else _sound(audio)
        record = _record(sheet, verdict, cls.hidden.prompt)
        clip = Clip(to_frames(images), sheet.fps, wave, rate, sheet=sheet.sheet.image, provenance=record)
        files = clip.save(_free(Path(folder), name, counter))
        told = {"filename": files.video.name, "subfolder": subfolder, "type": "output"}
        shown = {"images": [told], "animated": (True,)}
        return io.NodeOutput(files.video.relative_to(root).as_posix(), ui=shown)


def _free(folder: Path, name: str, counter: int) -> Path:
    """The first name from the counter on that no file has; ComfyUI counts pictures only."""
    while (path := folder / f"{name}_{counter:05}.mp4").exists():
        counter += 1
    return path


def _sound(audio: Any) -> tuple[Any, int]:
    """AUDIO (1,C,S) as float32 (S,2) and its rate."""
    wave = audio["waveform"][0].float().clamp(-1, 1).cpu()
    stereo = wave.expand(2, -1) if wave.shape[0] == 1 else wave[:2]
    return stereo.T.contiguous().numpy(), int(audio["sample_rate"])


def _record(board: Board, verdict: str | None, workflow: Any) -> dict[str, Any]:
    """What made the clip."""
    from castsheet.prompt import parse

    judged = verdict_of(verdict, "verdict") or None
    action = parse(board.prompt).action if board.prompt else ""
    return {
        "notes": {"action": action} | ({} if judged is None else {"verdict": str(judged.get("verdict"))}),
        "prompt": board.prompt,
        "strength": dict(board.strengths),
        "sheet": {"sha256": board.sheet.sha256},
        "verdict": judged,
        "comfyui": workflow,
    }
