"""Invented names and descriptions for mini's prompts, and its tokenizer.

The descriptions hold appearance words drawn at random, unrelated to the picture: the text encoder learns that
looks are not to be read from words, and a user's own descriptions do no harm.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from mini.training.architecture import CONTEXT, VOCABULARY

NEGATIVE = "worst quality, inconsistent motion, blurry, jittery, distorted"

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
_CONSONANTS, _VOWELS = "bcdfghjklmnprstvwz", "aeiou"


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
