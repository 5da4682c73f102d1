"""Nodes after the model: did the cast carry over, and which take is best?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.latest import io, ui

from castsheet.comfy.node import CATEGORY, Node, SheetType, schema
from castsheet.comfy.wire import Board, verdict_of

if TYPE_CHECKING:
    from PIL import Image

    from castsheet.clip import Clip
    from castsheet.comfy.watch import Tell
    from castsheet.judge.judge import Judgement

TAKES = 4


class CastsheetJudge(Node):
    """A verdict on a clip against its sheet."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return schema(
            node_id="CastsheetJudge",
            display_name="Castsheet Judge",
            category=CATEGORY,
            description="Did the cast carry over? Measures leaks, identity, swaps and motion, and says what"
            " fails.",
            search_aliases=["score", "quality", "identity"],
            inputs=[
                SheetType.Input("sheet", tooltip="The sheet that the clip was made from."),
                io.Image.Input("images", optional=True, tooltip="The decoded frames; or wire a video."),
                io.Video.Input("video", optional=True, tooltip="A video instead of frames."),
                io.String.Input(
                    "order",
                    default="",
                    tooltip="Characters from left to right, where the prompt says so: mara, tom.",
                ),
                io.Boolean.Input(
                    "read_text", default=False, tooltip="Also read stray text; needs castsheet[ocr]."
                ),
            ],
            outputs=[
                io.String.Output(
                    display_name="verdict", tooltip="JSON: passed, score, verdict and everything measured."
                ),
                io.Float.Output(display_name="score", tooltip="For ranking takes, 0 to 1."),
                io.Boolean.Output(display_name="passed", tooltip="Whether the state is carried."),
                io.Image.Output(display_name="contact", tooltip="Sheet and frames in one picture."),
                io.Image.Output(
                    display_name="annotated", tooltip="Each element's worst frame, with the place looked at."
                ),
                io.String.Output(display_name="summary", tooltip="The verdict in one line."),
                io.String.Output(display_name="state", tooltip="carried, not carried, or cannot tell."),
            ],
        )

    @classmethod
    def run(cls, sheet: Board, order: str, read_text: bool, **given: Any) -> io.NodeOutput:
        """Judge in a thread, so that Cancel works."""
        import torch

        from castsheet.comfy.pictures import one_size, to_tensor
        from castsheet.comfy.watch import watched

        clip = _clip(sheet, **given)
        names = tuple(name.strip() for name in order.split(",") if name.strip())
        judgement = watched(lambda tell: _judged(sheet, clip, names, read_text, tell))
        worst = [to_tensor(one) for one in one_size(_worst(clip, judgement))]
        contact = to_tensor(clip.contact())
        return io.NodeOutput(
            verdict_json(judgement),
            judgement.score,
            judgement.passed,
            contact,
            torch.cat(worst),
            judgement.verdict,
            judgement.state,
            ui={**ui.PreviewImage(contact, cls=cls).as_dict(), "text": (judgement.verdict,)},
        )


def _clip(board: Board, images: Any = None, video: Any = None) -> Clip:
    """The frames as a clip, with the sheet for its contact sheet.

    Raises:
        SettingsError: neither frames nor a video are wired, or both.
    """
    from castsheet.clip import Clip
    from castsheet.comfy.pictures import to_frames
    from castsheet.errors import SettingsError

    if (images is None) == (video is None):
        raise SettingsError(
            "a judgement needs frames or a video, not both", remedy="wire one of images and video"
        )
    fps = board.fps
    if video is not None:
        parts = video.get_components()
        images, fps = parts.images, float(parts.frame_rate)
    return Clip(to_frames(images), fps, sheet=board.sheet.image)


def _judged(board: Board, clip: Clip, order: tuple[str, ...], read_text: bool, tell: Tell) -> Judgement:
    from dataclasses import replace

    from castsheet.comfy.watched_judge import WatchedJudge
    from castsheet.judge.judge import Options
    from castsheet.judge.models import installed_reader

    reader = installed_reader() if read_text else None
    return WatchedJudge(board.sheet, replace(Options.installed(order=order), reader=reader), tell)(clip)


