"""From the transformer's velocities to one guided prediction of the clean latents.

A stream's tokens come in segments of one timestep each: a given first frame (clean), the target (noisy), an
appended reference (clean, or at a share of the noise). With m the share of noise of a segment (its mask),

    timestep = m sigma,   x0 = x - m sigma v,   after guidance x0 <- m x0 + (1 - m) clean

Clean tokens are therefore predicted exactly and no sampler moves them. A fully clean reference needs no
velocity at all.

Legend: B batch (1 in the pipeline), T tokens, C channels, L context tokens, D context channels, S segments,
N sampled values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from castsheet.ltx.latents import Grid, Reference, patchify
from castsheet.ltx.model.bias import TokenBias
from castsheet.ltx.model.config import TransformerConfig
from castsheet.ltx.model.dit import AVTimesteps, Output, Pass, Stream, Transformer
from castsheet.ltx.model.reuse import ResidualCache, RowCache
from castsheet.ltx.model.rope import audio_bounds, audio_tables, cross_tables, video_tables
from castsheet.ltx.model.sequence import Sequence
from castsheet.sampling.guidance import EXACT, Pace, Weights, guide, rescaled

RunPasses = Callable[..., tuple[Output, ...]]


def run_alone(transformer: Transformer, passes: tuple[Pass, ...], **options: Any) -> tuple[Output, ...]:
    """Run the passes of a step in this process: `Transformer.forward_passes`."""
    return transformer.forward_passes(passes, **options)


@dataclass(frozen=True)
class Track:
    """What stays the same about one stream during a run.

    Attributes:
        sequence: segments, positions and bias of the tokens.
        masks: share of the noise that each segment carries; 1 for the target, 0 for what is given.
        clean_BTC: fp32; the given tokens at their places, zeros for the target.
        sampled: how many leading tokens are sampled; the tokens after them stay clean.
    """

    sequence: Sequence
    masks: tuple[float, ...]
    clean_BTC: Tensor
    sampled: int

    @cached_property
    def mask(self) -> Tensor:
        """Mask of each sampled token, fp32."""
        masks = torch.tensor(self.masks, dtype=torch.float32, device=self.clean_BTC.device)
        counts = torch.tensor(self.sequence.segments, device=self.clean_BTC.device)
        return masks.repeat_interleave(counts)[: self.sampled, None]

    @property
    def fixed(self) -> Tensor | None:
        """The clean tokens after the sampled ones; None when there are none."""
        return self.clean_BTC[:, self.sampled :] if self.sampled < self.clean_BTC.shape[1] else None

    def start(self, noise_BTC: Tensor, sigma: float) -> Tensor:
        """The sampled tokens at noise level sigma: lerp(clean, noise, mask * sigma), fp32."""
        share_T1 = self.mask * sigma
        return self.clean_BTC[:, : self.sampled] * (1 - share_T1) + noise_BTC.to(self.clean_BTC) * share_T1


def video_track(
    config: TransformerConfig,
    grid: Grid,
    reference: Reference | None = None,
    first_frame_BCFHW: Tensor | None = None,
    *,
    bias: TokenBias | None = None,
    device: torch.device,
    dtype: torch.dtype,
) -> Track:
    """The video stream: [first frame | target | reference].

    Args:
        grid: the clip's size; two latent frames or more if a first frame is given.
        reference: appended tokens. At strength 1 they are fixed; at a lower strength they are sampled too.
        first_frame_BCFHW: one clean latent frame.
        bias: strengths of the tokens, the clip's grid first.
        device, dtype: of the RoPE tables; the latents are fp32.
    """
    given = 0 if first_frame_BCFHW is None else grid.frame_tokens
    parts = [(given, 0.0), (grid.tokens - given, 1.0)]
    clean_BTC = torch.zeros(1, grid.tokens, config.in_channels, device=device)
    if first_frame_BCFHW is not None:
        clean_BTC[:, :given] = patchify(first_frame_BCFHW).to(clean_BTC)
    bounds, sampled = grid.bounds(), grid.tokens
    if reference is not None:
        tokens = reference.tokens_BTC.shape[1]
        parts.append((tokens, 1.0 - reference.strength))
        clean_BTC = torch.cat([clean_BTC, reference.tokens_BTC.to(clean_BTC)], dim=1)
        bounds = torch.cat([bounds, reference.bounds_AT2], dim=1)
        sampled += 0 if reference.strength == 1.0 else tokens
    parts = [part for part in parts if part[0]]
    rope = video_tables(config, bounds, dtype).to(device)
    cross_rope = cross_tables(config, bounds, dtype).to(device) if config.audio else None
    segments, masks = tuple(count for count, _ in parts), tuple(mask for _, mask in parts)
    bias = None if bias is None else bias.to(device)
    sequence = Sequence(segments, rope, cross_rope, bias, marked=grid.frame_tokens)
    return Track(sequence, masks, clean_BTC, sampled)


def audio_track(config: TransformerConfig, frames: int, *, device: torch.device, dtype: torch.dtype) -> Track:
    """The audio stream: `frames` noisy latent frames, one token each."""
    bounds = audio_bounds(frames)
    rope = audio_tables(config, bounds, dtype).to(device)
    cross_rope = cross_tables(config, bounds, dtype).to(device)
    return Track(
        Sequence((frames,), rope, cross_rope),
        masks=(1.0,),
        clean_BTC=torch.zeros(1, frames, config.audio_in_channels, device=device),
        sampled=frames,
    )


class Contexts(NamedTuple):
    """The text contexts of one prompt, (1,L,D) each; `audio` only where audio is sampled."""

    video_BLD: Tensor
    audio_BLD: Tensor | None = None

    def to(self, device: torch.device) -> Contexts:
        """The same contexts on another device."""
        audio = None if self.audio_BLD is None else self.audio_BLD.to(device)
        return Contexts(self.video_BLD.to(device), audio)


@dataclass(frozen=True)
class PassWeights:
    """The weights of both streams, and the blocks that STG perturbs; see sampling/guidance.py."""

    video: Weights
    audio: Weights | None = None
    stg_blocks: Collection[int] = ()

    def wants(self, name: str) -> bool:
        """Whether either stream needs the pass `name`: "uncond", "stg" or "isolated"."""
        return any(name in weights.scales for weights in (self.video, self.audio) if weights is not None)


_UNGUIDED = PassWeights(Weights())


class Denoiser:
    """The guided model as samplers call it: (x, sigma, step) -> x0, with both streams in one tensor.

    A pass whose weight switches it off is not run. All passes go through a block before the next block. The
    conditional and the perturbed pass share their first blocks.

    Args:
        transformer: in eval mode, adapters merged.
        video, audio: the streams; with audio None the video stream runs alone.
        positive, negative: text contexts; negative may be None at guidance 1.
        weights: of the passes.
        av_timesteps: which timestep modulates the attention between the streams; see ltx/model/dit.py.
        reference_every: compute a clean reference's rows only in every such step; 1 is exact. See
            ltx/model/reuse.py.
        pace: in which steps guidance is computed; by default in all.
        residual_threshold: reuse what the blocks add while it changes little; 0 is exact. See there too.
        run: runs the passes; several processes can share them (sampling/parallel.py).

    Attributes:
        work: what was done so far: calls, passes, and in how many calls something was reused or left out.

    Raises:
        ValueError: audio comes without weights, or weights without audio, or the negative prompt is missing.
    """

    def __init__(
        self,
        transformer: Transformer,
        video: Track,
        audio: Track | None,
        positive: Contexts,
        negative: Contexts | None,
        weights: PassWeights,
        av_timesteps: AVTimesteps = "own",
        *,
        reference_every: int = 1,
        pace: Pace = EXACT,
        residual_threshold: float = 0.0,
        run: RunPasses = run_alone,
    ) -> None:
        if (audio is None) != (weights.audio is None):
            raise ValueError("the audio stream and its weights go together")
        if negative is None and weights.wants("uncond"):
            raise ValueError("guidance needs the negative prompt's context")
        self.transformer, self.video, self.audio = transformer, video, audio
        self.positive, self.negative, self.weights = positive, negative, weights
        self.av_timesteps = av_timesteps
        self.dtype = transformer.patchify_proj.weight.dtype
        self.fixed_BTC = video.fixed
        self.targets = None if self.fixed_BTC is None else video.sampled
        self.cache = RowCache(reference_every)
        self.residuals = ResidualCache(residual_threshold) if residual_threshold else None
        self.work: Counter[str] = Counter()
        self.pace = pace
        self._added: dict[str, Tensor] = {}  # what guidance added to each stream, where it is reused
        self.run = run

    def pack(self, video_BTC: Tensor, audio_BTC: Tensor | None) -> Tensor:
        """Both streams' sampled tokens as one (1,N) tensor."""
        parts = [video_BTC] if audio_BTC is None else [video_BTC, audio_BTC]
        return torch.cat([part.flatten(1) for part in parts], dim=1)

    def unpack(self, x_BN: Tensor) -> tuple[Tensor, Tensor | None]:
        """The inverse of `pack`."""
        channels = self.video.clean_BTC.shape[2]
        count = self.video.sampled * channels
        video_BTC = x_BN[:, :count].unflatten(1, (-1, channels))
        if self.audio is None:
            return video_BTC, None
        return video_BTC, x_BN[:, count:].unflatten(1, (self.audio.sampled, -1))

    @property
    def shares(self) -> Tensor:
        """Share of the noise level that each sampled value carries, fp32 (1,N)."""
        tracks = [self.video] if self.audio is None else [self.video, self.audio]
        parts = [track.mask.expand(-1, track.clean_BTC.shape[2]).flatten() for track in tracks]
        return torch.cat(parts)[None]

    def __call__(self, x_BN: Tensor, sigma: Tensor, step: int = 0) -> Tensor:
        """Guided x0 of all sampled values at noise level sigma (a scalar), fp32, (1,N).

        Args:
            step: number of the sampler's step, from 0; it decides whether cached rows are read. All calls in
                a step pass its number. Step 0 begins a new run.
        """
        x, a = self.unpack(x_BN)
        guiding = self.pace.at(step, sigma)
        if guiding == "reused" and not self._added:
            guiding = "computed"
        outputs = self._passes(x, a, sigma, step, guiding == "computed")
        if guiding == "off":
            self._added = {}
        if guiding != "computed":
            self.work[f"guidance {guiding}"] += 1
        video = self._combine(
            {name: out.video_BTC for name, out in outputs.items()},
            x,
            sigma,
            self.video,
            self.weights.video,
            self.fixed_BTC,
        )
        if self.audio is None or a is None or self.weights.audio is None:
            return self.pack(video, None)
        velocities = {name: out.audio_BTC for name, out in outputs.items() if out.audio_BTC is not None}
        return self.pack(video, self._combine(velocities, a, sigma, self.audio, self.weights.audio, None))

    def _passes(
        self, x_BTC: Tensor, a_BTC: Tensor | None, sigma: Tensor, step: int, guiding: bool
    ) -> dict[str, Output]:
        """The velocities of every pass that has a weight; of the conditional one alone if none guides."""
        weights = self.weights if guiding else _UNGUIDED
        stg_audio = weights.audio is not None and "stg" in weights.audio.scales
        streams = self._streams(x_BTC, a_BTC, sigma, self.positive)
        passes = {"cond": Pass(*streams)}
        if weights.wants("uncond") and self.negative is not None:
            passes["uncond"] = Pass(*self._streams(x_BTC, a_BTC, sigma, self.negative))
        if weights.wants("stg"):
            passes["stg"] = Pass(*streams, stg_blocks=weights.stg_blocks, stg_audio=stg_audio)
        if weights.wants("isolated"):
            passes["isolated"] = Pass(*streams, isolate=True)
        self.cache.begin(step, len(passes))
        if self.residuals is not None:
            self.residuals.begin(step)
        outputs = self.run(
            self.transformer,
            tuple(passes.values()),
            av_timesteps=self.av_timesteps,
            targets=self.targets,
            cache=self.cache,
            residuals=self.residuals,
        )
        self.work += Counter(calls=1, passes=len(passes))
        self.work["sheet's rows reused"] += not self.cache.fresh and self.targets is not None
        self.work["blocks reused"] += self.residuals is not None and self.residuals.reused
        return dict(zip(passes, outputs, strict=True))

    def _streams(
        self, x_BTC: Tensor, a_BTC: Tensor | None, sigma: Tensor, contexts: Contexts
    ) -> tuple[Stream, Stream | None]:
        tokens = x_BTC if self.fixed_BTC is None else torch.cat([x_BTC, self.fixed_BTC], dim=1)
        video = self._stream(self.video, tokens, sigma, contexts.video_BLD)
        if self.audio is None or a_BTC is None or contexts.audio_BLD is None:
            return video, None
        return video, self._stream(self.audio, a_BTC, sigma, contexts.audio_BLD)

    def _stream(self, track: Track, tokens_BTC: Tensor, sigma: Tensor, context_BLD: Tensor) -> Stream:
        batch = len(tokens_BTC)
        masks_1S = torch.tensor([track.masks], dtype=torch.float32, device=sigma.device)
        return Stream(
            tokens_BTC=tokens_BTC.to(self.dtype),
            context_BLD=context_BLD.to(self.dtype),
            sequence=track.sequence,
            timesteps_BS=(sigma * masks_1S).expand(batch, -1),
            sigma_B=sigma[None].expand(batch),
        )

    def _combine(
        self,
        velocities: dict[str, Tensor],
        x_BTC: Tensor,
        sigma: Tensor,
        track: Track,
        weights: Weights,
        fixed_BTC: Tensor | None,
    ) -> Tensor:
        mask_T1 = track.mask
        x0 = {name: x_BTC - mask_T1 * sigma * v_BTC.float() for name, v_BTC in velocities.items()}
        c, stream = x0["cond"].float(), "video" if track is self.video else "audio"
        if len(x0) > 1:
            guided = guide(x0, weights)
            if self.pace.every > 1:
                self._added[stream] = guided - c
        else:
            guided = c + self._added[stream] if stream in self._added else c
        guided = rescaled(c, guided, weights, fixed_BTC)
        return guided * mask_T1 + track.clean_BTC[:, : track.sampled] * (1 - mask_T1)
