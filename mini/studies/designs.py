"""The studies: what each asks, and the conditions that it compares. All else is held equal.

Every condition is tried on the same identities with the same noise, so that differences are paired.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from castsheet.errors import SettingsError
from castsheet.prompt import PromptFormat
from castsheet.sheet.manifest import Sheet
from mini.evaluation.identities import FRAMES
from mini.evaluation.identities import action_words as words
from mini.evaluation.validation import ValidationSet, action_of, partner_of
from mini.studies.scenes import BACKGROUNDS, CELL, Scenes, area
from mini.training.architecture import BLOCKS

SheetOf = Callable[[int], Sheet]


@dataclass(frozen=True)
class Condition:
    """One setting of what a study varies.

    Attributes:
        name: as the table shows it. x: its place on the plot's axis; None for names without an order.
        sheet: an identity's sheet.
        overrides: of the model's own preset.
        who: the element that acts.
        named: elements that the prompt describes though the sheet lacks them.
        wants_partner: the person wanted is the partner's, whose looks the sheet gives to `rival`.
        reference_frames: see `mini.studies.batch.latents`.
        takes: seeds a clip.
        judge: ask the whole judge.
    """

    name: str
    sheet: SheetOf
    x: float | None = None
    overrides: dict[str, Any] = field(default_factory=dict)
    who: str = "hero"
    named: tuple[str, ...] = ()
    wants_partner: bool = False
    reference_frames: int | None = None
    takes: int = 1
    judge: bool = False


@dataclass(frozen=True)
class Study:
    """A question, its conditions, and which of them the others are compared with.

    Attributes:
        axis: the plot's axis; "" for names without an order.
        by_area: plot each group over its own panels' share of the sheet instead.
        note: how to read it.
    """

    question: str
    conditions: tuple[Condition, ...]
    base: str
    axis: str = ""
    by_area: Callable[[Condition, int, str], float] | None = None
    note: str = ""


def action_words(who: str, index: int) -> str:
    """What an identity does, in the plainest words of the captions."""
    return words(action_of(index), who)


def designs(
    truths: ValidationSet, scenes: Scenes, blocks: int = BLOCKS, *, still: bool = False
) -> dict[str, Callable[[], Study]]:
    """Every study by name, in the order in which they are run. Sheets are made when they are asked for.

    Args:
        still: the model brings an adapter that was trained on still references.
    """
    shipped = truths.sheet

    def over(field: str, values: Sequence[Any], **more: Any) -> tuple[Condition, ...]:
        return tuple(
            Condition(f"{value:g}", shipped, float(value), {field: value, **more}) for value in values
        )

    return {
        "takes": lambda: Study(
            "What does it gain to make several takes and let the judge choose?",
            (Condition("4 takes", scenes.usual, takes=4, judge=True),),
            base="4 takes",
        ),
        "takes-weak": lambda: _takes_weak(scenes),
        "reference-length": lambda: _reference_length(shipped, still),
        "strength": lambda: Study(
            "How strong should the adapter be?",
            over("lora_strength", (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)),
            base="1",
            axis="adapter strength",
            note="The published recipe for the 22B adapter says 1.4.",
        ),
        "panel-area": lambda: _panel_area(scenes),
        "two-characters": lambda: _two_characters(scenes),
        "stg": lambda: _stg(shipped, blocks),
        "guidance": lambda: Study(
            "How much guidance by the prompt?",
            over("guidance", (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 8.0)),
            base="1",
            axis="guidance",
            note="Captions say nothing of looks, so identity can only gain or lose indirectly.",
        ),
        "absent": lambda: _absent(scenes),
        "background": lambda: Study(
            "Must the sheet's background be black?",
            tuple(
                Condition(name, lambda index, name=name: scenes.backed(index, name))  # type: ignore[misc]
                for name in BACKGROUNDS
            ),
            base="black",
            note="Trained on black only. The colour stands behind figures and between panels, not in places.",
        ),
        "alignment": lambda: _alignment(scenes),
        "prompt-format": lambda: Study(
            "Does the prompt's format matter?",
            tuple(_format(shipped, one) for one in ("prose", "inline", "markdown")),
            base="prose",
            note="Seven in ten training captions are prose, one in ten each inline and markdown.",
        ),
    }


def pick(name: str, studies: dict[str, Callable[[], Study]]) -> Study:
    """A study by name.

    Raises:
        SettingsError: there is none of that name.
    """
    if name not in studies:
        raise SettingsError(f"no study {name!r}", remedy=f"choose of {', '.join(studies)}")
    return studies[name]()


def _stg(sheet: SheetOf, blocks: int) -> Study:
    return Study(
        "Does spatio-temporal guidance help, and in which block?",
        (
            Condition("off", sheet, overrides={"stg_scale": 0.0}),
            *(
                Condition(f"block {b}", sheet, overrides={"stg_scale": 1.0, "stg_blocks": (b,)})
                for b in range(blocks)
            ),
        ),
        base="off",
        note=f"Scale 1. Mini has {blocks} blocks; the 22B model's recipe perturbs block 28 or 29 of 48.",
    )


def _format(sheet: SheetOf, name: PromptFormat) -> Condition:
    return Condition(name, sheet, overrides={"prompt_format": name})


def _takes_weak(scenes: Scenes) -> Study:
    draft = {"steps": 4, "guidance": 1.0}

    def small(index: int) -> Sheet:
        return scenes.weighted(index, {"hero": 0.25})

    return Study(
        "What do takes gain where less carries over?",
        (
            Condition("a small hero", small, overrides=draft, takes=4, judge=True),
            Condition(
                "adapter 0.75", scenes.usual, overrides=draft | {"lora_strength": 0.75}, takes=4, judge=True
            ),
        ),
        base="a small hero",
        note="Drafts of 4 steps without guidance: sheets whose hero has a quarter of its usual weight, and an"
        " adapter weaker than it was trained.",
    )


def _panel_area(scenes: Scenes) -> Study:
    # Sheets on latent edges come in steps: of 2, 4 and 8 one is enough.
    weights = (0.25, 0.5, 1.0, 1.4, 8.0)
    elements = {"person": "hero", "prop": "prop", "location": "place"}

    def condition(weight: float) -> Condition:
        return Condition(f"hero x {weight:g}", lambda index: scenes.weighted(index, {"hero": weight}), weight)

    return Study(
        "Do bigger panels carry over better?",
        tuple(condition(weight) for weight in weights),
        base="hero x 1",
        axis="share of the sheet under the element's panels",
        by_area=lambda one, index, group: area(one.sheet(index), elements[group]),
        note="The hero's importance is varied; what its panels gain, those of prop and place lose.",
    )


def _absent(scenes: Scenes) -> Study:
    def without(element: str, named: bool) -> Condition:
        told = "named" if named else "not named"
        return Condition(
            f"no {element}, {told}",
            lambda index: scenes.weighted(index, {element: 0.0}),
            named=(element,) if named else (),
        )

    return Study(
        "What happens to an element that the sheet lacks?",
        (
            Condition("all there", scenes.usual),
            *(without(element, named) for element in ("hero", "prop", "place") for named in (False, True)),
        ),
        base="all there",
        note="An absent element's looks cannot be known: near 50 % is right for its group; the other groups"
        " should not suffer.",
    )


def _two_characters(scenes: Scenes) -> Study:
    def pair(index: int) -> Sheet:
        return scenes.pair(index, partner_of(index))

    return Study(
        "With two people on the sheet, does the one who is named act?",
        (
            Condition("hero alone", scenes.usual),
            Condition("both, hero acts", pair),
            Condition("both, rival acts", pair, who="rival", wants_partner=True),
        ),
        base="hero alone",
        note="Mini was trained on sheets with one and with two people. Won means nearer to whoever was named;"
        " 50 % is no binding at all.",
    )


def _reference_length(sheet: SheetOf, still: bool) -> Study:
    every = (FRAMES - 1) // 8 + 1
    own = Condition("1 frame, adapter trained so", sheet, 1, overrides={"reference": "still"})
    counts = tuple(
        Condition(f"{count} frame{'s' * (count > 1)}", sheet, count, reference_frames=count)
        for count in (1, 2, 4, 8, every)
    )
    return Study(
        "Must the sheet be looped over the whole clip, or does one still frame do?",
        (*counts, *((own,) if still else ())),
        base=f"{every} frames",
        axis="latent frames that hold the sheet",
        note="The adapter trained on looped sheets sees fewer and fewer of their frames"
        + (", and one trained on a single frame sees that." if still else "."),
    )


def _alignment(scenes: Scenes) -> Study:
    def shifted(by: int) -> Condition:
        return Condition(f"{by} px", lambda index: scenes.shifted(index, by), float(by))

    return Study(
        "Must panels lie on the latent grid?",
        tuple(shifted(CELL * eighths // 8) for eighths in (0, 1, 2, 4, 6, 8)),
        base="0 px",
        axis=f"shift against the latent grid ({CELL} px a cell)",
        note=f"0 and {CELL} px lie on the grid. Panels have one size throughout.",
    )
