"""The memory planner at full size, and parts that go from one plan to another in one process."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import nn

from castsheet.errors import SettingsError
from castsheet.loading.models import Models
from castsheet.loading.placement import Placement, kept_tensors, parts_of
from castsheet.loading.source import Source
from castsheet.ltx.speed.memory import GIB, SLOTS, Parts, Plan, official, plan
from castsheet.ltx.speed.streaming import StreamedBlocks
from castsheet.pipeline import Castsheet
from castsheet.settings import PRESETS
from tests.doubles.tiny_bundle import build_bundle, tiny_sheet

ACTION = "hero walks left past the barn"
CPU, CARD = torch.device("cpu"), torch.device("cuda")
CARDS = [12, 16, 22, 24, 30, 32, 40, 48, 56, 64, 72, 80]
CLIPS = list(product([121, 241], [False, True], [1, 3]))


def clip(frames: int, audio: bool, every: int) -> Parts:
    """Sizes of a clip of the official model with guidance, STG and (with sound) the isolated pass."""
    settings = replace(PRESETS["card"], frames=frames, audio=audio, reference_every=every, modality_scale=3.0)
    return official(frames=frames, audio=audio, kept_tensors=kept_tensors(settings, 48))


def stages(made: Plan, parts: Parts) -> dict[str, int]:
    """Bytes on the card in every stage of a second clip, counted from what stays and what leaves."""
    slots = SLOTS if made.streams else 0
    number = 1 if made.precision == "fp8" else 2
    room = slots * parts.block * number
    denoiser = 2 * parts.rest + (made.resident + slots) * parts.block * number
    vae = parts.vae if made.together else 0
    beside = {"alone": room, "cpu": room}.get(made.text, denoiser + vae)
    decoding = denoiser if made.together else room
    return {
        "text": parts.sound + beside + (0 if made.text == "cpu" else parts.text),
        "denoise": parts.sound + vae + denoiser + parts.activations + parts.kept,
        "decode": parts.sound + parts.vae + decoding + (parts.tiled if made.tiling else parts.decode),
    }


def least(parts: Parts) -> int:
    """The smallest budget, by the planner's own remedy."""
    with pytest.raises(SettingsError, match="too little") as caught:
        plan(GIB, parts, ("plain", "fp8"))
    return int(float(caught.value.remedy.split("at least ")[1].split(" GiB")[0]) * GIB)


@pytest.mark.parametrize("precisions", [("plain", "fp8"), ("fp8",)], ids=str)
@pytest.mark.parametrize("sizes", CLIPS, ids=str)
def test_no_stage_exceeds_the_budget(sizes: tuple[int, bool, int], precisions) -> None:
    """Red: a clip runs out of memory on a card for which the planner promised that it fits."""
    parts = clip(*sizes)
    for gib in CARDS:
        if gib * GIB < least(parts):
            with pytest.raises(SettingsError, match="too little"):
                plan(gib * GIB, parts, precisions)
            assert parts.kept  # without kept rows these clips run on each of these cards
            continue
        made = plan(gib * GIB, parts, precisions)
        counted = max(stages(made, parts).values())
        assert counted <= made.peak <= gib * GIB, (gib, made)


def test_a_clip_with_sound_stays_on_a_large_card() -> None:
    """Red: an 80 GB card moves the denoiser to the host before each decoding, which took 30 seconds."""
    made = plan(int(74.5 * GIB), official(audio=True), ("plain", "fp8"))
    assert (made.precision, made.together, made.text, made.tiling) == ("plain", True, "beside", False)
    assert "denoiser and VAE stay loaded, text encoder beside them" in made.describe()


def test_fp8_stays_under_22_gib() -> None:
    """Red: a 24 GB card moves an fp8 denoiser to the host before each decoding, which took 11 seconds."""
    made = plan(22 * GIB, official(), ("fp8",))
    assert (made.streams, made.together, made.text, made.tiling) == (False, True, "cpu", False)
    assert "text encoder on the CPU" in made.describe()


def test_kept_rows_take_the_room_of_blocks() -> None:
    """Red: `--reference-every 2` runs out of memory on cards where the plan fills the budget."""
    exact, kept = clip(121, False, 1), clip(121, False, 3)
    assert kept.kept == (48 + 48 + 19) * 5376 * 4096 * 2
    whole, cached = (plan(int(7.6 * GIB), parts, ("plain", "fp8")) for parts in (exact, kept))
    assert cached.resident < whole.resident
    assert not clip(121, False, 1).kept


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"reference_every": 2}, 48 + 48 + 19),
        ({"reference_every": 2, "guidance": 1.0}, 48 + 19),
        ({"reference_every": 2, "guidance": 1.0, "stg_scale": 0.0}, 48),
        ({"reference_every": 2, "stg_blocks": (10, 29)}, 48 + 48 + 38),
        ({"reference_every": 2, "modality_scale": 3.0}, 48 + 48 + 19),
        ({"reference_every": 2, "modality_scale": 3.0, "audio": True}, 48 + 48 + 19 + 48),
        ({"reference_every": 2, "guidance": 1.0, "audio": True}, 48 + 48 + 19),
        ({"reference_every": 2, "reference_strength": 0.9}, 0),
        ({}, 0),
    ],
    ids=str,
)
def test_kept_tensors(changes, wanted) -> None:
    """Red: the planner counts other passes than the denoiser runs."""
    assert kept_tensors(replace(PRESETS["card"], **changes), 48) == wanted


