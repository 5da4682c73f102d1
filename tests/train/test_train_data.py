"""Training data: encoding it, converting the official layout, checking it, varying sheets."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from castsheet.cli import main
from castsheet.errors import SettingsError
from castsheet.loading.source import Source
from castsheet.ltx.latents import encode_still, to_pixels
from castsheet.ltx.parts.text import GemmaEncoder, TextEncoder
from castsheet.machine.processes import World
from castsheet.machine.seeds import generator
from castsheet.sheet.manifest import Sheet
from castsheet.train.batches import make_batch
from castsheet.train.config import ObjectiveConfig
from castsheet.train.data.augment import Augment, variant
from castsheet.train.data.dataset import Dataset, DatasetError, require_one_geometry
from castsheet.train.data.encode import Encoding, SizeBucket, encode, read_shard, read_table
from castsheet.train.data.official import convert, open_data, read_pt
from tests.doubles import train_tiny as tiny
from tests.doubles.tiny_bundle import CHANNELS, FRAMES, HEIGHT, WIDTH
from tests.train.conftest import panelled

CPU = torch.device("cpu")
BUCKET = SizeBucket(WIDTH, HEIGHT, FRAMES, 24.0)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A tiny random model."""
    return Source.open(tiny.build_model(tmp_path_factory.mktemp("model") / "tiny"))


def job(source: Source, out: Path, **changes) -> Encoding:
    return Encoding(
        **{"source": source, "out": out, "bucket": BUCKET, "augment": Augment(), "dtype": "fp32"} | changes
    )


def opened(folder: Path) -> Dataset:
    return Dataset.open(folder, channels=CHANNELS, context_dim=tiny.WIDTH)


def test_encoding_is_sharded_resumable_and_read_back(source, table, tmp_path):
    """Red: shards overlap or leave gaps, finished work is done again, or samples do not load."""
    rows, work = read_table(table), job(source, tmp_path / "set")
    assert [encode(rows, work, shard=(share, 2)) for share in (0, 1)] == [2, 1]
    assert encode(rows, work) == 0
    damaged = tmp_path / "set" / "samples" / "raw__1.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:100])
    assert encode(rows, work) == 1
    data = opened(tmp_path / "set")
    assert [entry.name for entry in data.entries] == ["raw__0", "raw__1", "raw__2"]
    assert data.entries[0].geometry.clip == (3, 2, 4)
    assert data.entries[0].geometry.reference == (1, 2, 4)
    assert len(list((tmp_path / "set" / "contexts").iterdir())) == 1


def test_what_is_encoded_is_what_the_pipeline_conditions_on(source, table, tmp_path):
    """Red: training sees other reference latents or contexts than sampling."""
    encode(read_table(table), job(source, tmp_path / "set"))
    sample = opened(tmp_path / "set").load(0)
    vae = source.checkpoint.load_video_vae(dtype=torch.float32)
    pixels = to_pixels(panelled().conditioning_image(WIDTH, HEIGHT))
    torch.testing.assert_close(sample.references_KCfhw, encode_still(vae, pixels, 1).bfloat16())
    text = TextEncoder(
        GemmaEncoder.load(source.text_encoder, dtype=torch.float32),
        source.checkpoint.load_connectors(dtype=torch.float32),
    )
    torch.testing.assert_close(sample.context_LD, text.encode("hero walks left").video_LD)


