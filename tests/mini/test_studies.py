"""Studies: batches equal the product's own clips, variants change one thing only, arithmetic, and one run."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from castsheet.elements import Scene
from castsheet.errors import SettingsError
from castsheet.pipeline import Castsheet
from castsheet.prompt import build
from mini.evaluation.identities import SIZE
from mini.evaluation.parts import eroded
from mini.evaluation.validation import ValidationSet, action_of, partner_of
from mini.studies import batch, figures
from mini.studies.__main__ import main
from mini.studies.batch import Ask
from mini.studies.designs import Condition, Study, designs, pick
from mini.studies.figures import Mean
from mini.studies.journal import Entry, Journal, Made, read
from mini.studies.measure import Row, measure_and_show
from mini.studies.report import READING, newest
from mini.studies.run import prompt_of
from mini.studies.scenes import BACKGROUNDS, Scenes, area
from tests.doubles import drawn
from tests.doubles.tiny_bundle import build_bundle, tiny_sheet, write_bundle

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Castsheet:
    folder = build_bundle(tmp_path_factory.mktemp("tiny"))
    return Castsheet.load(folder, device="cpu", dtype="fp32", cache_dir=folder / "cache")


@pytest.mark.parametrize("reference_frames", [None, 1])
@pytest.mark.parametrize(
    "overrides",
    [{}, {"guidance": 1.0, "stg_scale": 0.0}, {"sampler": "euler_ancestral"}, {"sampler": "heun"}],
)
def test_a_batch_is_what_the_pipeline_makes(
    tiny: Castsheet, overrides: dict[str, Any], reference_frames: int | None
) -> None:
    """Red: studies measure another sampler than the product's: seeds, sheets or prompts get mixed up."""
    sheets = [tiny_sheet(0), tiny_sheet(1)]
    asks = [
        Ask(sheets[n % 2], build(sheets[0], action).text, seed)
        for n, (action, seed) in enumerate([("hero waves", 3), ("hero jumps", 3), ("hero waves", 9)])
    ]
    settings = tiny.settings(**overrides)
    made = batch.latents(tiny, asks, settings, reference_frames)
    films = batch.frames(tiny, asks, settings, reference_frames)
    for number, ask in enumerate(asks):
        if reference_frames is None:
            steps: list[torch.Tensor] = []
            clip = tiny(
                ask.sheet,
                prompt=ask.prompt,
                seed=ask.seed,
                on_step=lambda _step, _total, x0, steps=steps: steps.append(x0),
                **overrides,
            )
            torch.testing.assert_close(made[number : number + 1], steps[-1], rtol=1e-4, atol=1e-5)
            assert np.abs(clip.frames.astype(int) - films[number]).max() <= 1
        alone = batch.latents(tiny, [ask], settings, reference_frames)
        torch.testing.assert_close(made[number : number + 1], alone, rtol=1e-4, atol=1e-5)
    assert (made[0] - made[2]).abs().max() > 0.1
    if reference_frames == 1:
        assert (made - batch.latents(tiny, asks, settings)).abs().max() > 1e-3


def test_a_batch_refuses_what_it_cannot_do_alike(tiny: Castsheet) -> None:
    """Red: rescale looks at the whole batch, and clips depend on their neighbours."""
    with pytest.raises(SettingsError, match="rescale"):
        batch.latents(tiny, [Ask(tiny_sheet(), "x", 0)], tiny.settings(rescale=0.5))


