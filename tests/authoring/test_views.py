"""Views that are missing: which, in what words, and made by four backends with small real models."""

from __future__ import annotations

import base64
import io
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import (
    StableDiffusionInstructPix2PixPipeline,
    StableDiffusionPipeline,
)
from PIL import Image

from castsheet.authoring.diffusion import DiffusionRenderer
from castsheet.authoring.http_renderer import EndpointRenderer
from castsheet.authoring.library import Library, Sorter
from castsheet.authoring.missing import fill, missing, request
from castsheet.authoring.renderer import RenderRequest
from castsheet.authoring.still import StillRenderer, on_black
from castsheet.cli import main
from castsheet.elements import Character, Location
from castsheet.errors import CheckpointError, EndpointError, SettingsError
from castsheet.machine.endpoint import Endpoint
from castsheet.media.pictures import load_image
from castsheet.pipeline import Castsheet
from mini.evaluation.identities import SIZE
from tests.doubles.drawn import figure, thing
from tests.doubles.fake_endpoint import serving
from tests.doubles.tiny_bundle import HEIGHT, WIDTH, build_bundle
from tests.doubles.tiny_pipeline import tiny_pipeline

SECRET = "sk-castsheet-test-0123456789"


class Paints:
    """A renderer's double: one colour a seed, and it remembers what it was asked."""

    name = "double-1"

    def __init__(self) -> None:
        self.asked: list[RenderRequest] = []

    def render(self, request: RenderRequest) -> Image.Image:
        self.asked.append(request)
        return Image.new("RGB", (64, 96), (40 * len(self.asked), 80, 90))


@pytest.fixture
def library(tmp_path: Path) -> Library:
    """A hero of whom there is one picture, from the front."""
    figure().save(tmp_path / "ann.png")
    shelf = Library(tmp_path / "library")
    shelf.add("hero", [tmp_path / "ann.png"], Sorter(None, "plain"), view="front", description="a man in red")
    return shelf


def test_what_is_missing(tmp_path: Path) -> None:
    """Red: a view that the sheet needs is not offered, or one that is there is made again."""
    path = tmp_path / "x.png"
    hero = Character(id="hero", description="", images={"face": [path], "side": [path]})
    assert missing(hero) == ("front", "back")
    assert missing(Location(id="barn", description="", images=[path])) == ()
    back = request("character", "back", "a man in red")
    assert "seen from behind" in back.prompt
    assert back.prompt.startswith("a man in red, whole figure")
    assert "empty hands" in back.prompt
    assert "nobody in it" in request("location", "front", "a barn").prompt
    assert request("location", "front", "a barn").shape == "wide"


def test_made_views_join_the_library_as_made(library: Library) -> None:
    """Red: nobody can tell a made picture from a photo, or it displaces one."""
    paints = Paints()
    added = fill(library, "hero", paints, seed=4)
    assert [one.view for asked in added for one in asked.new] == ["face", "side", "back"]
    assert all(one.picture is not None and one.seed == 4 for one in paints.asked)
    entry = library.load("hero")
    assert entry.element.description == "a man in red"
    for kept in entry.pictures:
        assert kept.unsure == (kept.view != "front")
    assert {k.origin for k in entry.pictures if k.unsure} == {"made by double-1, seed 4"}
    fill(library, "hero", paints, views=["front"])
    assert library.load("hero").element.images["front"][0].name.startswith("front-")
    photo = next(k for k in library.load("hero").pictures if k.view == "front" and not k.unsure)
    assert library.load("hero").element.images["front"][0].name == photo.file
    with pytest.raises(SettingsError, match="lacks no view"):
        fill(library, "hero", paints)


def test_a_new_element_is_made_from_words(library: Library) -> None:
    """Red: the views of one description show different people, or an element without words is made up."""
    paints = Paints()
    fill(library, "guard", paints, description="a guard in blue", views=["front", "back"])
    assert paints.asked[0].picture is None
    assert paints.asked[1].picture is not None
    assert library.load("guard").element.description == "a guard in blue"
    fill(library, "lamp", paints, kind="prop", description="a brass lamp")
    assert library.load("lamp").element.kind == "prop"
    with pytest.raises(SettingsError, match="nothing is known of ghost"):
        fill(library, "ghost", paints)


# The LTX model ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete tiny LTX model with random weights."""
    return build_bundle(tmp_path_factory.mktemp("models") / "tiny")


def test_the_video_model_makes_one_frame(bundle: Path, tmp_path: Path) -> None:
    """Red: the model cannot make a still, repeats no seed, or ignores the picture or the size."""
    model = Castsheet.load(bundle, dtype="fp32", device="cpu", cache_dir=tmp_path)
    renderer = StillRenderer(model, steps=2)
    red, green = figure().convert("RGB"), thing().convert("RGB")
    asked = request("character", "back", "hero", picture=red, seed=3)
    made = renderer.render(asked)
    assert made.size == (WIDTH, HEIGHT)
    assert made.tobytes() == renderer.render(asked).tobytes()
    others = (
        request("character", "back", "hero", picture=green, seed=3),
        request("character", "back", "hero", picture=red, seed=4),
        request("character", "back", "hero", seed=3),
    )
    for other in others:
        assert renderer.render(other).tobytes() != made.tobytes()
    assert renderer.render(request("character", "back", "hero", size=(32, 64))).size == (32, 64)
    assert renderer.name == "tiny, one frame"
    shown = np.asarray(on_black(red, (200, 100)).image).max(axis=2)
    assert shown[:, :60].max() == 0  # whole, centred, not stretched
    assert shown[:, 80:120].max() > 100


