"""Nodes before the model: elements, and the sheet that they make."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io, ui

from castsheet.comfy.node import CATEGORY, ElementType, Node, SheetType, kept_folder, schema
from castsheet.comfy.wire import CELL, TEMPORAL, Board, Cast

if TYPE_CHECKING:
    from castsheet.sheet.manifest import Sheet

VIEW_INPUTS = {
    "face": "face",
    "front": "front",
    "three_quarter": "three-quarter",
    "side": "side",
    "back": "back",
    "detail": "detail",
}
_VIEW_TIPS = {
    "face": "Close-up of the face. Feeds the panel by which the model knows a person.",
    "front": "Whole figure from the front. Props and locations: their pictures go here.",
    "three_quarter": "Whole figure, turned a little.",
    "side": "Whole figure from the side.",
    "back": "Whole figure from behind.",
    "detail": "A detail: a pattern, a badge. Not a view of its own for a character.",
}
_ID = re.compile(r"[a-z][a-z0-9_-]*")
KINDS = ["character", "prop", "location"]
CUTS = ["u2netp", "u2net", "plain", "none"]
FORMATS = ["prose", "inline", "markdown"]


class CastsheetElement(Node):
    """One person, thing or place."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        views = [
            io.Image.Input(name, optional=True, tooltip=f"{tip} A batch counts as several pictures.")
            for name, tip in _VIEW_TIPS.items()
        ]
        return schema(
            node_id="CastsheetElement",
            display_name="Castsheet Element",
            category=CATEGORY,
            description="A character, prop or location and its pictures. Chain elements by `previous`.",
            search_aliases=["character sheet", "reference sheet", "ingredients"],
            inputs=[
                io.String.Input("id", default="hero", tooltip="Its name in prompts: hero, old_man, lamp-2."),
                io.Combo.Input("kind", options=KINDS, default="character", tooltip="What it is."),
                io.String.Input(
                    "description",
                    default="",
                    multiline=True,
                    tooltip="What the pictures show, in a few words; it becomes the prompt's first half.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.05,
                    max=4.0,
                    step=0.05,
                    tooltip="How strongly the clip attends to its panels. 1 is usual; other values make steps"
                    " slower.",
                ),
                io.Float.Input(
                    "importance",
                    default=1.0,
                    min=0.1,
                    max=10.0,
                    step=0.1,
                    tooltip="Its share of the sheet: 2 gets about twice the area. Larger panels carry over"
                    " better.",
                ),
                *views,
                io.Boolean.Input(
                    "human",
                    default=True,
                    optional=True,
                    tooltip="Off for a puppet, a robot or an animal: the judge then looks at the whole"
                    " figure, not at the face.",
                ),
                ElementType.Input("previous", optional=True, tooltip="Elements that come before this one."),
            ],
            outputs=[
                ElementType.Output(display_name="elements", tooltip="This element after the ones before it.")
            ],
        )

    @classmethod
    def validate_inputs(cls, id: str) -> bool | str:
        """Refuse a name that a prompt could not use, before anything runs."""
        if _ID.fullmatch(id.strip()):
            return True
        return f"id {id!r} is no name. Fix: use a lower-case letter, then letters, digits, - or _"

    @classmethod
    def run(cls, previous: Cast | None = None, strength: float = 1.0, **inputs: Any) -> io.NodeOutput:
        """Keep the pictures as files, as scenes know them."""
        from castsheet.comfy.pictures import keep, to_pictures
        from castsheet.elements import Scene

        images = {
            view: [keep(one, kept_folder()) for one in to_pictures(inputs[name])]
            for name, view in VIEW_INPUTS.items()
            if inputs.get(name) is not None
        }
        told = {key: inputs[key] for key in ("id", "kind", "description", "importance")}
        if not inputs.get("human", True) and told["kind"] == "character":
            told["human"] = False
        mine = Scene(elements=({**told, "images": images},)).elements  # type: ignore[arg-type]
        strengths = {} if strength == 1 else {mine[0].id: strength}
        return io.NodeOutput((previous or Cast(())) + Cast(mine, strengths))


def _sheet_inputs() -> list[Any]:
    """Inputs of the Sheet node."""
    return [
        ElementType.Input("elements", optional=True, tooltip="Who and what the sheet shows."),
        io.Int.Input(
            "width", default=768, min=64, max=8192, step=CELL, tooltip="Of the clip; 768 is trained."
        ),
        io.Int.Input(
            "height", default=448, min=64, max=8192, step=CELL, tooltip="Of the clip; 448 is trained."
        ),
        io.Int.Input(
            "length", default=121, min=1, max=8193, step=TEMPORAL, tooltip="Frames, 8 n + 1; 121 is trained."
        ),
        io.Float.Input(
            "fps", default=24.0, min=1.0, max=120.0, step=1.0, tooltip="Frames a second; 24 is trained."
        ),
        io.String.Input(
            "action",
            default="",
            multiline=True,
            tooltip="What happens in the clip, with the elements' names. A whole two-part prompt is used as"
            " it is.",
        ),
        io.Combo.Input(
            "reference",
            options=["looped", "still"],
            default="looped",
            tooltip="looped: the sheet for the whole clip, as the published adapter was trained. still: one"
            " frame, faster, for adapters trained on it.",
        ),
        io.Combo.Input(
            "cut",
            options=CUTS,
            default="u2netp",
            tooltip="How people and things are cut out: a small or a large network, plain backgrounds only,"
            " or not at all.",
        ),
        io.Combo.Input(
            "prompt_format",
            options=FORMATS,
            default="prose",
            tooltip="Layout of the two-part prompt; prose is the model card's.",
        ),
        io.Image.Input(
            "picture", optional=True, tooltip="A ready-made sheet instead of elements; used as it is."
        ),
        io.String.Input(
            "manifest",
            optional=True,
            force_input=True,
            tooltip="The JSON that belongs to the ready-made sheet; without it its panels are not known.",
        ),
    ]