def test_further_sheets_of_a_clip_are_encoded(source, table, tmp_path):
    """Red: other versions of a sheet lie unused, or the plain ones do not come first."""
    clip = json.loads(table.read_text().splitlines()[0])
    both = clip | {"sheets": ["raw/bare.png"]}
    (tmp_path / "both.jsonl").write_text(json.dumps(both))
    listed = "video,sheet,sheets,caption\nraw/0.mp4,raw/sheet.png,raw/bare.png;,x\n"
    (tmp_path / "both.csv").write_text(listed)
    assert read_table(tmp_path / "both.csv")[0].others == (tmp_path / "raw/bare.png",)
    rows = read_table(tmp_path / "both.jsonl")
    encode(rows, job(source, tmp_path / "set"))
    sample = opened(tmp_path / "set").load(0)
    vae = source.checkpoint.load_video_vae(dtype=torch.float32)
    bare = Sheet.load(tmp_path / "raw/bare.png").conditioning_image(WIDTH, HEIGHT)
    assert sample.references_KCfhw.shape[0] == 2
    torch.testing.assert_close(sample.references_KCfhw[1:], encode_still(vae, to_pixels(bare), 1).bfloat16())
    (tmp_path / "both.jsonl").write_text(json.dumps(clip | {"sheets": [3]}))
    with pytest.raises(DatasetError, match="separated by ;"):
        read_table(tmp_path / "both.jsonl")


def test_a_still_on_disk_is_the_looped_reference_exactly(tmp_path):
    """Red: the one latent frame on disk is not what a looped sheet gives in training."""
    folder = tiny.build_data(tmp_path / "data", 2)
    data, source = opened(folder), lambda slot: generator(1, 0, slot)
    batch = make_batch(data, [(0, 0), (1, 1)], source, ObjectiveConfig())
    frames = batch.reference_BRC.unflatten(1, (3, 8))
    assert torch.equal(frames[:, 0], frames[:, 2])
    still = make_batch(data, [(0, 0), (1, 1)], source, ObjectiveConfig(reference="still"))
    assert torch.equal(still.reference_BRC, frames[:, 0])


def test_the_command_line_encodes_and_trains(source, table, tmp_path):
    """Red: the two commands do not fit together, or augmentation is not recorded in the adapter."""
    model = source.checkpoint.path.parent
    rows = [json.loads(table.read_text().splitlines()[0])]
    (tmp_path / "one.jsonl").write_text(json.dumps(rows[0]))
    options = "--variants 3 --shuffle 1 --jitter 2 --device cpu"
    with pytest.raises(SystemExit) as ended:
        main(
            [
                "encode",
                str(tmp_path / "one.jsonl"),
                "-o",
                str(tmp_path / "set"),
                "--model",
                str(model),
                *options.split(),
            ]
        )
    assert not ended.value.code
    config = tiny.config(model, tmp_path / "set", tmp_path / "run", steps=1, batch=1)
    (tmp_path / "run.yaml").write_text(json.dumps(config.model_dump(mode="json")))
    with pytest.raises(SystemExit) as ended:
        main(["train", str(tmp_path / "run.yaml"), "--set", "steps=2"])
    assert not ended.value.code
    from castsheet.ltx.adapters.lora_file import LoRA

    metadata = LoRA.open(tmp_path / "run" / "adapter.safetensors").metadata
    assert json.loads(metadata["castsheet_augment"]) == {"jitter": 2, "shuffle": 1, "variants": 3}
    assert opened(tmp_path / "set").load(0).references_KCfhw.shape[0] == 3


def official(root: Path, name: str, *, references: int = 3) -> tuple[dict, dict]:
    """One sample as the official scripts write it."""
    generator = torch.Generator().manual_seed(3)
    sizes = {"num_frames": 3, "height": 2, "width": 4, "fps": 24.0}
    still = torch.randn(CHANNELS, 1, 2, 4, generator=generator)
    latents = {"latents": torch.randn(CHANNELS, 3, 2, 4, generator=generator), **sizes}
    reference = {**sizes, "latents": still.repeat(1, references, 1, 1), "num_frames": references}
    mask = torch.tensor([0] * 41 + [1] * 7)
    features = torch.randn(48, tiny.WIDTH, generator=generator) * mask[:, None]
    condition = {"video_prompt_embeds": features, "prompt_attention_mask": mask}
    for part, content in (("latents", latents), ("reference_latents", reference), ("conditions", condition)):
        path = root / ".precomputed" / part / f"{name}.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(content, path)
    return latents, reference


