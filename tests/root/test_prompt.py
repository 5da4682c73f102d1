"""The two-part prompt: building, reading, and the checks of its words."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from castsheet.errors import PromptError
from castsheet.lint.findings import Finding
from castsheet.lint.prompt import lint_prompt
from castsheet.prompt import FORMATS, Prompt, build, describe, is_two_part, parse
from castsheet.sheet.box import Box
from castsheet.sheet.manifest import ElementNote, Panel, Sheet

MARA = ElementNote("mara", "character", "a tall woman with red hair and a green coat")
LAMP = ElementNote("brass_lamp", "prop", "a brass oil lamp with a cracked chimney")
QUAY = ElementNote("quay", "location", "the old quay at dusk, wet cobbles and nets")
NOTES = (MARA, LAMP, QUAY)


def sheet(notes: tuple[ElementNote, ...] = NOTES) -> Sheet:
    views = {"character": "turnaround", "prop": "product", "location": "place"}
    boxes = (Box(0, 0, 760, 896), Box(776, 0, 760, 440), Box(776, 456, 760, 440))
    panels = tuple(Panel(n.id, n.kind, views[n.kind], b) for n, b in zip(notes, boxes, strict=False))
    return Sheet(Image.new("RGB", (1536, 896)), panels, notes)


def rules(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(f.rule, f.severity) for f in findings]


@pytest.mark.parametrize(
    ("format", "text"),
    [
        (
            "prose",
            "Reference sheet: mara: a tall woman with red hair and a green coat; "
            "brass_lamp: a brass oil lamp with a cracked chimney; the old quay at dusk, wet cobbles and nets"
            "\n\nGenerated video: mara lifts brass_lamp.",
        ),
        (
            "inline",
            "Reference sheet: mara: a tall woman with red hair and a green coat; "
            "brass_lamp: a brass oil lamp with a cracked chimney; the old quay at dusk, wet cobbles and nets"
            ". Generated video: mara lifts brass_lamp.",
        ),
        (
            "markdown",
            "### Reference Sheet Description\n"
            "**Full Height Left (Character):** mara: a tall woman with red hair and a green coat\n"
            "**Top Row Right (Prop):** brass_lamp: a brass oil lamp with a cracked chimney\n"
            "**Bottom Row Right (Location):** the old quay at dusk, wet cobbles and nets\n"
            "### Target Description\n"
            "mara lifts brass_lamp.",
        ),
    ],
)
def test_formats_are_the_published_ones(format, text):
    """Red: the words that the adapter was trained on change, and identities get weaker without any error."""
    assert build(sheet(), "mara lifts brass_lamp.", format).text == text


words = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=80)
words = words.filter(lambda text: not is_two_part(text))
actions = words.filter(lambda text: any(letter.isalnum() for letter in text))


@given(
    action=actions,
    descriptions=st.lists(words, min_size=3, max_size=3),
    format=st.sampled_from(FORMATS),
    ending=st.sampled_from(["", ".", "...", "!", "?\nThen it rains."]),
)
@settings(max_examples=100, deadline=None)
def test_what_is_built_can_be_read(action, descriptions, format, ending):
    """Red: a prompt from a sidecar or a user's file is read as another prompt than the one that was built."""
    notes = tuple(ElementNote(n.id, n.kind, text) for n, text in zip(NOTES, descriptions, strict=True))
    built = build(sheet(notes), action + ending, format)
    assert parse(built.text) == built
    assert parse(built.text).text == built.text


