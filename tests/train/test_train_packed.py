"""Many samples in one file, excerpts of them, a running mean; and mini's adapters trained so."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as nnf
from PIL import Image
from safetensors.torch import load_file

from castsheet.errors import CheckpointError
from castsheet.ltx.adapters.lora_file import LoRA
from castsheet.ltx.files.checkpoint import Checkpoint
from castsheet.machine.processes import World
from castsheet.machine.seeds import generator
from castsheet.train.batches import make_batch
from castsheet.train.conditioning import Tables
from castsheet.train.config import ObjectiveConfig, load_config
from castsheet.train.data.dataset import Dataset, DatasetError, Pick
from castsheet.train.data.packed import PackedData, write_packed
from castsheet.train.log import Log
from castsheet.train.trainer import train
from mini.bundle import pack
from mini.bundle.model_card import read_losses
from mini.data.corpus import Corpus
from mini.data.latents import Latents
from mini.training import pictures
from mini.training.architecture import FRAMES, HEIGHT, LATENT_CHANNELS, WIDTH
from mini.training.optimise import Budget, optimise
from mini.training.stored import load_models
from mini.training.train_flow import Models
from tests.doubles import train_tiny as tiny
from tests.doubles.mini_recipe import build_recipe

COUNT = 6


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A tiny data set, a file a sample."""
    return tiny.build_data(tmp_path_factory.mktemp("data") / "set", COUNT)


def opened(folder, kind=PackedData):
    return kind.open(folder, channels=tiny.CHANNELS, context_dim=tiny.WIDTH)


def packed(data, folder, captions=1, **more):
    """The same samples in one file; further captions are further contexts."""
    samples = [opened(data, Dataset).load(number) for number in range(COUNT)]
    contexts = samples[0].context_LD + torch.arange(captions)[:, None, None]
    write_packed(
        folder,
        torch.stack([one.latents_CFHW for one in samples]),
        torch.stack([one.references_KCfhw for one in samples]),
        contexts,
        torch.tensor([[0, captions]]).expand(COUNT, 2),
        fps=24.0,
        **more,
    )
    return folder


def test_one_file_trains_as_many_do(model, data, tmp_path):
    """Red: samples packed into one file are others, or come in another order."""
    folder = packed(data, tmp_path / "one file")
    for name, source in (("files", data), ("packed", folder)):
        train(tiny.config(model, source, tmp_path / name, steps=4))
    assert tiny.losses(tmp_path / "packed") == tiny.losses(tmp_path / "files")


def test_a_caption_is_drawn_for_every_slot(data, tmp_path):
    """Red: of many wordings only the first is ever learnt, or they hang on the process that draws them."""
    folder = opened(packed(data, tmp_path / "packed", captions=3))
    plain = opened(data, Dataset).load(0).context_LD
    seen = set()
    for step in range(12):
        source = partial(generator, 1, step)
        batch = make_batch(folder, [(0, 0), (1, 1)], source, ObjectiveConfig())
        seen |= {round(float((one - plain).mean())) for one in batch.context_BLD}
    assert seen == {0, 1, 2}


def test_excerpts_keep_their_places(model, data):
    """Red: an excerpt's tokens are turned as if they were the clip's first, or masks and noise do not fit."""
    objective = ObjectiveConfig(excerpt=2, reference_frames=1)
    checkpoint = Checkpoint.open(model / "tiny.safetensors")
    tables = Tables(checkpoint, objective, torch.device("cpu"), torch.float32)
    folder, whole = opened(data, Dataset), ObjectiveConfig()
    full = make_batch(folder, [(0, 0)], partial(generator, 1, 1), whole)
    places = set()
    for step in range(20):
        batch = make_batch(folder, [(0, 0)], partial(generator, 1, step), objective)
        assert batch.frames is not None
        assert batch.reference_frames is not None
        first, cells = batch.frames[0], 8
        places.add((first, *batch.reference_frames))
        rows = slice(first * cells, (first + 2) * cells)
        assert torch.equal(batch.target_BTC, full.target_BTC[:, rows])
        assert batch.noise_BTC.shape == batch.target_BTC.shape
        shown = 3 * cells + batch.reference_frames[0] * cells
        angles = tables(full).cos_HTD
        wanted = torch.cat([angles[:, rows], angles[:, shown : shown + cells]], dim=1)
        assert torch.equal(tables(batch).cos_HTD, wanted)
    assert {first for first, _ in places} == {0, 1}
    assert {shown for _, shown in places} == {0, 1, 2}


def test_weights_are_those_of_the_samples_kind(data, tmp_path):
    """Red: the loss weighs the cells of another action."""
    weights = torch.rand(2, *tiny.CLIP)
    weighing = torch.arange(COUNT) % 2
    folder = packed(data, tmp_path / "packed", weights_AFHW=weights, weighing_S=weighing)
    batch = make_batch(opened(folder), [(0, 3)], partial(generator, 1, 1), ObjectiveConfig())
    assert torch.equal(batch.mask_BT, weights[1].flatten()[None])
    with pytest.raises(DatasetError, match="contradicts itself"):
        opened(packed(data, tmp_path / "wrong", weights_AFHW=weights, weighing_S=weighing + 1))


def test_the_running_mean_is_what_is_written(model, data, tmp_path):
    """Red: the file holds the last step's noise, or the mean starts anew when a run is resumed."""
    optimiser = {"average": 0.5}
    config = tiny.config(model, data, tmp_path / "run", steps=7, optimiser=optimiser)
    train(config.model_copy(update={"steps": 3}))
    train(config)
    train(config.model_copy(update={"output": tmp_path / "whole"}))
    plain = tiny.config(model, data, tmp_path / "plain", steps=7)
    train(plain)
    assert tiny.losses(tmp_path / "run") == tiny.losses(tmp_path / "plain")
    resumed, whole, last = (
        load_file(tmp_path / name / "adapter.safetensors") for name in ("run", "whole", "plain")
    )
    assert all(torch.equal(resumed[key], whole[key]) for key in whole)
    assert not all(torch.equal(last[key], whole[key]) for key in whole)