def test_the_official_layout_is_read(source, tmp_path):
    """Red: a data set of the official trainer does not train, or its looped sheet keeps every frame."""
    latents, reference = official(tmp_path / "theirs", "scene/clip")
    (tmp_path / "theirs" / ".precomputed" / "latents" / "alone.pt").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"1 samples lack.*alone\.pt"):
        data = open_data(
            tmp_path / "theirs",
            tmp_path / "run",
            source.checkpoint,
            channels=CHANNELS,
            context_dim=tiny.WIDTH,
            downscale=1,
            where=World(0, 1, CPU),
        )
    assert [entry.name for entry in data.entries] == ["scene__clip"]
    sample = data.load(0)
    assert torch.equal(sample.latents_CFHW, latents["latents"])
    assert torch.equal(sample.references_KCfhw, reference["latents"][None, :, :1])
    assert sample.context_LD.shape == (48, tiny.WIDTH)


def test_official_features_become_the_same_contexts(source, tmp_path):
    """Red: connectors applied here give other contexts than the text path of sampling."""
    connectors = source.checkpoint.load_connectors(dtype=torch.float32)
    gemma = GemmaEncoder.load(source.text_encoder, dtype=torch.float32)
    text = TextEncoder(gemma, connectors)
    hidden = gemma.hidden_states(torch.tensor([gemma.tokens("hero walks left")]))
    normed = hidden * torch.rsqrt(hidden.square().mean(2, keepdim=True) + 1e-6)
    scale = (tiny.WIDTH / gemma.width) ** 0.5
    real = connectors.video_text_proj_in(normed.flatten(2) * scale)[0]
    features = torch.zeros(text.length, tiny.WIDTH)
    features[-len(real) :] = real
    official(tmp_path / "theirs", "clip")
    mask = (torch.arange(text.length) >= text.length - len(real)).int()
    condition = {"video_prompt_embeds": features, "prompt_attention_mask": mask}
    torch.save(condition, tmp_path / "theirs" / ".precomputed" / "conditions" / "clip.pt")
    convert(tmp_path / "theirs" / ".precomputed", tmp_path / "ours", source.checkpoint, CPU)
    context = opened(tmp_path / "ours").load(0).context_LD
    torch.testing.assert_close(context, text.encode("hero walks left").video_LD, atol=1e-5, rtol=1e-5)


class Bomb:
    """A pickle that runs code when it is opened."""

    def __reduce__(self):
        return (Path.touch, (Path("exploded"),))


