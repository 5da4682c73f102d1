"""Gemma-3 as a reader of pictures: the text encoder's weights with their vision tower and language head."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from tokenizers import Tokenizer
from torch import Tensor
from transformers import Gemma3ForConditionalGeneration

from castsheet.errors import TextEncoderError
from castsheet.ltx.parts.gemma import gemma_fingerprint, load_tokenizer, read_config

_REMEDY = "use the image-text folder (google/gemma-3-12b-it), an endpoint, or no model"
_MAX_WORDS = 200  # new tokens; a description has some 60


class GemmaVision:
    """A Gemma-3 that answers a question about a picture; the answer is always the same (greedy decoding).

    Attributes:
        name: identifies the weights in caches.
    """

    def __init__(self, model: Any, tokenizer: Tokenizer, bos: int, name: str) -> None:
        self.model, self.tokenizer, self.bos, self.name = model, tokenizer, bos, name

    @classmethod
    def load(
        cls, folder: Path | str, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.bfloat16
    ) -> GemmaVision:
        """Load an image-text Gemma-3 folder.

        Raises:
            TextEncoderError: a file is missing or damaged, or the folder holds the text model alone.
        """
        folder = Path(folder)
        if folder.is_file() or str(read_config(folder).get("model_type")).startswith("gemma4"):
            raise TextEncoderError(
                f"{folder} encodes prompts and writes none: LTX-2.5's text encoder was not trained to answer",
                remedy=f"{_REMEDY}; the first two describe pictures for LTX-2.5 as well",
            )
        if read_config(folder).get("model_type") != "gemma3":
            raise TextEncoderError(f"{folder} holds no vision tower: it reads text alone", remedy=_REMEDY)
        tokenizer, bos, _ = load_tokenizer(folder)
        fingerprint = gemma_fingerprint(folder)
        try:
            model, told = Gemma3ForConditionalGeneration.from_pretrained(
                folder, dtype=dtype, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
        except (OSError, SafetensorError, RuntimeError, ValueError, KeyError, TypeError) as error:
            raise TextEncoderError(f"{folder} cannot be loaded: {error}", remedy=_REMEDY) from error
        missing = [name for name in told["missing_keys"] if not name.endswith("lm_head.weight")]
        if missing:  # a file may leave out the head: it is the embedding
            raise TextEncoderError(
                f"{folder} lacks {len(missing)} tensors, such as {missing[0]}", remedy=_REMEDY
            )
        return cls(model.to(device).eval(), tokenizer, bos, f"gemma-3 {fingerprint}")

    @torch.no_grad()
    def answer(self, picture: Image.Image, question: str) -> str:
        """The model's answer to a question about a picture."""
        inputs = self.inputs(picture, question)
        stops = [self.tokenizer.token_to_id(word) for word in ("<eos>", "<end_of_turn>")]
        known = [stop for stop in stops if stop is not None]
        found = self.model.generate(
            **inputs, max_new_tokens=_MAX_WORDS, do_sample=False, eos_token_id=known or None, pad_token_id=0
        )
        new = found[0, inputs["input_ids"].shape[1] :].tolist()
        return str(self.tokenizer.decode(new, skip_special_tokens=True)).strip()

    def inputs(self, picture: Image.Image, question: str) -> dict[str, Tensor]:
        """One user's turn in Gemma-3's chat format: the picture's tokens between their marks, then the text.

        Shapes: ids (1,N), pixels (1,3,S,S).
        """
        config = self.model.config
        seen = [config.image_token_index] * config.mm_tokens_per_image
        ids = [
            self.bos,
            *self._encode("<start_of_turn>user\n\n\n"),
            *(config.boi_token_index, *seen, config.eoi_token_index),
            *self._encode(f"\n\n{question}<end_of_turn>\n<start_of_turn>model\n"),
        ]
        ids_BN = torch.tensor([ids], device=self.model.device)
        return {
            "input_ids": ids_BN,
            "attention_mask": torch.ones_like(ids_BN),
            # A picture's tokens see each other.
            "token_type_ids": (ids_BN == config.image_token_index).long(),
            "pixel_values": self._pixels(picture),
        }

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def _pixels(self, picture: Image.Image) -> Tensor:
        """(1,3,S,S) in -1..1 at the tower's size S; the picture is fitted on black, not stretched."""
        side = self.model.config.vision_config.image_size
        fitted = picture.convert("RGB")
        fitted.thumbnail((side, side), Image.Resampling.BICUBIC)
        square = Image.new("RGB", (side, side))
        square.paste(fitted, ((side - fitted.width) // 2, (side - fitted.height) // 2))
        pixels = torch.from_numpy(np.asarray(square, np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
        return pixels.to(self.model.device, self.model.dtype)