def test_the_command_fills_with_the_video_model(
    bundle: Path, library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    """Red: `castsheet elements fill` does not end in a library that a sheet can use."""
    ways = ("--library", library.root, "--views", "back", "--model", bundle, "--steps", 1, "--device", "cpu")
    assert run("elements", "fill", "hero", *ways) == 0
    told = capsys.readouterr().out
    assert "back" in told
    assert "made by tiny, one frame, seed 0" in told
    assert set(library.load("hero").element.images) == {"front", "back"}
    assert run("elements", "fill", "hero", "--library", library.root, "--by", "magic") == 2
    assert run("elements", "fill", "hero", "--library", library.root, "--by", "endpoint") == 2
    assert "fix:" in capsys.readouterr().err


def test_the_command_fills_with_the_shipped_model(
    library: Library, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Red: without a model of one's own nothing can be filled, or mini ignores what it is shown."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    ways = ("--library", library.root, "--views", "back", "--device", "cpu", "--model", "mini")
    assert run("elements", "fill", "hero", *ways) == 0
    assert "made by mini, one frame, seed 0" in capsys.readouterr().out
    (made,) = library.load("hero").element.images["back"]
    renderer = StillRenderer(Castsheet.load("mini", device="cpu", cache_dir=tmp_path), steps=4)
    shown = [
        np.asarray(
            renderer.render(request("location", "front", "barn", picture=Image.new("RGB", (96, 56), ink)))
        )
        for ink in ("firebrick", "teal")
    ]
    assert load_image(made).size == SIZE
    red, teal = (picture.reshape(-1, 3).mean(0) for picture in shown)
    assert red[0] - red[2] > teal[0] - teal[2] + 30  # each is nearer to the colour that it was shown


# diffusers pipelines ------------------------------------------------------------------------------------


def test_a_text_to_image_pipeline_renders(tmp_path: Path) -> None:
    """Red: a pipeline of diffusers cannot be used by its name, or ignores the seed or the size."""
    folder = tiny_pipeline(StableDiffusionPipeline, tmp_path, 4)
    renderer = DiffusionRenderer.load(folder, dtype=torch.float32, num_inference_steps=1)
    asked = request("prop", "front", "a lamp", seed=1, size=(16, 24))
    made = renderer.render(asked)
    assert made.size == (16, 24)
    assert made.tobytes() == renderer.render(asked).tobytes()
    assert (
        made.tobytes() != renderer.render(request("prop", "front", "a lamp", seed=2, size=(16, 24))).tobytes()
    )
    with pytest.raises(SettingsError, match="words alone"):
        renderer.render(request("prop", "front", "", picture=Image.new("RGB", (16, 16))))
    with pytest.raises(SettingsError, match="refuses the request"):
        renderer.render(request("prop", "front", "a lamp", size=(17, 17)))
    with pytest.raises(SettingsError, match="no setting 'magic'"):
        DiffusionRenderer.load(folder, magic=1)


def test_an_edit_pipeline_sees_the_picture(tmp_path: Path) -> None:
    """Red: an image-edit pipeline gets no picture, or crashes without one."""
    folder = tiny_pipeline(StableDiffusionInstructPix2PixPipeline, tmp_path, 8)
    renderer = DiffusionRenderer.load(folder, dtype=torch.float32, num_inference_steps=1)
    pictures = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    made = [renderer.render(request("character", "back", "", picture=one)) for one in pictures]
    assert made[0].tobytes() != made[1].tobytes()
    with pytest.raises(SettingsError, match="refuses the request"):
        renderer.render(request("character", "back", "a man"))


def test_what_is_no_pipeline_is_refused(tmp_path: Path) -> None:
    """Red: a wrong id ends in a traceback."""
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        DiffusionRenderer.load(tmp_path)


# An endpoint ---------------------------------------------------------------------------------------------


def encoded(image: Image.Image) -> dict:
    data = io.BytesIO()
    image.save(data, "PNG")
    return {"data": [{"b64_json": base64.b64encode(data.getvalue()).decode()}]}


def test_an_endpoint_renders_and_never_leaks_the_key(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Red: the picture is not sent for editing, or the user's key is written anywhere."""
    monkeypatch.setenv("MY_KEY", SECRET)
    caplog.set_level(logging.DEBUG)
    picture = Image.new("RGB", (32, 48), "teal")
    with serving(encoded(picture)) as fake:
        renderer = EndpointRenderer(Endpoint(fake.base, "painter", "MY_KEY"))
        assert renderer.render(request("location", "front", "a barn")).tobytes() == picture.tobytes()
        assert fake.paths == ["/v1/images/generations"]
        assert fake.json()["size"] == "1536x1024"
        assert fake.json()["model"] == "painter"
        fill(library, "hero", renderer, views=["back"])
        assert fake.paths[-1] == "/v1/images/edits"
        assert b"\x89PNG" in fake.bodies[-1]
        assert b"seen from behind" in fake.bodies[-1]
        assert fake.keys == [f"Bearer {SECRET}"] * 2
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert SECRET.encode() not in written
    assert SECRET not in caplog.text + repr(renderer)
    assert "made by http://127.0.0.1" in (library.load("hero").folder / "element.yaml").read_text()


@pytest.mark.parametrize("answer", [{}, {"data": [{"url": "http://x/y"}]}, {"data": [{"b64_json": "AAAA"}]}])
def test_an_answer_without_a_picture_is_refused(answer: dict) -> None:
    """Red: a link or damaged data of an endpoint ends in a traceback."""
    with serving(answer) as fake, pytest.raises(EndpointError, match="without a picture"):
        EndpointRenderer(Endpoint(fake.base, "painter")).render(request("prop", "front", "a lamp"))


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return int(caught.value.code or 0)
