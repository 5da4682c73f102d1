"""Models of transformers and diffusers as back ends: by a folder, or by an id whose files are in the local
cache.

Nothing is downloaded here. Embedders are the judge's `HubFeatures`.

Legend: F frames, N boxes, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from castsheet.errors import CheckpointError
from castsheet.machine.regular import is_folder
from castsheet.pairs.protocols import Floats, Found, Pixels
from castsheet.sheet.box import Box

SURE = 0.3  # open-set detectors: public pipelines take 0.25 to 0.3
SUBJECTS = ("a person",)
_ANSWER = 120  # tokens
_SIDES = 64  # px: inpainters take sides that are multiples of it
_EMPTY = "the empty place, with nobody in it"


class _Hub:
    """A model and its processor, loaded when they are first asked.

    Raises:
        CheckpointError: when it is asked: the model is not on this machine, or is of another kind.
    """

    kind = ""  # the class that opens it

    def __init__(self, model: str, device: str = "cpu") -> None:
        self.model, self.device = model, device
        self.name = f"hub:{Path(model).name if is_folder(Path(model)) else model}"

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        import transformers

        opened = {"local_files_only": True}
        try:
            processor = transformers.AutoProcessor.from_pretrained(self.model, **opened)
            model = getattr(transformers, self.kind).from_pretrained(self.model, **opened)
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise self._unopened(error) from error
        return processor, model.to(self.device).eval()

    def _unopened(self, error: Exception) -> CheckpointError:
        told = str(error).splitlines()[0] if str(error) else type(error).__name__
        return CheckpointError(
            f"{self.model} cannot be opened as {self.kind}: {told}",
            remedy="download it first and accept its licence, or give its folder",
        )

    def _ask(self, **given: Any) -> tuple[Any, Any, Any]:
        """Processor, its tensors for some input, and what the model gives for them."""
        import torch

        processor, model = self._loaded
        read = processor(**given, return_tensors="pt").to(self.device)
        with torch.inference_mode():
            return processor, read, model(**read)


class HubDetector(_Hub):
    """An open-set detector, such as Grounding DINO or OWLv2."""

    kind = "AutoModelForZeroShotObjectDetection"

    def find(self, frame_HW3: Pixels, words: Sequence[str]) -> list[Found]:
        """All that the words name, the surest first."""
        picture, size = Image.fromarray(frame_HW3), [frame_HW3.shape[:2]]
        processor, read, seen = self._ask(images=picture, text=[list(words)])
        after = processor.post_process_grounded_object_detection
        if "input_ids" in after.__code__.co_varnames:  # Grounding DINO reads the words again
            (told,) = after(seen, read["input_ids"], threshold=SURE, text_threshold=SURE, target_sizes=size)
        else:
            (told,) = after(seen, threshold=SURE, target_sizes=size, text_labels=[list(words)])
        found = [
            Found(box, str(word), float(score))
            for corners, word, score in zip(
                told["boxes"].tolist(), told["text_labels"], told["scores"].tolist(), strict=True
            )
            if (box := clipped(corners, frame_HW3)) is not None
        ]
        return sorted(found, key=lambda one: -one.score)


class HubSegmenter(_Hub):
    """A segmenter that is told boxes, such as SAM; a detector tells it where subjects are."""

    kind = "AutoModelForMaskGeneration"

    def __init__(self, model: str, detector: HubDetector | None = None, device: str = "cpu") -> None:
        super().__init__(model, device)
        self._detector = detector

    def cover(self, frames_FHW3: Pixels) -> Floats:
        """Everybody whom the detector finds; without one, whatever fills the frame's middle."""
        found = []
        for frame in frames_FHW3:
            height, width = frame.shape[:2]
            middle = [Box(width // 6, height // 12, width * 2 // 3, height * 5 // 6)]
            seen = middle if self._detector is None else [o.box for o in self._detector.find(frame, SUBJECTS)]
            masks = self.within(frame, seen)
            found.append(masks.max(axis=0) if len(masks) else np.zeros(frame.shape[:2], np.float32))
        return np.stack(found)

    def within(self, frame_HW3: Pixels, boxes: Sequence[Box]) -> Floats:
        """The mask of each box (N, H, W), 0 or 1."""
        height, width = frame_HW3.shape[:2]
        if not boxes:
            return np.zeros((0, height, width), np.float32)
        given = [[[float(one) for one in box.corners] for box in boxes]]
        processor, read, seen = self._ask(images=Image.fromarray(frame_HW3), input_boxes=given)
        sizes = [read[name].cpu() for name in ("original_sizes", "reshaped_input_sizes") if name in read]
        masks = processor.post_process_masks(seen.pred_masks.cpu(), *sizes)[0]
        best = seen.iou_scores[0].argmax(dim=-1)
        found = np.zeros((len(boxes), height, width), np.float32)
        for number, box in enumerate(boxes):
            mask = masks[number, int(best[number])].numpy().astype(np.float32)
            inside = slice(box.y, box.bottom), slice(box.x, box.right)
            found[number][inside] = mask[inside]
        return found


class HubCaptioner(_Hub):
    """A chat model that sees pictures, such as Qwen-VL or Gemma 3."""

    kind = "AutoModelForImageTextToText"

    def say(self, frames_FHW3: Pixels, question: str) -> str:
        """The model's answer, greedily."""
        import torch

        processor, model = self._loaded
        content: list[dict[str, Any]] = [
            {"type": "image", "image": Image.fromarray(frame)} for frame in frames_FHW3
        ]
        messages = [{"role": "user", "content": [*content, {"type": "text", "text": question}]}]
        read = processor.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        ).to(self.device)
        with torch.inference_mode():
            told = model.generate(**read, max_new_tokens=_ANSWER, do_sample=False)
        answer = told[0, read["input_ids"].shape[1] :]
        return str(processor.decode(answer, skip_special_tokens=True)).strip()


class HubInpainter(_Hub):
    """An inpainting pipeline of diffusers, such as Stable Diffusion's. It reads only safetensors."""

    kind = "AutoPipelineForInpainting"

    @cached_property
    def _pipeline(self) -> Any:
        import diffusers

        opened = {"local_files_only": True, "use_safetensors": True}
        try:
            pipeline = diffusers.AutoPipelineForInpainting.from_pretrained(self.model, **opened)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._unopened(error) from error
        pipeline.set_progress_bar_config(disable=True)
        return pipeline.to(self.device)

    def fill(self, picture: Image.Image, hole_HW: NDArray[np.bool_]) -> Image.Image:
        """The picture with the model's pixels in the hole, and its own everywhere else; always the same."""
        import torch

        pixels = np.asarray(picture.convert("RGB"))
        more = [(0, -side % _SIDES) for side in hole_HW.shape]
        wide = np.pad(pixels, [*more, (0, 0)], mode="edge")
        mask = np.pad(hole_HW, more)
        made = self._pipeline(
            prompt=_EMPTY,
            image=Image.fromarray(wide),
            mask_image=Image.fromarray((mask * 255).astype(np.uint8)),
            height=wide.shape[0],
            width=wide.shape[1],
            generator=torch.Generator().manual_seed(0),
        ).images[0]
        part = np.asarray(made.convert("RGB").resize(wide.shape[1::-1]))[: pixels.shape[0], : pixels.shape[1]]
        return Image.fromarray(np.where(hole_HW[..., None], part, pixels))


def clipped(corners: Sequence[float], frame_HW3: Pixels) -> Box | None:
    """A box (left, top, right, bottom) inside a frame; None if nothing of it is."""
    height, width = frame_HW3.shape[:2]
    left, right = (min(max(round(value), 0), width) for value in corners[::2])
    top, bottom = (min(max(round(value), 0), height) for value in corners[1::2])
    return Box(left, top, right - left, bottom - top) if right > left and bottom > top else None
