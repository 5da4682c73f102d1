"""Checks of ComfyUI workflows: what the graph's own widgets and wires will do to the sheet and to the clip.

Widgets are read where they can be known (`graph`, `graph_values`); a value that cannot is not judged. Written
for two official graphs: the template "IC-LoRA Ingredients" of Comfy-Org's workflow templates, and Lightricks'
single-stage Ingredients workflow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from castsheet.errors import SettingsError
from castsheet.lint.findings import Fault, Finding, family, rule
from castsheet.lint.graph import Graph, Link, Node, read_graph, upstream
from castsheet.lint.graph_values import Batch, Values
from castsheet.lint.video import TEMPORAL, lint_video, recipe_of
from castsheet.ltx.family import DEFAULT, UNKNOWN, detect_family
from castsheet.settings import CARD, override

CELL = 32
# Beginnings of node types: tiled and looping variants have longer names.
_GUIDES = ("LTXVAddGuide", "LTXAddVideoICLoRAGuide", "CastsheetGuide")
_CROPS = ("LTXVCropGuides", "CastsheetCrop")
_DECODERS = ("VAEDecode", "LTXVSpatioTemporalTiledVAEDecode", "LTXVTiledVAEDecode")
_FOR_LORAS = ("LTXAddVideoICLoRAGuide", "CastsheetGuide")  # guides that are for nothing else
_SHEETS = ("CastsheetSheet",)
_LORAS = ("LoraLoader", "LTXICLoRALoader")
_MODELS = {"ckpt_name": ("CheckpointLoader",), "unet_name": ("UNETLoader", "UnetLoaderGGUF")}
_SAMPLERS = ("KSampler", "CFGGuider", "SamplerCustom")
_LATENT = "EmptyLTXVLatentVideo"
_SOUND = "LTXVConcatAVLatent"


@dataclass(frozen=True)
class Workflow:
    """A graph under test."""

    graph: Graph

    @cached_property
    def values(self) -> Values:
        """Asks the graph for numbers."""
        return Values(self.graph)

    def nodes(self, *kinds: str) -> list[Node]:
        """The nodes whose class begins so."""
        return [node for node in self.graph.values() if node.kind.startswith(kinds)]

    def latent_of(self, guide: Node) -> Node | None:
        """The empty latent that a guide is added to."""
        return next((one for one in upstream(self.graph, guide.id) if one.kind == _LATENT), None)

    def adapters(self) -> list[tuple[Node, str]]:
        """Loaders of Ingredients adapters, and their files."""
        named = [(node, self.values.text(node, "lora_name")) for node in self.nodes(*_LORAS)]
        return [(node, name) for node, name in named if name and "ingredients" in name.lower()]


def lint_workflow(graph: Mapping[str, Any]) -> list[Finding]:
    """Every check of a ComfyUI workflow, as saved by the editor or exported for its API."""
    workflow = Workflow(read_graph(graph))
    rules = (sheet_is_cut_off, *family("W"))
    return [*(finding for check in rules for finding in check(workflow)), *_against_the_card(workflow)]


@rule("V03", "the sheet's latents are cut off before the decoder", "error")
def sheet_is_cut_off(workflow: Workflow) -> Iterator[Fault]:
    """Latents of the reference that reach the decoder become frames: the clip ends in the sheet."""
    for decoder in workflow.nodes(*_DECODERS):
        guide = _guide_above(workflow.graph, decoder)
        if guide is not None:
            yield Fault(
                f"{decoder} decodes what {guide} added: no {_CROPS[0]} lies between them",
                f"put {_CROPS[0]} or {_CROPS[1]} between the sampler and the decoder",
            )


def _guide_above(graph: Graph, start: Node) -> Node | None:
    """The first node on the way up that adds a guide, ways through a cropping node left out."""
    waiting, seen = [start], {start.id}
    while waiting:
        for link in waiting.pop().links:
            above = graph.get(link.node)
            if above is None or above.id in seen or above.kind.startswith(_CROPS):
                continue
            if above.kind.startswith(_GUIDES):
                return above
            seen.add(above.id)
            waiting.append(above)
    return None


def _against_the_card(workflow: Workflow) -> list[Finding]:
    """V01 and V02: guided latents, at the size that ComfyUI will really make, and adapters."""
    values, found = workflow.values, []
    for guide in workflow.nodes(*_GUIDES):
        latent = workflow.latent_of(guide)
        if latent is None:
            continue
        timed = next(iter(workflow.nodes("LTXVConditioning")), latent)
        width, height, length = (values.whole(latent, name) for name in ("width", "height", "length"))
        asked = {
            "width": width and width // CELL * CELL,
            "height": height and height // CELL * CELL,
            "frames": length and (length - 1) // TEMPORAL * TEMPORAL + 1,
            "fps": values.number(timed, "frame_rate"),
        }
        for one in _video(asked):
            found.append(replace(one, message=f"{timed if ' fps' in one.message else latent}: {one.message}"))
    for loader, name in workflow.adapters():
        base, adapter = _families(workflow, name)
        strength = {"lora_strength": values.number(loader, "strength_model")}
        for one in _video(strength, base, (adapter,)):
            found.append(replace(one, message=f"{loader}: {one.message}"))
    return list(dict.fromkeys(found))


def _video(
    asked: Mapping[str, float | None], base: str = DEFAULT.name, adapters: tuple[str, ...] = ()
) -> list[Finding]:
    """The recipe of the model's family with what is known of the graph's, against that recipe."""
    recipe = recipe_of(base)
    known = {name: value for name, value in asked.items() if value is not None}
    try:
        settings = override(recipe, known)
    except SettingsError as error:
        return [Finding("V01", "error", error.what, error.remedy)]
    return lint_video(settings, recipe, grid=CELL, family=base, adapters=adapters)


def _families(workflow: Workflow, adapter: str) -> tuple[str, str]:
    """Families of model and adapter by their files' names; equal ones where a name says nothing."""
    of_adapter = detect_family([adapter], [])
    for name, kinds in _MODELS.items():
        for node in workflow.nodes(*kinds):
            of_model = detect_family([workflow.values.text(node, name) or ""], [])
            if UNKNOWN not in (of_model, of_adapter):
                return of_model, of_adapter
    return DEFAULT.name, DEFAULT.name


