"""Words for a sheet: template, endpoint on loopback, Gemma-3 with random weights; rules, cache, key."""

from __future__ import annotations

import base64
import io
import json
import logging
from pathlib import Path

import pytest
import torch
from PIL import Image

from castsheet.authoring.describe import (
    EndpointDescriber,
    attributes,
    describe_sheet,
    faults,
    picture_of,
    tidy,
)
from castsheet.cli import main
from castsheet.elements import Scene
from castsheet.errors import EndpointError, PromptError, TextEncoderError
from castsheet.ltx.parts.vision import GemmaVision
from castsheet.machine.endpoint import Endpoint
from castsheet.prompt import build
from castsheet.sheet.compose import compose
from castsheet.sheet.manifest import ElementNote, Sheet
from tests.doubles.drawn import figure, scene, thing
from tests.doubles.fake_endpoint import chat, serving
from tests.doubles.gemma4_doubles import write_folder, write_packed
from tests.doubles.text_doubles import write_gemma

GOOD = "a tall man, short brown hair, a red coat, blue trousers, bare hands, a round face"
SECRET = "sk-castsheet-test-0123456789"


class Says:
    """A describer's double: it says its answers in turn and remembers the questions."""

    name = "double-1"

    def __init__(self, *answers: str) -> None:
        self._answers = list(answers)
        self.questions: list[str] = []

    def answer(self, picture: Image.Image, question: str) -> str:  # noqa: ARG002
        self.questions.append(question)
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


@pytest.fixture
def sheet(tmp_path: Path) -> Sheet:
    """Two people without words, a thing that has some."""
    made = scene(tmp_path, characters=2, props=1, locations=0)
    bare = tuple(
        one.model_copy(update={"description": ""}) if one.kind == "character" else one
        for one in made.elements
    )
    return compose(made.model_copy(update={"elements": bare}), output=(384, 224))


def test_without_a_model_names_are_bound_all_the_same(sheet: Sheet) -> None:
    """Red: an element without a description drops out of the prompt, or the user's own words are lost."""
    said, found = describe_sheet(sheet)
    assert not found
    assert build(said, "c0 waves").reference == "c0: a character; c1: a character; p0: thing 0"


def test_a_model_is_asked_for_what_is_missing_and_its_words_are_kept(sheet: Sheet, tmp_path: Path) -> None:
    """Red: the user's words are overwritten, or each run pays for the model again."""
    model = Says(GOOD)
    said, found = describe_sheet(sheet, model, cache=tmp_path)
    assert not found
    assert build(said, "c0 waves").items == (f"c0: {GOOD}", f"c1: {GOOD}", "p0: thing 0")
    assert len(model.questions) == 2
    assert describe_sheet(sheet, model, cache=tmp_path)[0] == said
    assert len(model.questions) == 2
    describe_sheet(sheet, model, cache=tmp_path, again=True)
    assert len(model.questions) == 3  # the prop, which had words of its own


def test_a_faulty_answer_is_asked_for_again(sheet: Sheet) -> None:
    """Red: a chatty model's list with a logo in it becomes the prompt."""
    model = Says("**Hero**: a man; a coat with a logo", GOOD)
    said, found = describe_sheet(sheet, model)
    assert not found
    assert said.elements[0].description == GOOD
    assert "2 attributes" in model.questions[1]
    assert "'logo'" in model.questions[1]


def test_an_incorrigible_answer_is_told_and_an_empty_one_refused(sheet: Sheet) -> None:
    """Red: a bad description passes in silence, or an empty one becomes an empty prompt."""
    said, found = describe_sheet(sheet, Says("a man"))
    assert said.elements[0].description == "a man"
    assert [one.severity for one in found] == ["warning", "warning"]
    assert "1 attributes (wanted 5 to 7" in found[0].message
    with pytest.raises(PromptError, match="says nothing about 'c0'"):
        describe_sheet(sheet, Says("  \n"))
    with pytest.raises(PromptError, match="bare picture"):
        describe_sheet(Sheet(Image.new("RGB", (64, 64))), Says(GOOD))


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("- a tall man\n- red coat;\n- brown hair.", "a tall man, red coat, brown hair"),
        ('"Hero: a tall man, , red coat."', "a tall man, red coat"),
        ("1. a man\n2) a coat", "a man, a coat"),
        ("a man; a coat", "a man, a coat"),
    ],
)
def test_answers_become_one_line(answer: str, text: str) -> None:
    """Red: bullets and semicolons of a chat model break the prompt into false items."""
    assert tidy(answer, "hero") == text


def test_the_rules_count_attributes_and_find_lettering() -> None:
    """Red: descriptions of two words, or of a page, or with captions pass the check."""
    hero = ElementNote("hero", "character", "")
    assert len(attributes(GOOD)) == 6
    assert faults(hero, GOOD) == []
    assert "7)" not in "".join(faults(ElementNote("cup", "prop", ""), "a red cup"))
    assert len(faults(hero, "a man")) == 1
    assert any(
        "words" in one
        for one in faults(hero, ", ".join(["a very long coat of many colours and folds"] * 7 + ["x " * 20]))
    )
    assert any("caption" in one for one in faults(hero, GOOD.replace("a red coat", "a coat with a caption")))
    assert any("heading" in one for one in faults(hero, f"{GOOD} Generated video: x"))


def test_a_model_sees_one_element_alone(sheet: Sheet) -> None:
    """Red: the description of one person speaks of another."""
    picture = picture_of(sheet, "c1")
    colours = {colour for _, colour in picture.getcolors(1 << 20) or []}
    assert (0xD0, 0xA0, 0x20) in colours  # c1's coat
    assert (0xC0, 0x30, 0x30) not in colours  # c0's


