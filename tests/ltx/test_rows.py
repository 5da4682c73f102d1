"""Rows between products: the right row for every token, and the form in which the next product reads them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from castsheet.ltx.model.dit import Stream, Transformer
from castsheet.ltx.model.rows import Form, RowOps, add_gated, modulate, through
from castsheet.ltx.model.scaled import Quantised, quantise_rows
from castsheet.ltx.speed.fast import fuse_rows
from castsheet.ltx.speed.joint import join_projections
from tests.doubles.ltx_tiny import TARGET, pair, quantise, randn, tiny_audio, tiny_transformer, tiny_video

BOTH = pytest.mark.parametrize("audio", [False, True])


def streams(model: Transformer) -> tuple[Stream, Stream | None]:
    audio = tiny_audio(model.config) if model.config.audio else None
    return tiny_video(model.config, reference=2), audio


def close(left: Tensor, right: Tensor) -> None:
    assert (left - right).norm() <= 1e-5 * right.norm()


@pytest.mark.parametrize("segments", [(3, 2, 4), (3, 2), (5,)])
def test_rows_are_found_alike_with_and_without_gradients(segments: tuple[int, ...]) -> None:
    """Red: a token is modulated by another segment's row, in training or in generation only."""
    x, rows = randn(2, sum(segments), 4, seed=4), randn(2, 3, 4, seed=5)  # trailing rows have no tokens
    own = rows[:, : len(segments)].repeat_interleave(torch.tensor(segments), dim=1)
    with torch.no_grad():
        looked_up = modulate(x, rows, 2 * rows, segments), add_gated(x, 3 * x, rows, segments)
    in_parts = modulate(x, rows, 2 * rows, segments), add_gated(x, 3 * x, rows, segments)
    for got in (looked_up, in_parts):
        assert torch.equal(got[0], x * (1 + 2 * own) + own)
        assert torch.equal(got[1], x + own * (3 * x))


class Noted(RowOps):
    """Plain, and notes in which form rows were asked for."""

    def __init__(self) -> None:
        self.forms: list[tuple[str, Form]] = []

    def add_norm_modulate(self, *given: Any) -> tuple[Tensor, Tensor]:
        self.forms.append(("add_norm_modulate", given[-1]))
        return super().add_norm_modulate(*given)

    def gate(self, x_BTHD: Tensor, logits_BTH: Tensor, form: Form = "wide") -> Tensor:
        self.forms.append(("gate", form))
        return super().gate(x_BTHD, logits_BTH, form)

    def gelu(self, layer: nn.Module, x: Tensor | Quantised, form: Form = "wide") -> Tensor:
        self.forms.append(("gelu", form))
        return super().gelu(layer, x, form)


@pytest.mark.parametrize(
    ("precision", "attention", "feed"), [("plain", "wide", "wide"), ("fp8", "both", "scaled")]
)
@torch.no_grad()
def test_rows_are_asked_for_as_the_next_product_reads_them(
    precision: str, attention: Form, feed: Form
) -> None:
    """Red: kernels leave rows to be quantised again, or quantise what a plain layer reads."""
    model = tiny_transformer() if precision == "plain" else quantise(tiny_transformer())
    noted = Noted()
    fuse_rows(join_projections(model), noted)
    model(streams(model)[0], targets=TARGET)
    block = [("add_norm_modulate", attention), ("gate", feed)] * 2 + [
        ("add_norm_modulate", feed),
        ("gelu", feed),
    ]
    assert noted.forms == block * model.config.layers


class Ahead(RowOps):
    """Plain, but rows are quantised where they are made, as the kernels do."""

    def add_norm_modulate(self, *given: Any) -> tuple[Tensor, Tensor | Quantised]:
        x, rows = super().add_norm_modulate(*given)
        return x, self._as(rows, given[-1])

    def gate(self, x_BTHD: Tensor, logits_BTH: Tensor, form: Form = "wide") -> Tensor | Quantised:
        return self._as(super().gate(x_BTHD, logits_BTH), form)

    def gelu(self, layer: nn.Module, x: Tensor | Quantised, form: Form = "wide") -> Tensor | Quantised:
        return self._as(super().gelu(layer, x), form)

    @staticmethod
    def _as(rows: Tensor | Quantised, form: Form) -> Tensor | Quantised:
        if form == "wide" or isinstance(rows, Quantised):
            return rows
        return Quantised(*quantise_rows(rows), rows.dtype, rows if form == "both" else None)


@BOTH
@pytest.mark.parametrize("joined", [False, True])
@torch.no_grad()
def test_rows_quantised_ahead_change_nothing(audio: bool, joined: bool) -> None:
    """Red: a layer in fp8 reads other numbers where a kernel has quantised its rows already."""
    model = quantise(tiny_transformer(audio=audio))
    video, sound = streams(model)
    passes = pair(video, sound, stg_blocks=(1,))
    before = model.forward_passes(passes, targets=TARGET)
    fuse_rows(join_projections(model) if joined else model, Ahead())
    for left, right in zip(model.forward_passes(passes, targets=TARGET), before, strict=True):
        close(left.video_BTC, right.video_BTC)
        if left.audio_BTC is not None and right.audio_BTC is not None:
            close(left.audio_BTC, right.audio_BTC)


def test_rows_in_fp8_only_are_no_rows_for_a_plain_layer() -> None:
    """Red: a plain layer multiplies numbers without their scales."""
    rows = Quantised(*quantise_rows(randn(1, 3, 16, seed=7)), torch.float32)
    with pytest.raises(ValueError, match="fp8 only"):
        through(nn.Linear(16, 16), rows)
    assert rows[:, :2].shape == (1, 2, 16)