@rule("W01", "the empty latent has the size and length that its widgets say", "warning")
def latent_is_whole(workflow: Workflow) -> Iterator[Fault]:
    """ComfyUI cuts sides to multiples of 32 and lengths to 8 n + 1 without a word."""
    for latent in workflow.nodes(_LATENT):
        for name in ("width", "height"):
            side = workflow.values.whole(latent, name)
            if side is not None and side % CELL:
                low = side // CELL * CELL
                yield Fault(
                    f"{latent}: {name} {side} becomes {low}",
                    f"set {name} to {low} or {low + CELL}, in multiples of 32",
                )
        length = workflow.values.whole(latent, "length")
        if length is not None and length % TEMPORAL != 1:
            low = (length - 1) // TEMPORAL * TEMPORAL + 1
            yield Fault(
                f"{latent}: length {length} becomes {low} frames",
                f"set length to {low} or {low + TEMPORAL} (8 n + 1)",
            )


@rule("W02", "the guide's pictures fit the latent", "warning")
def guide_fits(workflow: Workflow) -> Iterator[Fault]:
    """Another size is cropped or stretched; too few pictures leave the clip's end without a sheet."""
    values = workflow.values
    if workflow.adapters():
        for guide in (one for one in workflow.nodes("CastsheetGuide") if _is_still(workflow, one)):
            yield Fault(
                f"{guide}: a still sheet; the published adapter was trained on looped ones",
                "set reference to looped, here or in the Sheet node",
            )
    for guide in workflow.nodes("LTXVAddGuide", "LTXAddVideoICLoRAGuide"):
        latent, batch = workflow.latent_of(guide), values.pictures(guide, "image")
        if latent is None:
            continue
        width, height = values.whole(latent, "width"), values.whole(latent, "height")
        if width is not None and height is not None:
            yield from _misfit(guide, batch, (width // CELL * CELL, height // CELL * CELL))
        if guide.inputs.get("crop") == "disabled":
            yield Fault(
                f"{guide}: crop is disabled, so a sheet of another shape is stretched", "set crop to center"
            )
        length, count = values.whole(latent, "length"), batch.number
        if length is None or count is None:
            continue
        clip = (length - 1) // TEMPORAL + 1
        if count > 1 and (count - 1) // TEMPORAL + 1 < clip:
            yield Fault(
                f"{guide}: {count} pictures for {length} frames: the clip's end has no sheet beside it",
                f"repeat the sheet {length} times, or show one picture to an adapter trained on still sheets",
            )
        elif count == 1 and workflow.adapters():
            yield Fault(
                f"{guide}: one picture; the published adapter was trained on sheets looped over the clip",
                f"repeat the sheet {length} times",
            )


def _is_still(workflow: Workflow, guide: Node) -> bool:
    """Whether a guide of ours shows the sheet in one frame: as it says itself, else as its sheet does."""
    sheets = [one for one in upstream(workflow.graph, guide.id) if one.kind == "CastsheetSheet"]
    told = [one.inputs.get("reference") for one in (guide, *sheets[:1])]
    return told[0] == "still" or (told[0] != "looped" and told[-1] == "still")


def _misfit(guide: Node, batch: Batch, latent: tuple[int, int]) -> Iterator[Fault]:
    """What becomes of pictures that come in at another size than the latent's."""
    (wide, high), width, height = latent, batch.width, batch.height
    if width is None or height is None or (width, height) == latent:
        return
    across, down = (width - height * wide / high) / 2, (height - width * high / wide) / 2
    what = f"is scaled to {wide} x {high}"
    if across > 0:
        what = f"loses {across:.0f} px left and right"
    elif down > 0:
        what = f"loses {down:.0f} px top and bottom"
    yield Fault(
        f"{guide}: the sheet comes in at {width} x {height} and the latent is {wide} x {high}: it {what}",
        f"make the sheet at {wide} x {high}",
    )


@rule("W03", "the guide is added to a latent of pictures alone", "error")
def guide_before_sound(workflow: Workflow) -> Iterator[Fault]:
    """ComfyUI refuses a guide on a latent that was joined with sound."""
    for guide in workflow.nodes(*_GUIDES):
        link = guide.inputs.get("latent")
        while isinstance(link, Link) and link.node in workflow.graph:
            above = workflow.graph[link.node]
            if above.kind == _SOUND:
                yield Fault(f"{guide}: its latent comes from {above}", f"add the guide before {_SOUND}")
                break
            link = above.inputs.get("latent", above.inputs.get("samples"))


@rule("W04", "every guide is cropped off", "error")
def guides_are_counted(workflow: Workflow) -> Iterator[Fault]:
    """ComfyUI 0.22's LTXVCropGuides counts two guides at one frame as one, and frames of a sheet stay."""
    for crop in workflow.nodes(_CROPS[0]):
        starts: dict[int, Node] = {}
        for guide in (one for one in upstream(workflow.graph, crop.id) if one.kind.startswith(_GUIDES)):
            start = workflow.values.whole(guide, "frame_idx") if "frame_idx" in guide.inputs else 0
            if start is not None and start in starts:
                yield Fault(
                    f"{crop}: {guide} and {starts[start]} both begin at frame {start}; up to ComfyUI 0.22 it"
                    " counts them as one, and frames of a guide stay in the clip",
                    f"use {_CROPS[1]}, which counts their cells",
                )
            elif start is not None:
                starts[start] = guide


@rule("W05", "one frame rate runs through the graph", "warning")
def one_frame_rate(workflow: Workflow) -> Iterator[Fault]:
    """Rates of model, sound and file: where they differ, motion changes its speed or sound runs away."""
    told: dict[float, Node] = {}
    for kind, name in (
        ("LTXVConditioning", "frame_rate"),
        ("LTXVEmptyLatentAudio", "frame_rate"),
        ("CreateVideo", "fps"),
    ):
        for node in workflow.nodes(kind):
            rate = workflow.values.number(node, name)
            if rate is not None:
                told.setdefault(rate, node)
    if len(told) > 1:
        listed = ", ".join(f"{rate:g} in {node}" for rate, node in told.items())
        yield Fault(
            f"frame rates differ: {listed}", f"use one of them everywhere; the adapter knows {CARD.fps:g}"
        )


@rule("W06", "steps, guidance and model are one published recipe", "info")
def recipe_is_known(workflow: Workflow) -> Iterator[Fault]:
    """The card: the dev model, 30 steps, guidance 4. A distilled model: 8 steps, guidance 1."""
    if not workflow.adapters():
        return
    names = [
        str(value)
        for node in workflow.graph.values()
        for value in node.inputs.values()
        if isinstance(value, str)
    ]
    distilled = next(
        (name for name in names if "distilled" in name.lower() and name.endswith((".safetensors", ".gguf"))),
        None,
    )
    for node in workflow.nodes(*_SAMPLERS):
        steps, cfg = (workflow.values.number(node, name) for name in ("steps", "cfg"))
        if cfg is None:
            continue
        at = f"cfg {cfg:g}" + (f", {steps:g} steps" if steps is not None else "")
        recipe = "the card's recipe is the dev model, 30 steps, cfg 4"
        if cfg == 1 and distilled is None:
            yield Fault(
                f"{node}: {at} without a distilled model or LoRA; {recipe}",
                "raise cfg, or load a distilled model",
                severity="warning",
            )
        elif distilled and cfg > 1:
            yield Fault(
                f"{node}: {at} with {distilled}, which was made for cfg 1",
                "set cfg to 1, or load the dev model",
                severity="warning",
            )
        elif distilled:
            yield Fault(
                f"{node}: {at} with {distilled}; {recipe}", "use the dev model where the looks matter most"
            )


@rule("W07", "an adapter reads the sheet", "warning")
def sheet_is_read(workflow: Workflow) -> Iterator[Fault]:
    """A guide that shows a sheet to a model without an adapter; any loader of LoRAs may load one."""
    models = workflow.nodes(*(kind for kinds in _MODELS.values() for kind in kinds))
    if not models or any(
        "lora" in node.kind.lower()
        for node in workflow.graph.values()
        if not node.kind.startswith(_FOR_LORAS)
    ):
        return
    for guide in workflow.nodes(*_GUIDES):
        above = upstream(workflow.graph, guide.id)
        if guide.kind.startswith(_FOR_LORAS) or any(one.kind.startswith(_SHEETS) for one in above):
            yield Fault(
                f"{guide} shows a sheet, and no node loads an adapter that reads it:"
                " the clip may become the sheet itself",
                "load the Ingredients adapter with LoraLoaderModelOnly between model and sampler",
            )