def test_kept_tensors_are_those_of_a_run(bundle, tmp_path) -> None:
    """Red: the formula and what a run really keeps go apart."""
    castsheet = Castsheet.load(bundle, device="cpu", cache_dir=tmp_path)
    caches = []
    run = castsheet.models.run

    def watched(transformer, passes, **options):
        caches.append(next(value for value in options.values() if hasattr(value, "rows_BRC")))
        return run(transformer, passes, **options)

    castsheet.models.run = watched
    changes = {"reference_every": 2, "guidance": 3.0, "stg_scale": 1.0, "stg_blocks": (1,)}
    castsheet(tiny_sheet(), ACTION, **changes)
    settings = castsheet.settings(**changes)
    assert len(caches[-1].rows_BRC) == kept_tensors(settings, 3) == 3 + 3 + 2
    kept = sum(rows.nbytes for rows in caches[-1].rows_BRC.values())
    width = castsheet.models.dtype.itemsize
    parts = parts_of(castsheet.models.source, settings, width)
    assert kept == parts.kept


def test_sound_is_counted(tmp_path) -> None:
    """Red: the vocoder's half GiB is missing from every stage."""
    source = Source.open(build_bundle(tmp_path, audio=True))
    settings = Castsheet.load(tmp_path, device="cpu").settings()
    silent, loud = (parts_of(source, replace(settings, audio=on)) for on in (False, True))
    vae, vocoder = source.checkpoint.load_audio()
    assert silent.sound == 0
    assert loud.sound >= sum(one.nbytes for part in (vae, vocoder) for one in part.parameters())
    assert silent.text < loud.text


# --- from one plan to another ---


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return build_bundle(tmp_path_factory.mktemp("plans"))


class StandInCard(Placement):
    """A placement with given plans for a card that is not there: it records where each part would lie."""

    def __init__(self) -> None:
        super().__init__(CPU)
        self.device = CARD
        self.places: dict[int, torch.device] = {}

    def settle(self, *_):
        return self.plan

    def form(self, checkpoint):
        self.device = CPU
        try:
            return super().form(checkpoint)
        finally:
            self.device = CARD

    @property
    def text_device(self) -> torch.device:
        return CPU

    def _move(self, part: nn.Module, device: torch.device) -> None:
        self.places[id(part)] = device

    def where(self, part: nn.Module | None) -> str:
        """Where a part lies; it was loaded to the card."""
        return "nowhere" if part is None else self.places.get(id(part), CARD).type


def plans() -> list[Plan]:
    whole = Plan("plain", 3, 3, True, "beside", False, peak=GIB, budget=2 * GIB)
    return [
        whole,
        replace(whole, text="alone"),
        replace(whole, together=False, text="alone", tiling=True),
        replace(whole, together=False, text="cpu"),
        replace(whole, precision="fp8", text="cpu"),
        replace(whole, resident=1, text="alone"),
        replace(whole, resident=0, together=False, text="cpu", tiling=True),
    ]


@pytest.mark.parametrize("first", plans(), ids=lambda one: one.describe())
@pytest.mark.parametrize("then", plans(), ids=lambda one: one.describe())
def test_every_part_is_where_its_plan_says(bundle, tmp_path, first: Plan, then: Plan) -> None:
    """Red: a large clip and then a smaller one in one process denoise with weights in host memory."""
    card = StandInCard()
    models = Models(Source.open(bundle), CPU, torch.float32, tmp_path, card)
    settings = Castsheet.load(bundle, device="cpu").settings()
    for number, made in enumerate((first, then)):
        card.plan = made
        models.settle(settings)
        assert card.where(models.vae()) == "cuda"
        models.contexts([f"prompt {number}"], audio=False)
        held = [one for one in (models._vae, models._transformer) if one is not None]
        if made.text == "alone":
            assert {card.where(one) for one in held} == {"cpu"}
        vae, denoiser = models.vae(), models.transformer(settings)
        assert isinstance(denoiser.transformer_blocks, StreamedBlocks) == made.streams
        assert (card.where(denoiser), card.where(vae)) == ("cuda", "cuda" if made.together else "cpu")
        assert models.vae().tiling == made.tiling
        assert (card.where(vae), card.where(denoiser)) == ("cuda", "cuda" if made.together else "cpu")


def test_what_fits_nowhere_names_what_would_do() -> None:
    """Red: the remedy's smallest budget is refused as well."""
    parts = clip(121, True, 3)
    with pytest.raises(SettingsError, match="too little") as caught:
        plan(3 * GIB, parts, ("plain", "fp8"))
    assert "reference_every 1" in caught.value.remedy
    enough = least(parts)
    assert max(stages(plan(enough, parts, ("plain", "fp8")), parts).values()) <= enough