def test_the_users_own_prompt_is_kept_to_the_letter():
    """Red: a prompt that a user tuned by hand is silently rewritten."""
    own = "REFERENCE SHEET : a woman;  a lamp \n Generated  Video: she  waves. "
    assert build(sheet(), own).text == own
    assert parse(own).items == ("a woman", "a lamp")
    assert parse(own).action == "she  waves."


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a woman walks", "lacks its half 'Reference sheet:'"),
        ("Reference sheet: a woman", "lacks its half 'Generated video:'"),
        ("Generated video: she walks", "lacks its half 'Reference sheet:'"),
        ("### Target Description\nshe walks", "lacks its half '### Reference Sheet Description'"),
        ("Generated video: she walks\n\nReference sheet: a woman", "stands before"),
        ("Please. Reference sheet: a woman\n\nGenerated video: she walks", "'Please.' stands before"),
        ("Reference sheet: \n\nGenerated video: she walks", "reference half is empty"),
        ("Reference sheet: a woman\n\nGenerated video:  ", "action is empty"),
        ("Reference sheet: a\n\nGenerated video: b\n\nGenerated video: c", "contains the heading"),
    ],
)
def test_an_unreadable_prompt_says_why(text, says):
    """Red: a prompt with a missing half is sent to the model, which then ignores the sheet."""
    with pytest.raises(PromptError, match=says.replace("(", r"\(")) as caught:
        parse(text)
    assert caught.value.remedy
    assert rules(lint_prompt(text)) == [("P01", "error")]


def test_building_needs_words():
    """Red: an empty action or a bare picture gives a prompt with nothing in one half."""
    with pytest.raises(PromptError, match="action is empty"):
        build(sheet(), " \n ")
    with pytest.raises(PromptError, match="bare picture"):
        build(Sheet(Image.new("RGB", (64, 64))), "mara walks")
    with pytest.raises(PromptError, match="unknown prompt format"):
        Prompt("a", "b", "haiku")


def test_descriptions_are_bound_to_their_identifier():
    """Red: the action's names point at nothing, so the model does not know whose looks to copy."""
    assert describe(MARA) == "mara: a tall woman with red hair and a green coat"
    assert describe(ElementNote("mara", "character", "Mara, a tall woman.")) == "Mara, a tall woman"
    assert (
        describe(ElementNote("cat", "prop", "a caterpillar;\n very green"))
        == "cat: a caterpillar, very green"
    )
    assert describe(ElementNote("cat", "prop", " ")) == "cat"


def test_a_good_prompt_is_silent():
    """Red: users learn to ignore the checks because they cry at every prompt."""
    actions = (
        "mara lifts brass_lamp and looks at the quay. Slow push-in, 35mm, 4k, a half-open door creaks.",
        "On Monday the Victorian quay is empty; then Mara walks left. Camera: Wide shot. TV light flickers.",
        'Mara\'s hand rests on the Brass Lamp: she says: "Wait for me." An F-16 passes, as in an mp4.',
    )
    for format in FORMATS:
        for action in actions:
            assert lint_prompt(build(sheet(), action, format), sheet()) == []


def test_p01_headings():
    """Red: headings that the adapter was not trained on pass unseen."""
    own = "reference sheet: mara; brass_lamp; quay\nGenerated video: mara walks"
    found = lint_prompt(own, sheet())
    assert rules(found) == [("P01", "warning"), ("P01", "warning")]
    assert "'Reference sheet:'" in found[0].message
    assert "blank line" in found[1].message


@pytest.mark.parametrize(
    ("action", "named", "severity"),
    [
        ("mara meets hero2", "hero2", "error"),
        ("mara meets old_man", "old_man", "error"),
        ("mara meets @tom at the quay", "tom", "error"),
        ("mara remembers covid-19", "covid-19", "warning"),
        ("mara meets Ferdinand", "Ferdinand", "warning"),
    ],
)
def test_p02_who_is_on_no_sheet(action, named, severity):
    """Red: the action calls for somebody whose looks the model must invent, and nobody is told."""
    found = lint_prompt(build(sheet(), action), sheet())
    assert rules(found) == [("P02", severity)]
    assert repr(named) in found[0].message or repr("@" + named) in found[0].message


def test_p02_numbered_siblings_are_certain():
    """Red: hero-2 passes as an English word although the sheet has a hero-1."""
    twins = (ElementNote("hero-1", "character", "a knight"),)
    found = lint_prompt(build(sheet(twins), "hero-1 meets hero-2"), sheet(twins))
    assert rules(found) == [("P02", "error")]