def drawn_scene(_index: int, folder: Path) -> Scene:
    """A scene of drawn pictures, as rendering would leave it."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn_elements = drawn.scene(folder).elements
    names = ("hero", "prop", "place")
    elements = [
        element.model_copy(update={"id": name, "description": words})
        for element, name, words in zip(
            drawn_elements, names, ("a person", "the prop", "the place"), strict=True
        )
    ]
    return Scene(elements=tuple(elements))


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Scenes:
    return Scenes(tmp_path_factory.mktemp("work"), drawn_scene)


def test_variants_change_one_thing(scenes: Scenes) -> None:
    """Red: a study varies more than it says, or nothing at all."""
    usual = scenes.usual(0)
    assert {panel.element for panel in usual.panels} == {"hero", "prop", "place"}
    large, small = (area(scenes.weighted(0, {"hero": weight}), "hero") for weight in (8.0, 0.25))
    assert large > small
    lacking = scenes.weighted(0, {"prop": 0.0})
    assert [note.id for note in lacking.elements] == ["hero", "place"]
    assert [note.id for note in scenes.pair(0, 1).elements] == ["hero", "rival", "prop", "place"]

    on_grid, between = scenes.shifted(0, 0), scenes.shifted(0, 4)
    a, b = np.asarray(on_grid.image), np.asarray(between.image)
    assert np.array_equal(a[:-8, :-8], b[8:, 8:])
    assert on_grid.image.size == (768, 448)
    assert between.panels[0].box.x == on_grid.panels[0].box.x + 8


def test_backgrounds_replace_black_and_nothing_else(scenes: Scenes) -> None:
    """Red: figures are tinted, places get a hole, or the black stays."""
    usual = np.asarray(scenes.usual(0).image)
    assert np.array_equal(np.asarray(scenes.backed(0, "black").image), usual)
    green = np.asarray(scenes.backed(0, "green").image)
    corner = next(panel.box for panel in scenes.usual(0).panels if panel.view == "place")
    middle = (corner.y + corner.h // 2, corner.x + corner.w // 2)
    assert np.array_equal(green[middle], usual[middle])
    empty = usual.max(axis=-1) == 0
    assert (np.abs(green[empty].astype(int) - BACKGROUNDS["green"]).max(axis=-1) <= 1).mean() > 0.9
    solid = (np.abs(usual.astype(int) - (192, 48, 48)).max(axis=-1) == 0).astype(np.uint8)
    inside = eroded(solid[None])[0] == 1  # at an edge colours ring, and may come by the solid one
    assert inside.any()
    assert np.array_equal(green[inside], usual[inside])


def test_every_study_has_its_base_and_distinct_conditions(scenes: Scenes) -> None:
    """Red: a study crashes after ten minutes of sampling, or compares a condition with itself."""
    studies = designs(ValidationSet.load(), scenes)
    assert len(studies) == 12
    for name in studies:
        study = pick(name, studies)
        names = [one.name for one in study.conditions]
        assert study.base in names
        assert len(set(names)) == len(names)
        keys = set()
        for one in study.conditions:
            sheet = one.sheet(0)
            keys.add((sheet.sha256, one.reference_frames, one.who, one.named, str(one.overrides)))
        assert len(keys) == len(names), name
    with pytest.raises(SettingsError, match="no study 'colour'"):
        pick("colour", studies)


def test_prompts_name_what_the_condition_says(tiny: Castsheet, scenes: Scenes) -> None:
    """Red: the absent element is not named where it should be, or the wrong person acts."""
    studies = designs(ValidationSet.load(), scenes)
    settings = tiny.settings()
    absent = {one.name: one for one in pick("absent", studies).conditions}
    texts = {
        name: prompt_of(one, one.sheet(0), 0, settings) for name, one in absent.items() if "prop" in name
    }
    assert "the prop" not in texts["no prop, not named"].split("Generated")[0]
    assert "the prop" in texts["no prop, named"].split("Generated")[0]
    rival = pick("two-characters", studies).conditions[2]
    assert "Generated video: rival walks" in prompt_of(rival, rival.sheet(0), 0, settings)


@pytest.fixture(scope="module")
def truths() -> ValidationSet:
    return ValidationSet.load()


def perfect(truths: ValidationSet, index: int, **more: object) -> Row:
    colours = [one.tolist() if np.isfinite(one).all() else None for one in truths.colours_NR3[index]]
    return Row(**{"colours": colours, "action": action_of(index), "leaked": 0.0, **more})


def test_truth_wins_and_the_partner_loses(truths: ValidationSet) -> None:
    """Red: a perfect model would not get 100 %, or the wanted person of `rival acts` is the wrong one."""
    rows = [[perfect(truths, index)] for index in range(8)]
    found = figures.summarise(rows, truths)
    assert np.nanmin(found["person"]) == 1
    assert np.nanmax(found["person off"]) == 0
    assert found["action"].tolist() == [1] * 8
    swapped = [[perfect(truths, partner_of(index))] for index in range(8)]
    assert np.nanmax(figures.summarise(swapped, truths)["person"]) == 0
    as_rival = figures.summarise(swapped, truths, partner=True)
    assert np.nanmin(as_rival["person"]) == 1
    assert np.nanmax(as_rival["prop"]) == 0


def test_choices_are_ordered_and_early_stop_counts(truths: ValidationSet) -> None:
    """Red: the judge's choice is confused with the best or with the last take."""
    right, wrong = perfect(truths, 0), perfect(truths, 1)
    takes = [
        Row(wrong.colours, "wave", 0, passed=False, score=0.4),
        Row(right.colours, "wave", 0, passed=True, score=0.6),
        Row(wrong.colours, "wave", 0, passed=True, score=0.9),
    ]
    found = figures.choices([takes], truths)
    assert found["highest"] == [1]
    assert found["judge, early"] == [1]
    assert found["judge"] == found["first"] == found["lowest"]
    assert found["takes made"] == [2]
    assert found["random"][0] == pytest.approx((1 + 2 * found["lowest"][0]) / 3)
    apart = figures.choices([takes], truths, figures.off)
    assert apart["lowest"] == apart["judge, early"] == [0]
    assert apart["judge"] == apart["highest"] > 0