def test_mini_is_trained_by_the_products_trainer(tmp_path):
    """Red: the command lines in mini's documentation do not lead from encoded clips to its adapters."""
    recipe = build_recipe(tmp_path / "recipe")
    for name in ("looped", "still"):
        (recipe / f"{name}.safetensors").unlink()
    models = Models.build(recipe / "tokenizer", "cpu")
    load_models(models, recipe / "base.safetensors")
    random = torch.Generator().manual_seed(0)
    latents = Latents.empty(4, "cpu")
    for tensor in (latents.clips, latents.sheets, latents.weights):
        tensor.copy_(torch.rand(tensor.shape, generator=random))
    latents.lengths[:], latents.prompts[:3, :, -5:] = 5, 7
    latents.prompts[1, 0, -1] = 9
    latents.advance(3)
    folder = pack.pack(recipe, [latents], models, each=2)
    data = PackedData.open(folder, channels=LATENT_CHANNELS, context_dim=384)
    assert len(data) == 3
    second = data.stack([Pick(1, 0, 0), Pick(1, 0, 1)], slice(None))
    assert torch.equal(second.latents_BCFHW[0].flatten(1).T, latents.clips[1])
    assert torch.equal(second.mask_BFHW[0].flatten(), latents.weights[1])
    assert not torch.equal(second.contexts_BLD[0], second.contexts_BLD[1])
    quick = {"steps": 1, "batch": 1, "device": "cpu", "base": {"weights": "fp32"}}
    runs = {name: load_config(folder / f"{name}.yaml", quick) for name in pack.PHASES}
    assert (runs["looped"].objective.reference, runs["still"].objective.reference) == ("looped", "still")
    sparse = train(runs["sparse"])
    assert runs["looped"].adapter.start == runs["still"].adapter.start == sparse
    assert LoRA.open(sparse).mode == "looped"
    with pytest.raises(CheckpointError, match="looped"):
        pack.collect(recipe)
    assert (recipe / "sparse.safetensors").read_bytes() == sparse.read_bytes()
    assert "adapter sparse done after 1 steps" in (recipe / "sparse.txt").read_text()


def test_a_recipe_that_went_on_from_a_bundle_goes_on_from_its_adapters(tmp_path):
    """Red: mini's adapters are trained from nothing, or from one another, although the bundle had them."""
    (tmp_path / "start").mkdir()
    for name in ("looped", "still"):
        (tmp_path / "start" / f"{name}.safetensors").touch()
    starts = {name: pack.run_file(tmp_path, name)["adapter"]["start"] for name in pack.PHASES}
    looped, still = "../start/looped.safetensors", "../start/still.safetensors"
    assert starts == {"sparse": looped, "looped": looped, "still": still}
    for name in ("looped", "still"):
        run = tmp_path / pack.FOLDER / "runs" / name
        run.mkdir(parents=True)
        (run / "adapter.safetensors").write_text(name)
    pack.collect(tmp_path)
    assert (tmp_path / "still.safetensors").read_text() == "still"


def test_a_stage_of_no_steps_changes_nothing():
    """Red: a recipe cannot keep a bundle's base as it is."""
    layer = torch.nn.Linear(2, 2)
    before = {name: one.clone() for name, one in layer.state_dict().items()}
    here = World(0, 1, torch.device("cpu"))
    loss = layer.weight.sum()
    optimise([layer], lambda _: loss, Budget(0), rate=1, log=print, name="base", muon=False, where=here)
    assert all(torch.equal(before[name], one) for name, one in layer.state_dict().items())


def test_the_card_has_the_adapters_losses(tmp_path):
    """Red: the model card shows another curve than the trainer's record."""
    log = Log(tmp_path, 0)
    for step in range(1, 251):
        log("train", step, loss=step / 100, seconds=0.5)
    curves = read_losses(pack.losses("still", tmp_path))
    assert curves == {"adapter still": [(100, 0.505), (200, 1.505)]}


class Coarse:
    """A codec that keeps one colour of a cell: the real one takes a minute for a clip on a CPU."""

    def encode(self, pixels_BCFHW):
        means = nnf.avg_pool3d(pixels_BCFHW, (1, 32, 32))
        return means.repeat(1, 43, 1, 1, 1)[:, :LATENT_CHANNELS]

    def decode(self, latents_BCFHW):
        coarse = latents_BCFHW[:, :3].float()
        return nnf.interpolate(coarse, size=(FRAMES, HEIGHT, WIDTH))


def test_pictures_of_the_adapters_are_drawn(tmp_path):
    """Red: the model card's contact sheets of the adapters are not made, or show the base."""
    recipe = build_recipe(tmp_path / "recipe")
    (recipe / "looped.png").unlink()
    held_out = Corpus.empty(1, "cpu")
    held_out.clips.random_(256), held_out.sheets.random_(256)
    held_out.prompts.append(("Reference sheet: kim; place\n\nGenerated video: kim waves",))
    held_out.advance(1)
    made = pictures.draw(recipe, Coarse(), held_out, "cpu", steps=1)
    assert [one.name for one in made] == ["looped.jpg", "still.jpg"]
    images = [Image.open(one) for one in made]
    assert {one.size for one in images} == {(7 * WIDTH, HEIGHT)}
    assert images[0].tobytes() != images[1].tobytes()
