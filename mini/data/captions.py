"""Mini's prompts: what its captions say, and never say.

Captions name actions and elements but carry no true appearance words, so only the sheet can tell the looks.
Half of the descriptions hold appearance words drawn at random, unrelated to the picture: the text encoder
learns that looks are not to be read from words, and a user's own descriptions do no harm.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from mini.training.architecture import CONTEXT, VOCABULARY

NEGATIVE = "worst quality, inconsistent motion, blurry, jittery, distorted"

PHRASES: dict[str, tuple[str, ...]] = {
    "walk left": (
        "walks to the left",
        "walks left across the scene",
        "walks from right to left",
        "strolls to the left",
    ),
    "walk right": (
        "walks to the right",
        "walks right across the scene",
        "walks from left to right",
        "strolls to the right",
    ),
    "wave": (
        "waves",
        "waves at us",
        "raises one hand and waves",
        "waves hello",
        "waves a hand at the camera",
    ),
    "jump": (
        "jumps",
        "jumps up and down",
        "jumps on the spot",
        "jumps for joy",
        "leaps into the air again and again",
    ),
    "turn round": (
        "turns round",
        "turns around once",
        "turns round on the spot",
        "makes a full turn",
        "slowly turns around",
    ),
    "lift": (
        "lifts {prop}",
        "lifts {prop} overhead",
        "raises {prop} with both hands",
        "picks up {prop} and lifts it up",
    ),
}
_PEOPLE = (
    "the person",
    "a person",
    "the hero",
    "someone",
    "the character",
    "the woman",
    "the man",
    "the girl",
    "the boy",
)
_PROPS = ("the prop", "a thing", "the object", "a box", "the ball", "a toy", "a drum", "the star", "a cone")
_PLACES = (
    "a place",
    "the place",
    "an empty place",
    "a landscape",
    "hills",
    "a town",
    "an open field",
    "the scene",
)
_COLOURS = (
    "red",
    "blue",
    "green",
    "yellow",
    "black",
    "white",
    "orange",
    "purple",
    "pink",
    "grey",
    "teal",
    "brown",
    "golden",
)
_CLOTHES = (
    "coat",
    "jacket",
    "shirt",
    "trousers",
    "shorts",
    "hat",
    "cap",
    "boots",
    "dress",
    "sweater",
    "scarf",
    "shoes",
)
_HAIR = ("short", "long", "curly", "blond", "dark", "grey", "red", "braided")
_ADJECTIVES = (
    "tall",
    "short",
    "young",
    "old",
    "small",
    "large",
    "round",
    "bright",
    "quiet",
    "wide",
    "striped",
    "shiny",
)
_EXTRAS = (
    " in close-up and from all sides",
    " seen from the front, the side and the back",
    ", full figure",
    "",
    "",
    "",
    "",
)
_PLACE_TAILS = ("in {place}", "there", "at {place}", "", "", "", "in the scene")
_CONSONANTS, _VOWELS = "bcdfghjklmnprstvwz", "aeiou"


def caption(action: str, random: np.random.Generator) -> str:
    """A training prompt for an action, in one of the published two-part formats or without a first half."""
    names = [_name(random) if random.random() < 0.5 else "" for _ in range(3)]
    person, prop, place = (
        _bound(name, _describe(pool, kind, random)) if random.random() < 0.9 else (name or pool[0])
        for name, pool, kind in zip(
            names, (_PEOPLE, _PROPS, _PLACES), ("person", "prop", "place"), strict=True
        )
    )
    subject = names[0] or _pick(_PEOPLE, random)
    thing, where = names[1] or _pick(_PROPS, random), names[2] or _pick(_PLACES, random)
    deed = _pick(PHRASES[action], random).format(prop=thing)
    tail = _pick(_PLACE_TAILS, random).format(place=where)
    sentence = f"{subject} {deed} {tail}".strip()
    sentence = sentence[0].upper() + sentence[1:] if random.random() < 0.7 else sentence
    form = random.random()
    items = [person, prop, place]
    if random.random() < 0.2:
        items = [items[i] for i in random.permutation(3)]
    stop = "." if random.random() < 0.7 else ""
    if form < 0.7:
        return f"Reference sheet: {'; '.join(items)}{stop}\n\nGenerated video: {sentence}{stop}"
    if form < 0.8:
        return f"Reference sheet: {', '.join(items)}. Generated video: {sentence}."
    if form < 0.9:
        panels = "\n".join(
            f"**{kind}:** {item}" for kind, item in zip(("Character", "Prop", "Location"), items, strict=True)
        )
        return f"### Reference Sheet Description\n{panels}\n### Target Description\n{sentence}{stop}"
    return sentence + stop


def _describe(pool: tuple[str, ...], kind: str, random: np.random.Generator) -> str:
    noun = _pick(pool, random)
    if random.random() < 0.5:
        return noun
    if kind == "person":
        parts = [
            f"{_pick(_ADJECTIVES, random)} {noun}",
            f"{noun} in a {_pick(_COLOURS, random)} {_pick(_CLOTHES, random)}",
            f"{noun} with {_pick(_HAIR, random)} hair, {_pick(_COLOURS, random)} {_pick(_CLOTHES, random)}",
        ]
        return _pick(tuple(parts), random) + _pick(_EXTRAS, random)
    return f"{noun}, {_pick(_COLOURS, random)} and {_pick(_ADJECTIVES, random)}"


def _bound(name: str, description: str) -> str:
    return f"{name}: {description}" if name else description


def _name(random: np.random.Generator) -> str:
    syllables = int(random.integers(1, 4))
    word = "".join(_pick(_CONSONANTS, random) + _pick(_VOWELS, random) for _ in range(syllables))
    word += _pick(_CONSONANTS, random) if random.random() < 0.4 else ""
    return word + (str(int(random.integers(1, 10))) if random.random() < 0.15 else "")


def _pick(options: tuple[str, ...] | str, random: np.random.Generator) -> str:
    return options[int(random.integers(len(options)))]


def invented_description(kind: str, random: np.random.Generator) -> str:
    """Words about the looks of a "person", "prop" or "place" that are true of nobody in particular."""
    return _describe({"person": _PEOPLE, "prop": _PROPS, "place": _PLACES}[kind], kind, random)


def invented_name(random: np.random.Generator) -> str:
    """An identifier of one to three syllables."""
    return _name(random)


def train_tokenizer(folder: Path, texts: Iterable[str]) -> None:
    """Train mini's byte-level BPE on texts and write the two files of a tokenizer folder."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": CONTEXT,
        "padding_side": "left",
        "pad_token": "<pad>",
        "eos_token": "<eos>",
        "bos_token": "<bos>",
        "unk_token": "<unk>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1) + "\n")
