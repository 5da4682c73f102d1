"""Back ends that are models: tiny ones of real architectures of transformers, and behind a real server."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionInpaintPipeline
from PIL import Image
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import (
    BertConfig,
    BertTokenizerFast,
    CLIPVisionConfig,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessor,
    GroundingDinoProcessor,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    SamConfig,
    SamImageProcessor,
    SamModel,
    SamProcessor,
    SwinConfig,
)
from transformers import CLIPImageProcessor as ClipPictures

from castsheet.errors import CheckpointError, EndpointError
from castsheet.judge.protocols import Detection
from castsheet.machine.endpoint import Endpoint
from castsheet.pairs import tools
from castsheet.pairs.captions import Part, asked, looks_in
from castsheet.pairs.eyes import Eyes, check_eyes, subjects_of
from castsheet.pairs.faces import Bodies, FaceVectors
from castsheet.pairs.hub import HubCaptioner, HubDetector, HubSegmenter
from castsheet.pairs.protocols import Found
from castsheet.pairs.records import PairsError, Sight
from castsheet.pairs.subjects import EVERY
from castsheet.sheet.box import Box
from tests.doubles.faces import Finds, a_face
from tests.doubles.tiny_pipeline import tiny_pipeline

BOX = Box(20, 10, 30, 40)
FRAME = np.random.default_rng(3).integers(0, 255, (64, 96, 3), np.uint8)


class PaperDetector:
    """Finds one box in every frame."""

    name = "paper-detector"

    def find(self, frame_HW3, words):
        assert frame_HW3.shape[2] == 3
        return [Found(BOX, words[0], 0.9)]


class PaperSegmenter:
    """Fills the boxes that it is given."""

    name = "paper-segmenter"

    def cover(self, frames_FHW3):
        return np.zeros(frames_FHW3.shape[:3], np.float32)

    def within(self, frame_HW3, boxes):
        found = np.zeros((len(boxes), *frame_HW3.shape[:2]), np.float32)
        for mask, box in zip(found, boxes, strict=True):
            mask[box.y : box.bottom, box.x : box.right] = 1
        return found


@pytest.fixture
def paper(monkeypatch):
    """Paper back ends under names."""
    monkeypatch.setitem(tools.DETECTORS.offline, "paper", PaperDetector)
    monkeypatch.setitem(tools.SEGMENTERS.offline, "paper", PaperSegmenter)


@pytest.mark.parametrize("segmenter", ["none", "paper"])
@pytest.mark.usefixtures("paper")
def test_a_detector_tells_the_segmenter_where_to_look(segmenter):
    """Red: a named detector changes nothing where the place is not known."""
    frames = np.repeat(FRAME[None], 13, 0)
    seen, told, ghosts = subjects_of(frames, 0, EVERY, None, None, Eyes("paper", segmenter))
    assert told == f"paper {segmenter}"
    assert not ghosts
    assert [len(one) for one in seen] == [1, 1, 1]
    assert seen[0][0].box == BOX


@pytest.mark.parametrize("wrong", ["sam", "hubs:x", "endpoint:no-address"])
def test_unknown_names_are_refused_before_the_work(wrong):
    """Red: a misspelt back end ends a run of hours, or is silently left out."""
    with pytest.raises(PairsError, match="hub:MODEL or endpoint:MODEL@ADDRESS"):
        check_eyes(Eyes(detector=wrong))


def _words(words):
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, "[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    return tokenizer


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders of three tiny models with random weights, as transformers saves them."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "?", "a", "person"]
    (folder / "vocab.txt").write_text("\n".join(words))
    swin = SwinConfig(
        image_size=64, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=2,
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    bert = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
    )
    dino = GroundingDinoConfig(
        backbone_config=swin, text_config=bert, d_model=32, encoder_layers=1, decoder_layers=2,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16,
        num_queries=5, max_text_len=16,
    )  # fmt: skip
    GroundingDinoForObjectDetection(dino).save_pretrained(folder / "dino")
    size = {"shortest_edge": 64, "longest_edge": 96}
    GroundingDinoProcessor(
        GroundingDinoImageProcessor(size=size), BertTokenizerFast(str(folder / "vocab.txt"))
    ).save_pretrained(folder / "dino")
    sam = SamConfig(
        vision_config={
            "hidden_size": 16, "output_channels": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
            "image_size": 64, "patch_size": 16, "mlp_dim": 16, "num_pos_feats": 4, "global_attn_indexes": [0],
            "window_size": 2,
        },
        prompt_encoder_config={
            "hidden_size": 8, "image_size": 64, "patch_size": 16, "mask_input_channels": 4,
        },
        mask_decoder_config={
            "hidden_size": 8, "mlp_dim": 16, "num_attention_heads": 2, "iou_head_hidden_dim": 8,
        },
    )  # fmt: skip
    SamModel(sam).save_pretrained(folder / "sam")
    pictures = SamImageProcessor(size={"longest_edge": 64}, pad_size={"height": 64, "width": 64})
    SamProcessor(pictures).save_pretrained(folder / "sam")
    return folder


def test_an_open_set_detector_of_transformers(models, monkeypatch):
    """Red: Grounding DINO's boxes are not read, or lie outside the frame."""
    monkeypatch.setattr("castsheet.pairs.hub.SURE", 0.0)
    found = HubDetector(str(models / "dino")).find(FRAME, ["a person"])
    assert found
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    assert all(one.box.right <= 96 and one.box.bottom <= 64 for one in found)