class CastsheetSheet(Node):
    """The reference sheet, and everything that an own LTXVAddGuide needs."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return schema(
            node_id="CastsheetSheet",
            display_name="Castsheet Sheet",
            category=CATEGORY,
            description="Composes the reference sheet and the prompt. Wire `reference`, `attention_mask`, the"
            " prompts and the sizes into your own nodes, or `sheet` into Castsheet Guide.",
            search_aliases=["reference sheet", "ingredients", "ic-lora sheet"],
            inputs=_sheet_inputs(),
            outputs=[
                SheetType.Output(display_name="sheet", tooltip="The sheet with all that is known of it."),
                io.Image.Output(display_name="image", tooltip="The sheet at the clip's size."),
                io.Image.Output(
                    display_name="reference", tooltip="The sheet for LTXVAddGuide: looped, or one frame."
                ),
                io.Mask.Output(
                    display_name="attention_mask",
                    tooltip="Strengths, one value a latent cell; ones if all are 1.",
                ),
                io.Mask.Output(display_name="panel_masks", tooltip="One mask a panel."),
                io.String.Output(display_name="prompt", tooltip="Two-part prompt, for the positive text."),
                io.String.Output(display_name="negative", tooltip="The model card's negative prompt."),
                io.Int.Output(display_name="width"),
                io.Int.Output(display_name="height"),
                io.Int.Output(display_name="length"),
                io.Float.Output(display_name="fps"),
                io.String.Output(
                    display_name="manifest", tooltip="The sheet's JSON, as `castsheet sheet` writes it."
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, width: Any = None, height: Any = None, length: Any = None) -> bool | str:
        """Refuse sizes that the model has no cells for, before anything runs. None: comes along a wire."""
        for name, value, step, rest in (
            ("width", width, CELL, 0),
            ("height", height, CELL, 0),
            ("length", length, TEMPORAL, 1),
        ):
            if isinstance(value, int) and value % step != rest:
                low = (value - rest) // step * step + rest
                wanted = f"a multiple of {step}" if rest == 0 else f"{step} n + {rest}"
                return f"{name} {value} is not {wanted}. Fix: use {low} or {low + step}"
        return True

    @classmethod
    def run(cls, **inputs: Any) -> io.NodeOutput:
        """Compose, and lay out what other nodes want of it."""
        from castsheet.comfy.pictures import panel_masks, strength_mask, to_tensor
        from castsheet.comfy.watch import watched

        size = (inputs["width"], inputs["height"])
        board = watched(lambda _tell: _board(size, inputs))
        image = to_tensor(board.sheet.conditioning_image(*size))
        frames = board.length if board.reference == "looped" else 1
        return io.NodeOutput(
            board,
            image,
            image.expand(frames, -1, -1, -1),
            strength_mask(board.sheet, board.strengths, size),
            panel_masks(board.sheet, size),
            board.prompt,
            board.negative,
            *size,
            board.length,
            board.fps,
            board.sheet.to_json(),
            ui=ui.PreviewImage(image, cls=cls),
        )


def _board(size: tuple[int, int], inputs: dict[str, Any]) -> Board:
    from castsheet.errors import SceneError
    from castsheet.settings import NEGATIVE_PROMPT

    cast, picture = inputs.get("elements"), inputs.get("picture")
    if (cast is None) == (picture is None):
        raise SceneError(
            "a sheet needs elements, or a ready-made picture, not both",
            remedy="wire a Castsheet Element into elements, or an image into picture",
        )
    if cast is not None:
        sheet, strengths = _composed(cast, size, inputs["cut"]), cast.strengths
    else:
        sheet, strengths = _ready(picture, inputs.get("manifest")), {}
    return Board(
        sheet,
        *size,
        inputs["length"],
        inputs["fps"],
        inputs["reference"],
        _prompt(sheet, inputs["action"], inputs["prompt_format"]),
        NEGATIVE_PROMPT,
        strengths,
    )


def _composed(cast: Cast, size: tuple[int, int], cut: str) -> Sheet:
    from castsheet.elements import Scene
    from castsheet.jobs.inputs import tools_for
    from castsheet.sheet.compose import compose

    scene = Scene(elements=cast.elements)
    return compose(scene, output=size, grid=CELL, tools=tools_for(scene, cut))


def _ready(picture: Any, manifest: str | None) -> Sheet:
    """A ready-made sheet; its JSON must belong to it."""
    from castsheet.comfy.pictures import keep, to_pictures
    from castsheet.machine.files import write_text
    from castsheet.sheet.manifest import Sheet

    path = keep(to_pictures(picture[:1])[0], kept_folder() / ("known" if manifest else "bare"))
    if manifest:
        write_text(path.with_suffix(".json"), manifest)
    return Sheet.load(path)


def _prompt(sheet: Sheet, action: str, format: Any) -> str:
    """The two-part prompt; empty while there is no action, so that a sheet can be looked at first."""
    from castsheet.prompt import build

    return build(sheet, action, format).text if action.strip() else ""
