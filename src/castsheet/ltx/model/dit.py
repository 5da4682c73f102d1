"""The LTX denoiser under its official parameter names. Official files load into it without renaming.

A token's modulation depends only on its timestep, and a sequence has few timesteps: the target's sigma, and
zero for a reference or a given first frame. Modulation is therefore computed once for each segment.

Legend: B batch, T tokens, L context tokens, C or D channels, S segments, R rows of a modulation.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from castsheet.ltx.model.block import Block, Conditions, CrossConditions, new_table
from castsheet.ltx.model.config import TransformerConfig
from castsheet.ltx.model.layers import AdaLNSingle
from castsheet.ltx.model.reuse import ResidualCache, RowCache
from castsheet.ltx.model.rows import clip_segments, modulate
from castsheet.ltx.model.sequence import Sequence
from castsheet.ltx.model.shards import Shards

AVTimesteps = Literal["own", "cross"]


@dataclass(frozen=True)
class Stream:
    """One modality's input.

    Args:
        tokens_BTC: patchified latents, target first, then what is appended to it.
        context_BLD: text context of the stream's width.
        sequence: segments, positions and bias of the T tokens.
        timesteps_BS: sigma of each segment in [0, 1]; 0 for a clean reference.
        sigma_B: sigma of the sample, which modulates text and the gates between the streams.

    Raises:
        ValueError: the tensors do not fit the sequence.
    """

    tokens_BTC: Tensor
    context_BLD: Tensor
    sequence: Sequence
    timesteps_BS: Tensor
    sigma_B: Tensor

    def __post_init__(self) -> None:
        batch, tokens = self.tokens_BTC.shape[:2]
        segments = len(self.sequence.segments)
        if tokens != self.sequence.tokens:
            raise ValueError(f"a sequence of {self.sequence.tokens} tokens, but {tokens} tokens")
        if self.timesteps_BS.shape != (batch, segments) or self.sigma_B.shape != (batch,):
            raise ValueError(
                f"timesteps {tuple(self.timesteps_BS.shape)} and sigma {tuple(self.sigma_B.shape)} do not fit"
                f" batch {batch} with {segments} segments"
            )

    def shard(self, shards: Shards) -> Stream:
        """This process's rows of the stream.

        Raises:
            ValueError: the bias is a matrix.
        """
        tokens_BTC = shards.take(self.tokens_BTC, 1)
        return replace(self, tokens_BTC=tokens_BTC, sequence=self.sequence.shard(shards))


@dataclass(frozen=True)
class Output:
    """Velocities of the target, and of the tokens appended to it unless `targets` left them out."""

    video_BTC: Tensor
    audio_BTC: Tensor | None = None


@dataclass(frozen=True)
class Pass:
    """One evaluation within a guided step; the arguments are those of `Transformer.forward`."""

    video: Stream
    audio: Stream | None = None
    stg_blocks: Collection[int] = ()
    stg_audio: bool = False
    isolate: bool = False

    def same_inputs(self, other: Pass) -> bool:
        """Whether both passes have the same inputs to the first block."""
        return self.video is other.video and self.audio is other.audio and self.isolate == other.isolate


@dataclass(frozen=True)
class _Flow:
    """Both streams between two blocks, and what the blocks read about them."""

    video_BTC: Tensor
    video: Conditions
    audio_BTC: Tensor | None = None
    audio: Conditions | None = None
    isolate: bool = False


class Transformer(nn.Module):
    """The denoiser. With `gradient_checkpointing` the backward pass computes blocks again."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.gradient_checkpointing = False
        dim = config.dim
        self.patchify_proj = nn.Linear(config.in_channels, dim)
        if config.marker:
            self.keyframes_abs_pos_embedding = nn.Parameter(torch.zeros(1, dim))
        self.adaln_single = AdaLNSingle(dim, 9)
        self.prompt_adaln_single = AdaLNSingle(dim, 2)
        self.scale_shift_table = new_table(2, dim)
        self.proj_out = nn.Linear(dim, config.out_channels)
        if config.audio:
            audio_dim = config.audio_dim
            self.audio_patchify_proj = nn.Linear(config.audio_in_channels, audio_dim)
            self.audio_adaln_single = AdaLNSingle(audio_dim, 9)
            self.audio_prompt_adaln_single = AdaLNSingle(audio_dim, 2)
            self.av_ca_video_scale_shift_adaln_single = AdaLNSingle(dim, 4)
            self.av_ca_audio_scale_shift_adaln_single = AdaLNSingle(audio_dim, 4)
            self.av_ca_a2v_gate_adaln_single = AdaLNSingle(dim, 1)
            self.av_ca_v2a_gate_adaln_single = AdaLNSingle(audio_dim, 1)
            self.audio_scale_shift_table = new_table(2, audio_dim)
            self.audio_proj_out = nn.Linear(audio_dim, config.audio_out_channels)
        self.transformer_blocks = nn.ModuleList([Block(config) for _ in range(config.layers)])

    def forward(
        self,
        video: Stream,
        audio: Stream | None = None,
        *,
        stg_blocks: Collection[int] = (),
        stg_audio: bool = False,
        isolate: bool = False,
        av_timesteps: AVTimesteps = "own",
        targets: int | None = None,
    ) -> Output:
        """Velocities of both streams.

        Args:
            video, audio: the inputs; without `audio` all audio modules are skipped.
            stg_blocks: blocks whose video self-attention is replaced by its values.
            stg_audio: perturb the audio self-attention of these blocks too.
            isolate: skip the attentions between the streams (the pass of modality guidance).
            av_timesteps: what modulates the attentions between the streams. "own": each token's own timestep,
                with gates from the other stream's sigma (the official code since 2026-05). "cross": the other
                stream's sigma throughout (the code that 2.3 was released with, and diffusers).
            targets: how many leading video tokens are wanted. The last block computes only these. Exact.

        Raises:
            ValueError: the streams do not fit the model, or a block index does not exist.
        """
        flow = self._enter(video, audio, isolate, av_timesteps)
        perturbed = self._perturbed(stg_blocks)
        last = self.config.layers - 1
        for index in range(self.config.layers):
            flow = self._step(flow, index, index in perturbed, stg_audio, targets if index == last else None)
        return self._leave(flow)

    def forward_passes(
        self,
        passes: tuple[Pass, ...],
        *,
        av_timesteps: AVTimesteps = "own",
        targets: int | None = None,
        cache: RowCache | None = None,
        residuals: ResidualCache | None = None,
    ) -> tuple[Output, ...]:
        """The outputs of one `forward` call for each pass, bit for bit unless a cache replaces something.

        All passes go through a block before the next block: streamed weights are fetched once. Passes with
        the same inputs share the blocks before the first block that only one of them perturbs. Passes are
        not batched: at the trained size one sample fills the chip.

        Args:
            cache: the rows after `targets` from an earlier step; see ltx/model/reuse.py. The order of the
                passes must be the same in all steps.
            residuals: what the blocks after the first added in an earlier step; see there too.

        Raises:
            ValueError: as `forward`.
        """
        perturbed = [self._perturbed(one.stg_blocks) for one in passes]
        flows: list[_Flow] = []
        shared: list[tuple[int, int]] = []  # for each pass: (the earlier pass it equals, up to which block)
        for number, one in enumerate(passes):
            twin = next((i for i in range(number) if one.same_inputs(passes[i])), number)
            apart = perturbed[number] ^ perturbed[twin]
            if one.stg_audio != passes[twin].stg_audio:
                apart = perturbed[number] | perturbed[twin]
            shared.append((twin, 0 if twin == number else min(apart, default=self.config.layers)))
            entered = (one.video, one.audio, one.isolate, av_timesteps)
            flows.append(self._enter(*entered) if twin == number else flows[twin])
        entered_BTC, after_first = flows[0].video_BTC[:, :targets], list[_Flow]()
        for index in range(self.config.layers):
            if index == 1 and residuals is not None:
                first_BTC = flows[0].video_BTC[:, :targets] - entered_BTC
                if residuals.decide(first_BTC, len(passes)):
                    return tuple(
                        self._leave(_with_added(flow, residuals.added(number)))
                        for number, flow in enumerate(flows)
                    )
                after_first = list(flows)
            for number, (twin, branch) in enumerate(shared):
                if index < branch:
                    flows[number] = flows[twin]
                    continue
                flow, alone = flows[number], False
                if cache is not None and targets is not None:
                    flow, alone = _with_cached(flow, cache, (number, index), targets)
                audio_too = passes[number].stg_audio
                rows = targets if alone or index == self.config.layers - 1 else None
                flows[number] = self._step(flow, index, index in perturbed[number], audio_too, rows)
        if residuals is not None and after_first:
            residuals.keep([_added(*pair) for pair in zip(after_first, flows, strict=True)])
        return tuple(self._leave(flow) for flow in flows)

    def _perturbed(self, stg_blocks: Collection[int]) -> frozenset[int]:
        outside = sorted(index for index in stg_blocks if not 0 <= index < self.config.layers)
        if outside:
            raise ValueError(f"stg_blocks {outside} do not exist in a model of {self.config.layers} blocks")
        return frozenset(stg_blocks)

    def _enter(self, video: Stream, audio: Stream | None, isolate: bool, av_timesteps: AVTimesteps) -> _Flow:
        video_BTC = self._marked(
            self.patchify_proj(video.tokens_BTC.to(self.patchify_proj.weight.dtype)), video
        )
        v = self._conditions(video, video_BTC.dtype, self.adaln_single, self.prompt_adaln_single)
        if audio is None:
            return _Flow(video_BTC, v)
        if not self.config.audio:
            raise ValueError("an audio stream was given to a video-only model")
        audio_BTC = self.audio_patchify_proj(audio.tokens_BTC.to(self.audio_patchify_proj.weight.dtype))
        a = self._conditions(audio, audio_BTC.dtype, self.audio_adaln_single, self.audio_prompt_adaln_single)
        if not isolate:
            to_video = (self.av_ca_video_scale_shift_adaln_single, self.av_ca_a2v_gate_adaln_single)
            to_audio = (self.av_ca_audio_scale_shift_adaln_single, self.av_ca_v2a_gate_adaln_single)
            v = self._with_cross(v, video, audio.sigma_B, *to_video, video_BTC.dtype, av_timesteps)
            a = self._with_cross(a, audio, video.sigma_B, *to_audio, audio_BTC.dtype, av_timesteps)
        return _Flow(video_BTC, v, audio_BTC, a, isolate)

    def _marked(self, x_BTC: Tensor, video: Stream) -> Tensor:
        """The video stream with the marker added to the tokens of the clip's first latent frame (LTX-2.5)."""
        if not self.config.marker:
            return x_BTC
        count = video.sequence.marked
        if count is None:
            raise ValueError(
                "the model marks the clip's first latent frame; the sequence must say how many tokens"
            )
        marker_1C = self.keyframes_abs_pos_embedding.to(x_BTC.dtype)
        return torch.cat((x_BTC[:, :count] + marker_1C, x_BTC[:, count:]), dim=1)

    def _conditions(
        self, stream: Stream, dtype: torch.dtype, ada: AdaLNSingle, prompt: AdaLNSingle
    ) -> Conditions:
        scale = self.config.timestep_scale
        mod_BSRC, embedded_BSC = ada(stream.timesteps_BS.float() * scale, dtype)
        prompt_BSRC, _ = prompt(stream.sigma_B.float()[:, None] * scale, dtype)
        return Conditions(
            mod_BSRC=mod_BSRC,
            prompt_mod_BRC=prompt_BSRC[:, 0],
            embedded_BSC=embedded_BSC,
            context_BLD=stream.context_BLD.to(dtype),
            sequence=stream.sequence,
        )

    def _with_cross(
        self,
        conditions: Conditions,
        stream: Stream,
        other_sigma_B: Tensor,
        scale_shift: AdaLNSingle,
        gate: AdaLNSingle,
        dtype: torch.dtype,
        av_timesteps: AVTimesteps,
    ) -> Conditions:
        if stream.sequence.cross_rope is None:
            raise ValueError("both streams need cross_rope when they attend to each other")
        other_B1 = other_sigma_B.float()[:, None]
        t_BS = stream.timesteps_BS.float() if av_timesteps == "own" else other_B1
        mod_BSRC, _ = scale_shift(t_BS * self.config.timestep_scale, dtype)
        gate_BSRC, _ = gate(other_B1 * self.config.cross_timestep_scale, dtype)
        return replace(conditions, cross=CrossConditions(mod_BSRC, gate_BSRC[:, :, 0]))

    def _step(self, flow: _Flow, index: int, perturb: bool, stg_audio: bool, targets: int | None) -> _Flow:
        """One block."""
        block = self.transformer_blocks[index]
        arguments = (
            flow.video_BTC,
            flow.video,
            flow.audio_BTC,
            flow.audio,
            perturb,
            perturb and stg_audio,
            flow.isolate,
            targets,
        )
        if self.gradient_checkpointing and torch.is_grad_enabled():
            x, a = checkpoint(block, *arguments, use_reentrant=False)
        else:
            x, a = block(*arguments)
        return replace(flow, video_BTC=x, audio_BTC=a)

    def _leave(self, flow: _Flow) -> Output:
        video = self._head(flow.video_BTC, flow.video, self.scale_shift_table, self.proj_out)
        if flow.audio_BTC is None or flow.audio is None:
            return Output(video)
        audio = self._head(flow.audio_BTC, flow.audio, self.audio_scale_shift_table, self.audio_proj_out)
        return Output(video, audio)

    def _head(self, x_BTC: Tensor, to: Conditions, table_RC: Tensor, project: nn.Linear) -> Tensor:
        shift, scale = (table_RC.to(x_BTC.dtype) + to.embedded_BSC[:, :, None]).unbind(2)
        # The official output norm has another epsilon than the blocks.
        h = F.layer_norm(x_BTC, x_BTC.shape[-1:], eps=1e-6).to(x_BTC.dtype)
        return project(modulate(h, shift, scale, clip_segments(to.sequence.segments, x_BTC.shape[1])))