def test_intervals_hold_the_mean_and_shrink_with_more_identities() -> None:
    """Red: error bars are of clips instead of identities, or of nothing."""
    random = np.random.default_rng(3)
    few, many = (Mean.of(random.normal(0.5, 0.1, count)) for count in (16, 256))
    assert few.low < few.mean < few.high
    assert many.high - many.low < few.high - few.low
    # 0.1 / sqrt(256) is 0.00625, twice 1.96 of that 0.0245.
    assert many.high - many.low == pytest.approx(0.0245, rel=0.25)
    assert Mean.of(np.array([np.nan, np.nan])).mean is None
    # Partners that are equal are one observation.
    pairs = np.repeat(random.normal(0.5, 0.1, 32), 2)
    assert Mean.of(pairs).high - Mean.of(pairs).low > 1.2 * 2 * 1.96 * 0.1 / 8 * 0.8


def test_leak_is_measured(truths: ValidationSet) -> None:
    """Red: a clip that shows its sheet counts as clean."""
    sheet = truths.sheet(0)
    still = np.repeat(np.asarray(sheet.conditioning_image(*SIZE))[None], 121, axis=0)
    row, shown = measure_and_show(
        still, truths.masks_NFHW[0], truths.centroids_AM, sheet, fps=24.0, judge=True, shown=True
    )
    assert row.leaked == 1
    assert row.passed is False
    assert Entry(("a", "b", 0, 0), "k", row, shown).picture.size == (3 * SIZE[0], SIZE[1])


MADE = Made(1, "0", "abc", "a card", "cuda", "bfloat16", "mini", "f00", "8 steps", 8, still=False)


def entry(index: int, *, condition: str = "usual", leaked: float = 0.0) -> Entry:
    row = Row([None, [1.0, 2.0, 3.0]], "wave", leaked)
    return Entry(
        ("a study", condition, index, 0), f"{condition}{index}", row, b"jpeg" if index == 0 else None
    )