def test_pickles_that_run_code_are_refused(tmp_path, monkeypatch):
    """Red: opening somebody's data set runs somebody's code."""
    monkeypatch.chdir(tmp_path)
    torch.save({"latents": Bomb()}, tmp_path / "bomb.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps({"latents": Bomb()}))
    (tmp_path / "cut.pt").write_bytes((tmp_path / "bomb.pt").read_bytes()[:200])
    (tmp_path / "empty.pt").write_bytes(b"")
    torch.save(torch.ones(2), tmp_path / "bare.pt")
    for name in ("bomb", "plain", "cut", "empty", "bare", "absent"):
        with pytest.raises(DatasetError, match=rf"{name}\.pt"):
            read_pt(tmp_path / f"{name}.pt")
    assert not (tmp_path / "exploded").exists()


def test_samples_that_do_not_fit_are_named(tmp_path):
    """Red: training starts and breaks, or mixes rates, hours later."""
    folder = tiny.build_data(tmp_path / "data", 2)
    good = load_file(folder / "samples" / "clip0.safetensors")
    cases = [
        ({"latents": good["latents"][:4], "references": good["references"][:, :4]}, "4 channels"),
        ({**good, "references": good["references"][..., :3]}, "not 1/1"),
        ({**good, "references": torch.randn(1, CHANNELS, 2, 2, 4)}, "2 latent frames"),
        ({**good, "mask": torch.ones(3, 2, 3)}, "contradicts"),
    ]
    for sample, message in cases:
        path = tiny.write(folder, "odd", sample)
        with pytest.raises(DatasetError, match=message) as caught:
            opened(folder)
        assert str(path) in caught.value.what
    path = tiny.write(folder, "odd", good, fps=25.0)
    with pytest.raises(DatasetError, match=r"odd.*25\.0"):
        require_one_geometry(opened(folder))
    path.write_bytes(b"rubbish")
    with pytest.raises(DatasetError, match="odd"):
        opened(folder)
    with pytest.raises(DatasetError, match="no samples"):
        opened(tmp_path)


def test_masks_reach_the_loss(tmp_path):
    """Red: a masked cell still counts, or samples without a mask lose theirs."""
    folder = tiny.build_data(tmp_path / "data", 2)
    good = load_file(folder / "samples" / "clip0.safetensors")
    mask = torch.zeros(3, 2, 4)
    mask[1] = 1
    tiny.write(folder, "clip0", {**good, "mask": mask})
    batch = make_batch(opened(folder), [(0, 0), (1, 1)], lambda slot: generator(slot), ObjectiveConfig())
    assert batch.mask_BT is not None
    assert batch.mask_BT.sum(dim=1).tolist() == [8, 24]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video,sheet\na.mp4,b.png\n", "line 2: no caption"),
        ("video,sheet,caption\na.mp4,b.png,x\n", r"a\.mp4 is not there"),
        ("", "no rows"),
        ("video,sheet,caption\nraw/0.mp4,raw/sheet.png,x\nraw/0.mp4,raw/bare.png,x\n", "second row"),
    ],
)
def test_tables_that_do_not_work_are_told(table, text, message):
    """Red: a wrong table fails in the middle of encoding, or silently overwrites samples."""
    path = table.with_name("table.csv")
    path.write_text(text)
    with pytest.raises(DatasetError, match=message):
        read_table(path)


def test_clips_that_are_too_short_are_named(source, table, tmp_path):
    """Red: a short clip is padded silently."""
    with pytest.raises(DatasetError, match=r"0\.mp4 lasts 0\.83 s \(40 frames at 48 fps\)"):
        encode(read_table(table), job(source, tmp_path / "set", bucket=SizeBucket(WIDTH, HEIGHT, 41, 24.0)))


def test_shards_are_checked():
    """Red: a wrong share encodes nothing without a word."""
    assert read_shard("2/8") == (2, 8)
    for text in ("8/8", "1", "a/b", "-1/2", "0/0"):
        with pytest.raises(SettingsError):
            read_shard(text)


def colours(sheet: Sheet) -> list[tuple[int, int, int]]:
    """What lies in the middle of each panel's box."""
    return [
        sheet.image.getpixel((panel.box.x + panel.box.w // 2, panel.box.y + panel.box.h // 2))
        for panel in sheet.panels
    ]


def test_shuffled_panels_keep_their_boxes_true():
    """Red: after a shuffle the manifest points at other panels, or panels overlap or leave the sheet."""
    sheet, swapped = panelled(), 0
    for seed in range(8):
        made = variant(sheet, Augment(2, shuffle=1.0, jitter=6), np.random.default_rng(seed))
        assert colours(made) == colours(sheet)
        assert not made.panels[0].box.overlaps(made.panels[1].box)
        assert all(panel.box.inside(*sheet.image.size) for panel in made.panels)
        swapped += made.panels[0].box.x > made.panels[1].box.x
    assert 0 < swapped < 8


def test_a_panel_always_stays():
    """Red: a variant is black and teaches to ignore the sheet."""
    for seed in range(20):
        assert variant(panelled(), Augment(2, drop=0.95), np.random.default_rng(seed)).panels


def test_augmentations_that_cannot_work_are_refused():
    """Red: options without effect look as if they had one."""
    for wrong in ({"variants": 2}, {"shuffle": 0.5}, {"variants": 2, "drop": 1.0}, {"variants": 0}):
        with pytest.raises(SettingsError):
            Augment(**wrong)
    with pytest.raises(SettingsError, match="manifest"):
        variant(Sheet(Image.new("RGB", (8, 8))), Augment(2, shuffle=1.0), np.random.default_rng(0))
