"""One block of the denoiser, and what all blocks read about a stream.

The published formulas, in the order in which a block computes them for a stream x:

    x += gate_msa * attn1(rms(x) * (1 + scale_msa) + shift_msa)
    x += gate_q   * attn2(rms(x) * (1 + scale_q) + shift_q, context * (1 + pscale) + pshift)
    x += gate_a2v * audio_to_video_attn(...)                       (only beside an audio stream)
    x += gate_mlp * ff(rms(x) * (1 + scale_mlp) + shift_mlp)

Legend: B batch, T tokens, L context tokens, C or D channels, S segments, R rows of a modulation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from castsheet.ltx.model.config import TransformerConfig
from castsheet.ltx.model.layers import Attention, FeedForward
from castsheet.ltx.model.rows import PLAIN, Residual, RowOps, Update, form_for
from castsheet.ltx.model.sequence import Sequence


@dataclass(frozen=True)
class CrossConditions:
    """What the attentions between the streams read about one stream.

    `mod_BSRC` has 4 rows. `gate_BSC` has one segment, and so has `mod_BSRC` under the other stream's sigma.
    """

    mod_BSRC: Tensor
    gate_BSC: Tensor


@dataclass(frozen=True)
class Conditions:
    """What all blocks read about one stream; no block changes it.

    `mod_BSRC` has 9 rows a segment: shift, scale and gate of the self-attention, of the feed-forward and of
    the text attention. `prompt_mod_BRC` has 2: shift and scale of the text. `embedded_BSC` is for the output
    layer.
    """

    mod_BSRC: Tensor
    prompt_mod_BRC: Tensor
    embedded_BSC: Tensor
    context_BLD: Tensor
    sequence: Sequence
    cross: CrossConditions | None = None


def new_table(rows: int, dim: int) -> nn.Parameter:
    """A modulation table of an untrained model."""
    return nn.Parameter(torch.randn(rows, dim) / dim**0.5)


class Block(nn.Module):
    """One transformer block: the video stream, and beside it the audio stream if the model has one."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.eps = config.norm_eps
        self.ops: RowOps = PLAIN
        dim, head = config.dim, (config.heads, config.head_dim, config.norm_eps)
        self.attn1 = Attention(dim, dim, *head)
        self.attn2 = Attention(dim, config.context_dim, *head)
        self.ff = FeedForward(dim, config.ff_bias)
        self.scale_shift_table = new_table(9, dim)
        self.prompt_scale_shift_table = new_table(2, dim)
        if not config.audio:
            return
        audio_dim, head = config.audio_dim, (config.audio_heads, config.audio_head_dim, config.norm_eps)
        self.audio_attn1 = Attention(audio_dim, audio_dim, *head)
        self.audio_attn2 = Attention(audio_dim, config.audio_context_dim, *head)
        self.audio_ff = FeedForward(audio_dim)
        self.audio_to_video_attn = Attention(dim, audio_dim, *head)
        self.video_to_audio_attn = Attention(audio_dim, dim, *head)
        self.audio_scale_shift_table = new_table(9, audio_dim)
        self.audio_prompt_scale_shift_table = new_table(2, audio_dim)
        self.scale_shift_table_a2v_ca_video = new_table(5, dim)
        self.scale_shift_table_a2v_ca_audio = new_table(5, audio_dim)

    def forward(
        self,
        video_BTC: Tensor,
        video: Conditions,
        audio_BTC: Tensor | None = None,
        audio: Conditions | None = None,
        perturb: bool = False,
        perturb_audio: bool = False,
        isolate: bool = False,
        targets: int | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Both streams through the block: video (B,T,C), and audio or None.

        Args:
            perturb, perturb_audio: replace a stream's self-attention by its values.
            isolate: skip the attentions between the streams.
            targets: return only this many leading video tokens; the other tokens are only read.
        """
        crossing = audio is not None and not isolate
        # With audio, video_to_audio_attn still reads the tokens that are left out later.
        early = None if crossing else targets
        x = Residual(video_BTC, video.sequence.segments, self.ops, self.eps)
        mod = self.scale_shift_table.to(video_BTC.dtype) + video.mod_BSRC
        x.add(self._attend_self(x, video, self.attn1, mod, perturb, early))
        x.add(self._attend_text(x, video, self.attn2, mod, self.prompt_scale_shift_table))
        audio_out = None
        if audio is not None and audio_BTC is not None:
            a = Residual(audio_BTC, audio.sequence.segments, self.ops, self.eps)
            audio_mod = self.audio_scale_shift_table.to(audio_BTC.dtype) + audio.mod_BSRC
            table = self.audio_prompt_scale_shift_table
            a.add(self._attend_self(a, audio, self.audio_attn1, audio_mod, perturb_audio, None))
            a.add(self._attend_text(a, audio, self.audio_attn2, audio_mod, table))
            if crossing:
                to_video, to_audio = self._attend_across(x, video, a, audio)
                x.add(to_video)
                a.add(to_audio)
            a.add(self._feed_forward(a, self.audio_ff, audio_mod))
            audio_out = a.total()
        x.keep(targets)
        x.add(self._feed_forward(x, self.ff, mod))
        return x.total(), audio_out

    def _attend_self(
        self,
        x: Residual,
        to: Conditions,
        attention: Attention,
        mod_BSRC: Tensor,
        perturb: bool,
        targets: int | None,
    ) -> Update:
        """gate_msa * attn1(rms(x) * (1 + scale_msa) + shift_msa); with `targets`, x keeps only them."""
        shift, scale, gate = mod_BSRC[:, :, 0:3].unbind(2)
        h = x.norm_modulate(shift, scale, attention.query_form())
        every = asking = to.sequence
        query = h
        if targets is not None:
            x.keep(targets)
            asking, query = every.first(targets), h[:, :targets]
        by_heads = None if every.shards is None else every.shards.attend
        out = attention(query, h, asking.rope, every.rope, asking.bias, perturb, by_heads)
        return Update(out, gate)

    def _attend_text(
        self, x: Residual, to: Conditions, attention: Attention, mod_BSRC: Tensor, prompt_table_RC: Tensor
    ) -> Update:
        """gate_q * attn2(rms(x) * (1 + scale_q) + shift_q, context * (1 + pscale) + pshift)."""
        shift, scale, gate = mod_BSRC[:, :, 6:9].unbind(2)
        prompt_table_RC = prompt_table_RC.to(x.x_BTC.dtype)
        prompt_shift, prompt_scale = (prompt_table_RC + to.prompt_mod_BRC).split(1, dim=1)
        context = to.context_BLD * (1 + prompt_scale) + prompt_shift
        return Update(attention(x.norm_modulate(shift, scale, attention.query_form()), context), gate)

    def _attend_across(
        self, x: Residual, video: Conditions, a: Residual, audio: Conditions
    ) -> tuple[Update, Update]:
        """Both attentions between the streams. Each reads the streams as they were before both."""
        if video.cross is None or audio.cross is None:
            raise ValueError("streams that attend to each other need their cross conditions")
        video_table = self.scale_shift_table_a2v_ca_video.to(x.x_BTC.dtype)
        audio_table = self.scale_shift_table_a2v_ca_audio.to(a.x_BTC.dtype)
        # Rows: scale and shift for audio-to-video, scale and shift for video-to-audio, gate.
        x_scale1, x_shift1, x_scale2, x_shift2 = (video_table[:4] + video.cross.mod_BSRC).unbind(2)
        a_scale1, a_shift1, a_scale2, a_shift2 = (audio_table[:4] + audio.cross.mod_BSRC).unbind(2)
        to_video, to_audio = self.audio_to_video_attn, self.video_to_audio_attn
        form = to_video.query_form()
        x1, a1 = x.norm_modulate(x_shift1, x_scale1, form), a.norm_modulate(a_shift1, a_scale1, form)
        form = to_audio.query_form()
        x2, a2 = x.norm_modulate(x_shift2, x_scale2, form), a.norm_modulate(a_shift2, a_scale2, form)
        x_rope, a_rope, shards = video.sequence.cross_rope, audio.sequence.cross_rope, video.sequence.shards
        by_heads = None if shards is None else shards.attend_to
        x_update = to_video(x1, a1, x_rope, a_rope)
        a_update = to_audio(a2, x2, a_rope, x_rope, by_heads=by_heads)
        return (
            Update(x_update, video_table[4] + video.cross.gate_BSC),
            Update(a_update, audio_table[4] + audio.cross.gate_BSC),
        )

    def _feed_forward(self, x: Residual, ff: FeedForward, mod_BSRC: Tensor) -> Update:
        """gate_mlp * ff(rms(x) * (1 + scale_mlp) + shift_mlp)."""
        shift, scale, gate = mod_BSRC[:, :, 3:6].unbind(2)
        return Update(ff(x.norm_modulate(shift, scale, form_for(ff.first))), gate)