def _worst(clip: Clip, judgement: Judgement) -> list[Image.Image]:
    """The worst frame of every element, with the place where it was looked for."""
    from PIL import Image

    from castsheet.comfy.pictures import marked
    from castsheet.sheet.box import Box

    shown = []
    for one in judgement.elements:
        box = Box(*one.boxes[judgement.sampled.index(one.worst)])
        word = f"{one.id} {one.identity:.2f}"
        shown.append(marked(Image.fromarray(clip.frames[one.worst]), [(box, word)]))
    return shown or [Image.fromarray(clip.frames[0])]


def verdict_json(judgement: Judgement) -> str:
    """The judgement as JSON text."""
    from castsheet.media.provenance import dump

    return dump(judgement)


class CastsheetPick(Node):
    """The best of several takes; later takes are made only while none passes."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs: a take and its verdict, up to four times."""
        takes = []
        for number in range(1, TAKES + 1):
            takes += [
                io.Image.Input(
                    f"take_{number}", optional=True, lazy=True, tooltip=f"Frames of take {number}."
                ),
                io.String.Input(
                    f"verdict_{number}",
                    optional=True,
                    lazy=True,
                    force_input=True,
                    tooltip=f"From the Castsheet Judge of take {number}.",
                ),
            ]
        return schema(
            node_id="CastsheetPick",
            display_name="Castsheet Pick",
            category=CATEGORY,
            description="Keeps the best take. With `stop_early`, take 2 is made only if take 1 fails, and so"
            " on: a re-roll without a loop.",
            inputs=[
                io.Boolean.Input("stop_early", default=True, tooltip="Make no further take once one passes."),
                *takes,
            ],
            outputs=[
                io.Image.Output(display_name="images", tooltip="The frames that are kept."),
                io.Int.Output(display_name="take", tooltip="Which take it is, from 1."),
                io.String.Output(display_name="verdict", tooltip="Its verdict."),
                io.String.Output(
                    display_name="report", tooltip="Every take that was made, in one line each."
                ),
            ],
        )

    @classmethod
    def check_lazy_status(cls, stop_early: bool, **wired: Any) -> list[str]:
        """The next take that is wanted, if any; a wire that was not followed yet is None."""
        for number in _numbers(wired):
            wanted = [name for name in (f"verdict_{number}", f"take_{number}") if name in wired]
            if any(wired[name] is None for name in wanted):
                return [name for name in wanted if wired[name] is None]
            if stop_early and _read(wired, number).get("passed"):
                return []
        return []

    @classmethod
    def run(cls, **wired: Any) -> io.NodeOutput:
        """Compare the takes that were made."""
        from castsheet.errors import SettingsError
        from castsheet.judge.reroll import picked

        made = [number for number in _numbers(wired) if wired.get(f"take_{number}") is not None]
        if not made:
            raise SettingsError(
                "no take is wired", remedy="wire frames into take_1, their verdict into verdict_1"
            )
        told = [_read(wired, number) for number in made]
        best = picked([(bool(one.get("passed")), float(one.get("score", 0.0))) for one in told])
        report = "\n".join(
            f"{'kept ' if at == best else ''}take {number}: {one.get('verdict', 'not judged')}"
            f" (score {float(one.get('score', 0.0)):.3f})"
            for at, (number, one) in enumerate(zip(made, told, strict=True))
        )
        number = made[best]
        return io.NodeOutput(
            wired[f"take_{number}"],
            number,
            wired.get(f"verdict_{number}") or "",
            report,
            ui=ui.PreviewText(report),
        )


def _numbers(wired: dict[str, Any]) -> list[int]:
    """The takes that are wired, in order."""
    return [number for number in range(1, TAKES + 1) if f"take_{number}" in wired]


def _read(wired: dict[str, Any], number: int) -> dict[str, Any]:
    """A take's verdict; empty where it was not judged."""
    name = f"verdict_{number}"
    return verdict_of(wired.get(name), name)