def _with_cached(flow: _Flow, cache: RowCache, where: tuple[int, int], targets: int) -> tuple[_Flow, bool]:
    """The flow into a block, and whether it has cached rows after its targets.

    If it has, the block computes only the targets. If not, the step computes all rows and may store them.
    """
    if cache.fresh:
        if cache.stores:
            cache.rows_BRC[where] = flow.video_BTC[:, targets:].clone()  # a view would hold all rows
        return flow, False
    joined = torch.cat([flow.video_BTC[:, :targets], cache.rows_BRC[where]], dim=1)
    return replace(flow, video_BTC=joined), True


def _added(early: _Flow, late: _Flow) -> tuple[Tensor, ...]:
    """What blocks added to the tokens that the later flow still has, and to the sound's."""
    video_BTC = late.video_BTC - early.video_BTC[:, : late.video_BTC.shape[1]]
    if early.audio_BTC is None or late.audio_BTC is None:
        return (video_BTC,)
    return video_BTC, late.audio_BTC - early.audio_BTC


def _with_added(flow: _Flow, added: tuple[Tensor, ...]) -> _Flow:
    """The flow after blocks that were not computed."""
    video_BTC, *audio = added
    video_BTC = flow.video_BTC[:, : video_BTC.shape[1]] + video_BTC
    if not audio or flow.audio_BTC is None:
        return replace(flow, video_BTC=video_BTC)
    return replace(flow, video_BTC=video_BTC, audio_BTC=flow.audio_BTC + audio[0])
