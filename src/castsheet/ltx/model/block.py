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

from castsheet.ltx.model.bias import TokenBias
from castsheet.ltx.model.config import TransformerConfig
from castsheet.ltx.model.layers import Attention, FeedForward
from castsheet.ltx.model.rope import Rope
from castsheet.ltx.model.rows import PLAIN, Pending, clip_segments, form_for
from castsheet.ltx.model.sequence import Shards


@dataclass(frozen=True)
class CrossConditions:
    """What the attentions between the streams read about one stream.

    `rows_BSRC` has 4 rows (one segment if they hang on the other stream's sigma), `gate_BSC` one segment.
    """

    rows_BSRC: Tensor
    gate_BSC: Tensor
    rope: Rope


@dataclass(frozen=True)
class Conditions:
    """What every block reads about one stream and no block changes.

    `ada_BSRC` has 9 rows a segment, `prompt_BRC` 2; `embedded_BSC` is for the output layer.
    """

    ada_BSRC: Tensor
    embedded_BSC: Tensor
    prompt_BRC: Tensor
    context_BLD: Tensor
    rope: Rope
    segments: tuple[int, ...]
    bias_TT: Tensor | TokenBias | None
    cross: CrossConditions | None = None
    shards: Shards | None = None


def new_table(rows: int, dim: int) -> nn.Parameter:
    """A modulation table as an untrained model has it."""
    return nn.Parameter(torch.randn(rows, dim) / dim**0.5)


class Block(nn.Module):
    """One transformer block: the video stream, and beside it the audio stream if the model has one."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.eps, self.rows = config.norm_eps, PLAIN
        dim, head = config.dim, (config.heads, config.head_dim, config.norm_eps)
        self.attn1 = Attention(dim, dim, *head)
        self.attn2 = Attention(dim, config.context_dim, *head)
        self.ff = FeedForward(dim)
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
        keep: int | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Both streams through the block. With `keep`, video rows from there on are read but not returned."""
        crossing = audio is not None and not isolate
        # Beside audio, the rows to leave out are still keys of video_to_audio_attn after the text attention.
        early = None if crossing else keep
        rows = self.scale_shift_table.to(video_BTC.dtype) + video.ada_BSRC
        x, more = self._attend_self(video_BTC, video, self.attn1, rows, perturb, early)
        x, more = self._attend_text(x, more, video, self.attn2, rows, self.prompt_scale_shift_table)
        if audio is None or audio_BTC is None:
            return self._feed_forward(x, more, video, self.ff, rows, keep), None
        audio_rows = self.audio_scale_shift_table.to(audio_BTC.dtype) + audio.ada_BSRC
        a, too = self._attend_self(audio_BTC, audio, self.audio_attn1, audio_rows, perturb_audio, None)
        table = self.audio_prompt_scale_shift_table
        a, too = self._attend_text(a, too, audio, self.audio_attn2, audio_rows, table)
        if crossing:
            x, more, a, too = self._attend_across(x, more, video, a, too, audio)
        x = self._feed_forward(x, more, video, self.ff, rows, keep)
        return x, self._feed_forward(a, too, audio, self.audio_ff, audio_rows, None)

    # Each of these gives rows and what is pending for them: the next one adds it as it reads the rows.

    def _attend_self(
        self,
        x: Tensor,
        to: Conditions,
        attention: Attention,
        rows_BSRC: Tensor,
        perturb: bool,
        keep: int | None,
    ) -> tuple[Tensor, Pending]:
        over = None if to.shards is None else to.shards.attend
        shift, scale, gate = rows_BSRC[:, :, 0:3].unbind(2)
        x, h = self.rows.enter(x, None, shift, scale, to.segments, self.eps, attention.query_form())
        if keep is None:
            return x, Pending(attention(h, h, to.rope, to.rope, to.bias_TT, perturb, over), gate)
        bias = None if to.bias_TT is None else to.bias_TT[: to.shards.whole(keep) if to.shards else keep]
        out = attention(h[:, :keep], h, to.rope.first(keep), to.rope, bias, perturb, over)
        return x[:, :keep], Pending(out, gate)

    def _attend_text(
        self,
        x: Tensor,
        pending: Pending,
        to: Conditions,
        attention: Attention,
        rows_BSRC: Tensor,
        prompt_table_RC: Tensor,
    ) -> tuple[Tensor, Pending]:
        segments = clip_segments(to.segments, x.shape[1])
        shift, scale, gate = rows_BSRC[:, :, 6:9].unbind(2)
        prompt_shift, prompt_scale = (prompt_table_RC.to(x.dtype) + to.prompt_BRC).split(1, dim=1)
        context = to.context_BLD * (1 + prompt_scale) + prompt_shift
        x, h = self.rows.enter(x, pending, shift, scale, segments, self.eps, attention.query_form())
        return x, Pending(attention(h, context), gate)

    def _attend_across(
        self, x: Tensor, more: Pending, video: Conditions, a: Tensor, too: Pending, audio: Conditions
    ) -> tuple[Tensor, Pending, Tensor, Pending]:
        """Both attentions between the streams; both read the streams as they were before either."""
        if video.cross is None or audio.cross is None:
            raise ValueError("streams that attend to each other need their cross conditions")
        video_table = self.scale_shift_table_a2v_ca_video.to(x.dtype)
        audio_table = self.scale_shift_table_a2v_ca_audio.to(a.dtype)
        # Rows: scale and shift for audio-to-video, scale and shift for video-to-audio, gate.
        x_scale1, x_shift1, x_scale2, x_shift2 = (video_table[:4] + video.cross.rows_BSRC).unbind(2)
        a_scale1, a_shift1, a_scale2, a_shift2 = (audio_table[:4] + audio.cross.rows_BSRC).unbind(2)
        to_video, to_audio = self.audio_to_video_attn, self.video_to_audio_attn
        forms = to_video.query_form(), to_audio.query_form()
        x, x1 = self.rows.enter(x, more, x_shift1, x_scale1, video.segments, self.eps, forms[0])
        a, a1 = self.rows.enter(a, too, a_shift1, a_scale1, audio.segments, self.eps, forms[0])
        _, x2 = self.rows.enter(x, None, x_shift2, x_scale2, video.segments, self.eps, forms[1])
        _, a2 = self.rows.enter(a, None, a_shift2, a_scale2, audio.segments, self.eps, forms[1])
        over = None if video.shards is None else video.shards.attend_to
        x_update = to_video(x1, a1, video.cross.rope, audio.cross.rope)
        a_update = to_audio(a2, x2, audio.cross.rope, video.cross.rope, over=over)
        more = Pending(x_update, video_table[4] + video.cross.gate_BSC)
        return x, more, a, Pending(a_update, audio_table[4] + audio.cross.gate_BSC)

    def _feed_forward(
        self,
        x: Tensor,
        pending: Pending,
        to: Conditions,
        ff: FeedForward,
        rows_BSRC: Tensor,
        keep: int | None,
    ) -> Tensor:
        if keep is not None:
            x, pending = x[:, :keep], Pending(pending.update_BTC[:, :keep], pending.gate_BSC)
        segments = clip_segments(to.segments, x.shape[1])
        shift, scale, gate = rows_BSRC[:, :, 3:6].unbind(2)
        x, h = self.rows.enter(x, pending, shift, scale, segments, self.eps, form_for(ff.first))
        return self.rows.leave(x, Pending(ff(h), gate), segments)
