"""The Lint node: a sheet, a prompt and the whole graph, checked before minutes are spent on them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io, ui

from castsheet.comfy.node import CATEGORY, Node, SheetType, schema
from castsheet.comfy.wire import CELL, TEMPORAL, Board

if TYPE_CHECKING:
    from castsheet.lint.findings import Finding


class CastsheetLint(Node):
    """Everything that the checks say, and the values mended where they can be."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return schema(
            node_id="CastsheetLint",
            display_name="Castsheet Lint",
            category=CATEGORY,
            description="Checks the sheet, the prompt and this workflow's own widgets and wires: sizes,"
            " frames, rates, adapter, a forgotten crop. Hands the sheet on, mended if asked.",
            search_aliases=["check", "validate"],
            is_output_node=True,
            inputs=[
                SheetType.Input("sheet", tooltip="From Castsheet Sheet."),
                io.Model.Input(
                    "model",
                    optional=True,
                    tooltip="After the adapter's loader: its metadata is held against the sheet.",
                ),
                io.Boolean.Input(
                    "mend",
                    default=False,
                    tooltip="Mend what needs no new pictures: text on the sheet, layout, sizes.",
                ),
                io.Boolean.Input(
                    "look", default=True, tooltip="Read text and find faces with the models installed."
                ),
                io.Combo.Input(
                    "on_error",
                    options=["report", "stop"],
                    default="report",
                    tooltip="stop: an error ends the run before the sampler.",
                ),
            ],
            outputs=[
                SheetType.Output(display_name="sheet"),
                io.Image.Output(display_name="image", tooltip="The sheet at the clip's size."),
                io.String.Output(display_name="prompt", tooltip="Two-part prompt, for the positive text."),
                io.Int.Output(display_name="width"),
                io.Int.Output(display_name="height"),
                io.Int.Output(display_name="length"),
                io.Float.Output(display_name="fps"),
                io.String.Output(
                    display_name="report", tooltip="Every finding in a line: what is so, and what to do."
                ),
                io.Image.Output(
                    display_name="annotated", tooltip="The sheet with the findings' places on it."
                ),
                io.Boolean.Output(display_name="ok", tooltip="Whether no error was found."),
            ],
            hidden=[io.Hidden.prompt],
        )

    @classmethod
    def run(cls, sheet: Board, mend: bool, look: bool, on_error: str, model: Any = None) -> io.NodeOutput:
        """Check, mend, and report."""
        from castsheet.comfy.pictures import marked, to_tensor
        from castsheet.comfy.watch import watched
        from castsheet.errors import LintRefused
        from castsheet.lint.findings import gravest_first, worst

        board, found, done = watched(lambda _tell: _looked(sheet, mend, look))
        found = [*found, *_graph_findings(cls.hidden.prompt), *_adapter_findings(model, board)]
        ok = worst(found) != "error"
        lines = [f"mended {step}" for step in done]
        lines += [f"look at {doubt}" for doubt in board.sheet.layout.get("doubts", ())]
        lines += [
            f"{one.severity} {one.rule}: {one.message}. Fix: {one.remedy}" for one in gravest_first(found)
        ]
        report = "\n".join(lines) or "all well"
        if not ok and on_error == "stop":
            errors = [one for one in found if one.severity == "error"]
            raise LintRefused(
                "; ".join(f"{one.rule} {one.message}" for one in errors), remedy=errors[0].remedy
            )
        marks = [(one.where, one.rule) for one in found if one.where is not None]
        annotated = to_tensor(marked(board.sheet.image, marks))
        image = to_tensor(board.sheet.conditioning_image(board.width, board.height))
        values = (board.prompt, board.width, board.height, board.length, board.fps)
        shown = {**ui.PreviewImage(annotated, cls=cls).as_dict(), "text": (report,)}
        return io.NodeOutput(board, image, *values, report, annotated, ok, ui=shown)


def _looked(board: Board, mend: bool, look: bool) -> tuple[Board, list[Finding], list[str]]:
    """The board, mended if asked; what the checks say of it; and what was done."""
    from castsheet.jobs.inputs import installed_readers
    from castsheet.lint.panels import lint_sheet
    from castsheet.lint.prompt import lint_prompt

    readers = installed_readers() if look else None
    done: list[str] = []
    if mend:
        board, done = _whole(board)
    size = (board.width, board.height)
    found = lint_sheet(board.sheet, output=size, grid=CELL, readers=readers)
    if mend:
        from castsheet.authoring.fix import fix

        mended = fix(board.sheet, output=size, grid=CELL, readers=readers, found=found)
        board, found = replace(board, sheet=mended.sheet), list(mended.findings)
        done += mended.done
    words = lint_prompt(board.prompt, board.sheet) if board.prompt else []
    return board, [*found, *words, *_video_findings(board)], done


def _whole(board: Board) -> tuple[Board, list[str]]:
    """Sizes on the latent grid; a sheet from Castsheet Sheet has them, one from elsewhere may not."""
    width, height = (max(2, round(side / CELL)) * CELL for side in (board.width, board.height))
    length = max(0, round((board.length - 1) / TEMPORAL)) * TEMPORAL + 1
    if (width, height, length) == (board.width, board.height, board.length):
        return board, []
    told = f"size and length: {width} x {height}, {length} frames"
    return replace(board, width=width, height=height, length=length), [told]


def _video_findings(board: Board) -> list[Finding]:
    from castsheet.lint.video import lint_video
    from castsheet.ltx.family import DEFAULT
    from castsheet.settings import CARD, override

    asked = {"width": board.width, "height": board.height, "frames": board.length, "fps": board.fps}
    return lint_video(override(CARD, asked), CARD, grid=CELL, family=DEFAULT.name)


def _graph_findings(prompt: Any) -> list[Finding]:
    """What the checks say of the workflow that this node stands in."""
    from castsheet.lint.workflow import lint_workflow

    return lint_workflow(prompt or {})


def _adapter_findings(model: Any, board: Board) -> list[Finding]:
    """The adapter's own metadata, as ComfyUI's loader attaches it, against the way the sheet is held."""
    from castsheet.lint.findings import Finding
    from castsheet.ltx.adapters.lora_file import MODE

    attached = getattr(model, "get_attachment", lambda _key: None)("lora_metadata")
    stated = attached.get(MODE) if isinstance(attached, dict) else None
    if stated in (None, board.reference):
        return []
    message = f"the adapter was trained on {stated} sheets, this sheet is {board.reference}"
    return [Finding("V02", "error", message, f"set the Sheet node's reference to {stated}")]