def test_a_torn_line_costs_one_clip(tmp_path: Path) -> None:
    """Red: a process that is killed while it writes spoils what it wrote before or what comes after."""
    path = tmp_path / "clips.jsonl"
    first = Journal(path, MADE)
    first.add(entry(0))
    first.add(entry(1))
    path.write_bytes(path.read_bytes()[:-20])
    Journal(path, MADE).add(entry(2))
    (tmp_path / "other.jsonl").write_text(
        '{"made": {"version": 2}}\n[]\n{"place": [1], "key": "k", "row": {}}'
    )
    assert list(read([tmp_path])) == [(MADE, entry(0)), (MADE, entry(2))]


def test_pages_take_clips_of_one_model(truths: ValidationSet) -> None:
    """Red: clips of an earlier model, or of half a run, are averaged with those of this one."""
    study = Study("?", (Condition("usual", truths.sheet),), base="usual")
    later, card = replace(MADE, weights="f01"), replace(MADE, device="another card")
    whole = [(MADE, entry(0, leaked=0.5)), (card, entry(1))]
    clips = newest([*whole, (later, entry(0))], "a study")
    assert clips.missing(study, 2) == 0
    assert clips.missing(study, 4) == 2
    assert set(clips.made) == {MADE, card}
    assert [[row.leaked for row in takes] for takes in clips.rows(study, 2)["usual"]] == [[0.5], [0.0]]
    renewed = newest([*whole, (later, entry(0)), (later, entry(1))], "a study")
    assert renewed.made == (later,)
    assert newest(whole, "no study").missing(study, 2) == 2


@pytest.fixture(scope="module")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that makes clips of mini's size."""
    bundle = build_bundle(tmp_path_factory.mktemp("bundle"))
    bucket = {"width": SIZE[0], "height": SIZE[1], "frames": 121, "fps": 24.0, "stg_blocks": [1]}
    write_bundle(bundle, bucket=bucket, preset={"steps": 1, "guidance": 1.0, "stg_scale": 0.0})
    return bundle


def test_a_study_runs_from_a_bundle_to_a_page_and_goes_on(
    small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Red: shares of a run leave clips out, finished clips are made again, a time limit is not kept, or what
    a person wrote on a page is lost."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    docs, clips = tmp_path / "docs", tmp_path / "work" / "clips"

    def studies(*words: str) -> int:
        usual = ["prompt-format", "--bundle", str(small_bundle), "--out", str(docs), "--device", "cpu"]
        usual += ["--work", str(tmp_path / "work"), "--dtype", "fp32", "--batch", "2", "--commit", "abc"]
        try:
            main([*usual, *words])
        except SystemExit as left:
            return int(left.code or 0)
        return 0

    assert studies("--count", "4", "--limit", "0") == 2
    assert "prompt-format lacks 12 clips" in capsys.readouterr().err
    assert studies("--count", "2") == 0
    page = docs / "prompt-format.md"
    text = page.read_text()
    assert text.startswith("# Does the prompt's format matter?")
    assert "| **prose** |" in text
    assert "commit abc" in text
    assert "<svg" in (docs / "prompt-format.svg").read_text()
    assert Image.open(docs / "prompt-format.jpg").size == (3 * 576, 224)
    page.write_text(text.split(READING)[0] + READING + "\n\nIt does not.\n")

    assert len(list(read([clips]))) == 6
    assert studies("--count", "4", "--shard", "2/2", "--clips", str(tmp_path / "back")) == 0
    (shard,) = (tmp_path / "back").glob("*.jsonl")
    assert shard.name == "clips-2-of-2.jsonl"
    assert {one.place[2] for _, one in read([tmp_path / "back"])} == {2, 3}
    shutil.copy(shard, clips)
    assert studies("--count", "4", "--only", "pages") == 0
    assert page.read_text().endswith("It does not.\n")
    assert "Mean over 4 validation identities" in page.read_text()

    assert studies("--count", "4") == 0
    assert len(list(read([clips]))) == 12