def test_an_endpoint_gets_the_picture_and_the_key_and_nothing_else_does(
    sheet: Sheet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Red: no picture is sent, or the user's key ends up in a cache, a message or a log."""
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    caplog.set_level(logging.DEBUG)
    with serving(
        chat(GOOD), chat(GOOD), (401, json.dumps({"error": {"message": f"bad key {SECRET}"}}).encode())
    ) as fake:
        model = EndpointDescriber(Endpoint(fake.base, "seer"))
        said, _ = describe_sheet(sheet, model, cache=tmp_path / "cache")
        assert said.elements[0].description == GOOD
        assert fake.keys == [f"Bearer {SECRET}"] * 2
        assert fake.paths[0] == "/v1/chat/completions"
        content = fake.json()["messages"][0]["content"]
        sent = Image.open(io.BytesIO(base64.b64decode(content[1]["image_url"]["url"].partition(",")[2])))
        assert sent.size == picture_of(sheet, "c1").size
        with pytest.raises(EndpointError, match=r"answered 401 .*: bad key \*\*\*") as caught:
            describe_sheet(sheet, model, again=True)
    assert caught.value.__cause__ is None
    kept = "".join(path.read_text() for path in (tmp_path / "cache").iterdir())
    for place in (kept, repr(model), model.name, str(caught.value), caplog.text):
        assert SECRET not in place


def test_what_an_endpoint_can_do_wrong(sheet: Sheet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Red: a broken server ends in a traceback, or a redirect is handed the key."""
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    for answer, told in (
        ((200, b"<html>"), "no JSON object"),
        ({"choices": []}, "without text"),
        ((302, b""), "answered 302"),
        ((500, b"out of\nmemory"), "500 .*out of memory"),
    ):
        with serving(answer) as fake:
            with pytest.raises(EndpointError, match=told):
                describe_sheet(sheet, EndpointDescriber(Endpoint(fake.base, "seer")))
            assert len(fake.paths) == 1
    with pytest.raises(EndpointError, match="does not answer"):
        describe_sheet(sheet, EndpointDescriber(Endpoint(fake.base, "seer", timeout=2)))
    with pytest.raises(EndpointError, match="plain http"):
        Endpoint("http://model.example/v1", "seer").post_json("/chat/completions", {})
    for base in ("ftp://x", "model", "http://me:word@127.0.0.1/v1", "http://127.0.0.1/v1?key=1"):
        with pytest.raises(EndpointError):
            Endpoint(base, "seer")


@pytest.fixture(scope="module")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny image-text Gemma-3 with random weights."""
    folder = tmp_path_factory.mktemp("gemma")
    write_gemma(folder, "multimodal")
    return folder


def test_gemma_sees_the_picture_and_repeats_itself(gemma: Path) -> None:
    """Red: the vision tower is not loaded or not fed, or one picture gets two descriptions."""
    model = GemmaVision.load(gemma, dtype=torch.float32)
    red, green = figure(coat="#c03030").convert("RGB"), thing().convert("RGB")
    assert model.answer(red, "a hero") == model.answer(red, "a hero")
    seen = [model.model(**model.inputs(one, "a hero")).logits[0, -1] for one in (red, red, green)]
    assert torch.equal(seen[0], seen[1])
    assert not torch.allclose(seen[0], seen[2])
    ids = model.inputs(red, "a hero")["input_ids"][0].tolist()
    assert ids[0] == model.bos
    assert ids.count(model.model.config.image_token_index) == model.model.config.mm_tokens_per_image


def test_a_text_only_or_damaged_folder_is_refused(tmp_path: Path, gemma: Path) -> None:
    """Red: the user waits for 24 GB to load, or gets a traceback, before hearing that it cannot see."""
    write_gemma(tmp_path, "text")
    with pytest.raises(TextEncoderError, match="no vision tower"):
        GemmaVision.load(tmp_path)
    for newer in (write_folder(tmp_path / "newer"), write_packed(tmp_path / "packed.safetensors")):
        with pytest.raises(TextEncoderError, match="encodes prompts and writes none") as caught:
            GemmaVision.load(newer)
        assert "gemma-3-12b-it" in caught.value.remedy
        assert "endpoint" in caught.value.remedy
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in gemma.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    weights = sorted(broken.glob("*.safetensors"))[-1]
    weights.write_bytes(weights.read_bytes()[:40])
    with pytest.raises(TextEncoderError):
        GemmaVision.load(broken)


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return int(caught.value.code or 0)


def test_the_command_writes_a_scene_and_a_sheet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Red: descriptions cannot be written, edited and used again."""
    folder = tmp_path / "scene"
    folder.mkdir()
    made = scene(folder, characters=1, props=0, locations=0)
    bare = made.elements[0].model_copy(update={"description": ""})
    file = made.model_copy(update={"elements": (bare,)}).save(folder / "scene.yaml")
    with serving(chat(GOOD)) as fake:
        ask = ("--endpoint", fake.base, "--model", "seer")
        assert run("describe", file, *ask, "-o", folder / "told.yaml") == 0
    assert capsys.readouterr().out.startswith(f"Reference sheet: c0: {GOOD}\n")
    assert Scene.load(folder / "told.yaml").elements[0].description == GOOD
    assert run("sheet", file, "-o", tmp_path / "s.png") == 0
    assert run("describe", tmp_path / "s.png", "-o", tmp_path / "t.png") == 0
    assert Sheet.load(tmp_path / "t.png").elements[0].description == "a character"
    assert run("describe", file, "-o", tmp_path / "t.png") == 2
    assert run("describe", file, "--endpoint", "http://127.0.0.1:9/v1") == 2
    assert "--model" in capsys.readouterr().err