def test_p02_without_a_manifest_believes_the_first_half():
    """Red: prompts for sheets made elsewhere are refused, or not checked at all."""
    own = "Reference sheet: hero1: a knight; Tom the dwarf\n\nGenerated video: hero1 greets {}"
    bare = Sheet(Image.new("RGB", (64, 64)))
    assert lint_prompt(own.format("Tom"), None) == []
    assert lint_prompt(own.format("Tom"), bare) == []
    assert rules(lint_prompt(own.format("hero2"), bare)) == [("P02", "error")]


@pytest.mark.parametrize(
    ("action", "strangers"),
    [
        ("Ann waves", True),
        ("then Ann", True),
        ("Ann walks past the lamp", True),
        ("the wind moves the leaves", True),
        ("mara walks", False),
        ("Mara walks", False),
        ("the woman waves", False),
        ("she waves", False),
        ("everyone runs", False),
        ("two people talk", False),
    ],
)
def test_p02_an_action_of_strangers(action, strangers):
    """Red: an action that means nobody of the sheet passes ("Ann waves" on mara's sheet), or a plain one is
    called wrong."""
    found = [f for f in lint_prompt(build(sheet(), action), sheet()) if "none of the sheet" in f.message]
    assert len(found) == strangers


@pytest.mark.parametrize("action", ["mara sees The Sun", "mara greets the Moon"])
def test_p02_capitals_that_are_no_names(action):
    """Red: ordinary words with a capital are taken for people."""
    assert rules(lint_prompt(build(sheet(), action), sheet())) == []


def test_p02_every_element_is_described_once():
    """Red: an element of the sheet is missing from the prompt, or described twice with two looks."""
    half = "Reference sheet: mara: a woman; mara: a woman in blue; brass_lamp\n\nGenerated video: mara walks"
    found = lint_prompt(half, sheet())
    assert rules(found) == [("P02", "warning"), ("P02", "warning")]
    assert "'mara' 2 times" in found[0].message
    assert found[1].element == "quay"


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        ("Reference sheet: **mara**\n\nGenerated video: mara walks", "markdown: '**'"),
        ("Reference sheet: Top Row Left: mara\n\nGenerated video: mara walks", "labels: 'Top Row'"),
        ("Reference sheet: panel 1 mara\n\nGenerated video: mara walks", "labels: 'panel 1'"),
        (
            "Reference sheet: mara\n\nGenerated video: mara walks, no watermark, no text",
            "'watermark', 'text'",
        ),
    ],
)
def test_p04_what_draws_lettering(prompt, says):
    """Red: the words that are known to draw fake lettering reach the model unremarked."""
    found = lint_prompt(prompt)
    assert rules(found) == [("P04", "warning")]
    assert says in found[0].message


def test_p04_leaves_meant_words_alone():
    """Red: textures, solar panels, and a logo that is on the sheet are reported as lettering."""
    logo = (ElementNote("shop_logo", "prop", "a round logo"),)
    assert lint_prompt(build(sheet(logo), "the shop_logo turns on a textured solar panel"), sheet(logo)) == []
    labels = build(sheet(), "mara walks, no text", "markdown")
    assert lint_prompt(labels, sheet()) == []


def test_p06_the_encoder_reads_so_far():
    """Red: the end of a long prompt, the action, is cut off without a word."""
    many = "mara walks " * 300
    assert lint_prompt(build(sheet(), many), sheet()) == []
    assert rules(lint_prompt(build(sheet(), many * 2), sheet())) == [("P06", "error")]
    assert rules(lint_prompt(build(sheet(), "mara walks " * 400), sheet())) == [("P06", "warning")]


def test_findings_are_json():
    """Red: `castsheet lint --json` and sidecars cannot carry a finding."""
    found = lint_prompt(build(sheet(), "mara meets hero2"), sheet())
    assert json.loads(json.dumps(found[0].to_dict()))["rule"] == "P02"
