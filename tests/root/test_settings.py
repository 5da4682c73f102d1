"""Presets hold the published numbers, and overriding them fails early and says what is allowed."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import FrozenInstanceError, asdict

import pytest

from castsheet.errors import SettingsError
from castsheet.sampling.levels import DISTILLED
from castsheet.settings import CARD, COMFY, PRESETS, SPACE_DISTILLED, Settings, override, preset
from tools.settings_table import PAGE, page


def test_card_is_the_published_recipe():
    """Red: the default is no longer the recipe of the adapter's model card."""
    assert (CARD.width, CARD.height, CARD.frames, CARD.fps, CARD.steps) == (768, 448, 121, 24.0, 30)
    assert (CARD.guidance, CARD.stg_scale, CARD.stg_blocks, CARD.lora_strength) == (4.0, 1.0, (29,), 1.4)
    assert CARD.negative_prompt == "worst quality, inconsistent motion, blurry, jittery, distorted"
    assert (CARD.sigmas, CARD.schedule, CARD.audio, CARD.prompt_format) == (None, "official", False, "prose")
    assert preset() is PRESETS["card"] or preset() == CARD


@pytest.mark.parametrize(("one", "strength"), [(COMFY, 1.0), (SPACE_DISTILLED, 1.4)])
def test_distilled_presets(one, strength):
    """Red: a distilled recipe gains guidance passes or loses its given levels."""
    assert one.sigmas == DISTILLED
    assert one.steps == 8
    assert (one.guidance, one.stg_scale, one.lora_strength, one.negative_prompt) == (1.0, 0.0, strength, "")


def test_comfy_walks_as_the_workflow_does():
    """Red: the vendor's workflow is named and another sampler is run."""
    assert (COMFY.sampler, COMFY.eta, COMFY.width, COMFY.height) == ("euler_ancestral", 1.0, 960, 544)


def test_the_docs_say_what_the_fields_say():
    """Red: a setting or preset was changed and docs/settings.md not: run `python -m tools.settings_table`."""
    assert PAGE.read_text(encoding="utf-8") == page()


def test_settings_import_no_torch():
    """Red: the command line's help waits for torch, or for numpy."""
    program = "import sys, castsheet.settings; assert not {'torch', 'numpy', 'PIL'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("one", PRESETS.values(), ids=list(PRESETS))
def test_settings_survive_a_sidecar(one):
    """Red: settings cannot be read back from a clip's sidecar, or an older sidecar's cannot."""
    one = override(one, {"stages": [[0.9, 0.0]], "strength": {"hero": 2}})
    told = json.loads(json.dumps(asdict(one)))
    name = told.pop("name")
    assert override(PRESETS[name], told) == one
    older = {key: told[key] for key in told if key not in ("sampler", "eta", "stages", "further_adapters")}
    assert override(Settings(name), older).sampler == "euler"


def test_presets_are_frozen():
    """Red: one run's override leaks into the next through a shared preset."""
    with pytest.raises(FrozenInstanceError):
        CARD.steps = 3


def test_yaml_values_fit():
    """Red: a scene file's lists are refused, or sigmas given leave the step count wrong."""
    one = preset("card", sigmas=[1, 0.5, 0.0], stg_blocks=[3, 4], fps=25, rescale=0)
    assert (one.sigmas, one.steps, one.stg_blocks) == ((1, 0.5, 0.0), 2, (3, 4))


def test_steps_against_listed_sigmas():
    """Red: `--steps 20` on a preset with its own sigmas is silently ignored."""
    with pytest.raises(SettingsError, match="steps = 20"):
        preset("comfy", steps=20)
    assert preset("comfy", steps=20, sigmas=None).steps == 20
    assert preset("comfy", steps=8).sigmas == DISTILLED


def test_unknown_names_list_what_exists():
    """Red: a typing error passes unnoticed or its message does not say what is possible."""
    with pytest.raises(SettingsError, match="card, comfy, space, space-distilled"):
        preset("cards")
    with pytest.raises(SettingsError, match=r"guidence(.|\n)*width, height, frames") as raised:
        preset("card", guidence=3)
    assert "reference_strength" in raised.value.remedy
    with pytest.raises(SettingsError, match="unknown setting name"):
        override(CARD, {"name": "mine"})


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("steps", 0, "1 to 1000"),
        ("steps", 2.5, "whole number"),
        ("steps", True, "whole number"),
        ("width", "768", "whole number"),
        ("height", 8, "16 to 8192"),
        ("frames", -7, "1 to 2001"),
        ("fps", float("nan"), "1.0 to 240.0"),
        ("guidance", float("inf"), "-50.0 to 50.0"),
        ("rescale", 1.5, "0.0 to 1.0"),
        ("reference_strength", -0.1, "0.0 to 1.0"),
        ("lora_strength", None, "-10.0 to 10.0"),
        ("schedule", "karras", "official, target, diffusers"),
        ("prompt_format", "poem", "prose, inline, markdown"),
        ("audio", 1, "true or false"),
        ("negative_prompt", None, "text"),
        ("stg_blocks", (-1,), "block numbers"),
        ("stg_blocks", 28, "block numbers"),
        ("stg_blocks", (), "at least one block"),
        ("sigmas", (0.5, 1.0, 0.0), "falling"),
        ("sigmas", "1.0", "list of numbers"),
    ],
)
def test_bad_values_name_the_allowed_range(field, value, allowed):
    """Red: a wrong value reaches the model, or the message hides what would be right."""
    with pytest.raises(SettingsError) as raised:
        preset("card", **{field: value})
    assert allowed in raised.value.remedy


def test_building_one_directly_is_checked_too():
    """Red: only the helper checks, and Python users get nonsense through."""
    with pytest.raises(SettingsError, match="steps"):
        Settings("mine", sigmas=(1.0, 0.5, 0.0))