def test_a_segmenter_of_transformers(models):
    """Red: SAM's masks are not those of the boxes, or have another size."""
    masks = HubSegmenter(str(models / "sam")).within(FRAME, [BOX, Box(0, 0, 8, 8)])
    assert masks.shape == (2, 64, 96)
    assert set(np.unique(masks)) <= {0.0, 1.0}
    masks[0, BOX.y : BOX.bottom, BOX.x : BOX.right] = 0
    assert not masks[0].any()


def test_a_captioner_of_transformers(tmp_path):
    """Red: a chat model's answer holds the question, or its pictures are lost."""
    torch.manual_seed(0)
    words = ["walks", "<unk>", "</s>", "<image>", "<pad>", "USER", "p1", "left"]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=_words(words), unk_token="<unk>", pad_token="<pad>",
        additional_special_tokens=["<image>"],
    )  # fmt: skip
    vision = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=16,
        patch_size=8,
    )
    text = LlamaConfig(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
    )
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=3, vision_feature_layer=-1)
    model = LlavaForConditionalGeneration(config)
    torch.nn.init.zeros_(model.lm_head.weight)  # the first word is as likely as any other, and comes first
    model.save_pretrained(tmp_path)
    template = (
        "USER {% for one in messages[0]['content'] %}{% if one['type'] == 'image' %}<image> {% else %}"
        "{{ one['text'] }}{% endif %}{% endfor %}"
    )
    pictures = ClipPictures(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    LlavaProcessor(
        pictures, tokenizer, patch_size=8, vision_feature_select_strategy="default", chat_template=template,
        num_additional_image_tokens=1,
    ).save_pretrained(tmp_path)  # fmt: skip
    told = HubCaptioner(str(tmp_path)).say(np.stack([FRAME, FRAME]), "p1 walks")
    assert set(told.split()) == {"walks"}


def test_a_model_that_is_not_here_is_named(tmp_path):
    """Red: a missing model ends in a trace of transformers, or is downloaded without being asked for."""
    with pytest.raises(CheckpointError, match="cannot be opened as AutoModelForZeroShot"):
        HubDetector(str(tmp_path)).find(FRAME, ["a person"])


def test_models_behind_an_endpoint(served):
    """Red: an endpoint's boxes, outlines, vectors, words or pictures are read wrongly."""
    server, name = served
    server.said = 'Here: [{"label": "person", "box": [250, 250, 500, 750]}, {"label": "x", "box": "no"}]'
    (found,) = tools.DETECTORS.of(name).find(FRAME, ["person"])
    assert found.box == Box(24, 16, 24, 32)
    server.said = "[[0, 0], [1000, 0], [1000, 1000], [0, 1000]]"
    masks = tools.SEGMENTERS.of(name).within(FRAME, [BOX])
    assert masks[0, BOX.y : BOX.bottom, BOX.x : BOX.right].all()
    assert masks.sum() == BOX.area
    assert tools.EMBEDDERS.of(name).embed([FRAME, FRAME]).tolist() == [[1, 0], [1, 1]]
    hole = np.zeros(FRAME.shape[:2], np.bool_)
    hole[:5, :5] = True
    filled = np.asarray(tools.INPAINTERS.of(name).fill(Image.fromarray(FRAME), hole))
    assert (filled[~hole] == FRAME[~hole]).all()
    assert filled[0, 0].tolist() == [9, 200, 9]
    server.said = "no list at all"
    with pytest.raises(EndpointError, match="without a JSON list"):
        tools.DETECTORS.of(name).find(FRAME, ["person"])
    assert tools.DETECTORS.of(name).endpoint == Endpoint(name.partition("@")[2], "some-model")


def test_a_captioner_knows_who_stands_where_and_says_no_looks(served):
    """Red: names are bound to nobody, or a caption repeats what the sheet shows."""
    server, name = served
    server.said = "  p1 walks to\nthe right. "
    parts = [Part("p1", (Sight(0, Box(0, 0, 10, 40), 9, False),))]
    assert (
        asked(tools.CAPTIONERS.of(name), np.repeat(FRAME[None], 9, 0), parts, 96) == "p1 walks to the right."
    )
    assert looks_in("p1 in a Red coat waves at the boat") == ["red", "coat"]


def test_an_inpainter_of_diffusers(tmp_path):
    """Red: a hole stays, pixels outside it change, or the same hole is filled in two ways."""
    folder = tiny_pipeline(StableDiffusionInpaintPipeline, tmp_path, 9)
    hole = np.zeros(FRAME.shape[:2], np.bool_)
    hole[10:30, 20:50] = True
    fillers = [tools.INPAINTERS.of(f"hub:{folder}") for _ in range(2)]
    one, other = (np.asarray(filler.fill(Image.fromarray(FRAME), hole)) for filler in fillers)
    assert (one[~hole] == FRAME[~hole]).all()
    assert (one[hole] != FRAME[hole]).any()
    assert (one == other).all()
    with pytest.raises(CheckpointError, match="cannot be opened as AutoPipelineForInpainting"):
        tools.INPAINTERS.of(f"hub:{tmp_path / 'nothing'}").fill(Image.fromarray(FRAME), hole)


def test_small_holes_are_filled_offline():
    """Red: the rule smears over the picture, or leaves the hole black."""
    pytest.importorskip("cv2", reason="castsheet[cutout] is not installed")
    plain = np.full((40, 60, 3), (90, 120, 60), np.uint8)
    hole = np.zeros((40, 60), np.bool_)
    hole[10:14, 10:14] = True
    torn = np.where(hole[..., None], 0, plain).astype(np.uint8)
    filled = np.asarray(tools.INPAINTERS.of("telea-1").fill(Image.fromarray(torn), hole))
    assert (filled[~hole] == torn[~hole]).all()
    assert np.abs(filled.astype(int) - plain).max() <= 2


def test_figures_hang_from_their_faces():
    """Red: the offline detector's boxes miss the body, or reach outside the frame."""
    far, near = a_face(Box(40, 8, 4, 5), score=0.7), a_face(Box(70, 20, 20, 24))
    found = Bodies(Finds(far, near)).find(FRAME, ["a person"])
    assert [one.score for one in found] == [0.9, 0.7]
    assert found[0].box.bottom == 64
    assert found[0].box.right == 96
    assert found[1].word == "a person"
    assert found[1].box.y < 8
    assert found[1].box.h == pytest.approx(5 / 0.11, abs=2)


class PaperFaceVectors:
    """The colour in the middle of a picture, 128 times."""

    name = "paper"

    def embed(self, crops):
        return np.stack([np.full(128, one[one.shape[0] // 2, one.shape[1] // 2, 0]) for one in crops])


def test_who_shows_no_face_has_no_vector():
    """Red: an embedder of faces makes a vector of a back, and two backs become one person."""

    class Faces:
        def detect(self, frame_HWC):
            bright = frame_HWC.mean() > 100
            return [Detection(Box(2, 2, 6, 6), 0.9, 0.0)] if bright else []

    bright, dark = np.full((20, 10, 3), 200, np.uint8), np.full((20, 10, 3), 20, np.uint8)
    vectors = FaceVectors((Faces(), PaperFaceVectors())).embed([bright, dark])
    assert (vectors[0] == 200).all()
    assert not vectors[1].any()


def test_faces_of_the_network_that_comes_with_the_extra():
    """Red: the offline embedder of `castsheet[identity]` is not wired to its detector."""
    pytest.importorskip("dlib", reason="castsheet[identity] is not installed")
    vectors = tools.EMBEDDERS.of(FaceVectors.name).embed([FRAME])
    assert vectors.shape == (1, 128)
    assert not vectors.any()  # noise has no face
