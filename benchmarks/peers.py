"""Castsheet against diffusers, in one process, on the same weights.

The peer is diffusers' LTX2VideoTransformer3DModel with its own best settings: blocks compiled as its
documentation says, its fastest attention backend on this machine (each is timed). It is given our tensors
without a copy, so that both compute the same thing; the difference of the results is a row. It has no call
without audio: its video-only form still runs the audio stack on five seconds of dummy sound, and computes
modulation for each token. Its pipeline runs both streams together, which is timed too: that is what its users
wait for when they want the video only.

Expected on an H100, ms: diffusers eager 1000, compiled 600 to 750; Castsheet bf16 535 to 565, fp8 390 to 440;
still reference 286 and 200; a guided step 2.41 passes against diffusers' three.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch._dynamo
from diffusers import LTX2VideoTransformer3DModel
from torch import Tensor

from benchmarks.common import (
    Bench,
    audio_stream,
    peak,
    random_transformer,
    relative,
    timed,
    video_stream,
)
from castsheet.ltx.keys import transformer_to_diffusers
from castsheet.ltx.model.config import TransformerConfig
from castsheet.ltx.model.dit import Pass, Stream, Transformer
from castsheet.ltx.model.rope import audio_bounds, video_bounds
from castsheet.ltx.speed.fast import make_fast
from castsheet.ltx.speed.kernels import attention_kernels
from castsheet.sampling.schedule import sigmas

SIGMA = 0.7
BACKENDS = ("native", "_native_cudnn", "_native_flash")
PASS, STEP, JOINT = "diffusers pass, best", "diffusers guided step, best", "diffusers audio-video pass, best"


def video(bench: Bench) -> None:
    """Video-only: the peer, then ours in bf16 and fp8, the whole reference and the still one."""
    theirs: Tensor | None = None
    with bench.attempt("diffusers"):
        theirs = diffusers_video(bench)
    config = bench.size.config.video_only()
    exact = None
    with attention_kernels(bench.device):
        with bench.attempt("castsheet bf16"):
            exact = ours(bench, config, "bf16", theirs)
        with bench.attempt("castsheet fp8"):
            ours(bench, config, "fp8", theirs, exact)


def audio(bench: Bench) -> None:
    """Both streams: the peer's pass, then ours."""
    model = random_transformer(bench.size.config, bench.device, bench.dtype)
    video_in = video_stream(bench, model.config, SIGMA)
    audio_in = audio_stream(bench, model.config, SIGMA)
    targets = bench.size.tokens
    theirs: Tensor | None = None
    with bench.attempt(JOINT):
        theirs = diffusers_joint(bench, model, video_in, audio_in)
    with bench.attempt("castsheet audio-video pass, bf16"), attention_kernels(bench.device):
        make_fast(model)

        def run() -> Tensor:
            return model(video_in, audio_in, av_timesteps="cross", targets=targets).video_BTC

        with peak(bench.device) as memory:
            found = timed(bench, run)
        against = {} if theirs is None else {"error": relative(run(), theirs)}
        row = "castsheet audio-video pass, bf16"
        bench.add(row, **found, times=bench.ms(JOINT) / found["ms"], **memory, **against)


def diffusers_joint(bench: Bench, model: Transformer, video_in: Stream, audio_in: Stream) -> Tensor:
    """The peer's row; returns its target velocities."""
    peer, inputs = peer_of(model), peer_inputs(bench, video_in, audio_in)
    compile_peer(bench, peer, "_native_cudnn")
    with peak(bench.device) as memory:
        found = timed(bench, lambda: peer(**inputs))
    bench.add(JOINT, **found, **memory)
    return peer(**inputs)[0][:, : bench.size.tokens].clone()


def peer_of(model: Transformer) -> LTX2VideoTransformer3DModel:
    """diffusers' model around the same tensors."""
    c = model.config
    with torch.device("meta"):
        peer = LTX2VideoTransformer3DModel(
            in_channels=c.in_channels,
            out_channels=c.out_channels,
            num_attention_heads=c.heads,
            attention_head_dim=c.head_dim,
            cross_attention_dim=c.context_dim,
            gated_attn=True,
            cross_attn_mod=True,
            audio_in_channels=c.audio_in_channels,
            audio_out_channels=c.audio_out_channels,
            audio_num_attention_heads=c.audio_heads,
            audio_attention_head_dim=c.audio_head_dim,
            audio_cross_attention_dim=c.audio_context_dim,
            audio_gated_attn=True,
            audio_cross_attn_mod=True,
            num_layers=c.layers,
            cross_attn_timestep_scale_multiplier=c.cross_timestep_scale,
            rope_type="split",
            use_prompt_embeddings=False,
            perturbed_attn=True,
            ff_bias=c.ff_bias,
            use_keyframes_abs_pos_embedding=c.marker,
        )
    # diffusers' own loader brings the tables to the model's dtype, and mixed ones would widen its blocks.
    dtype = model.patchify_proj.weight.dtype
    state = {transformer_to_diffusers(name): tensor.to(dtype) for name, tensor in model.state_dict().items()}
    peer.load_state_dict(state, strict=True, assign=True)
    return peer.eval().requires_grad_(False)


def peer_inputs(bench: Bench, video_in: Stream, audio_in: Stream) -> dict[str, Any]:
    """The same step in diffusers' words: timesteps a token, times 1000; coordinates instead of tables."""
    size = bench.size
    counts = torch.tensor(video_in.sequence.segments, device=bench.device)
    per_token = video_in.timesteps_BS.repeat_interleave(counts, dim=1) * 1000
    clip = video_bounds(size.frames, size.rows, size.columns, 24.0).to(bench.device)
    return {
        "hidden_states": video_in.tokens_BTC,
        "audio_hidden_states": audio_in.tokens_BTC,
        "encoder_hidden_states": video_in.context_BLD,
        "audio_encoder_hidden_states": audio_in.context_BLD,
        "timestep": per_token,
        "audio_timestep": audio_in.timesteps_BS.expand(-1, audio_in.tokens_BTC.shape[1]) * 1000,
        "sigma": video_in.sigma_B * 1000,
        "audio_sigma": audio_in.sigma_B * 1000,
        "video_coords": torch.cat([clip, clip], dim=1)[None],
        "audio_coords": audio_bounds(size.audio_frames)[None].to(bench.device),
        "use_cross_timestep": True,
        "return_dict": False,
    }


def diffusers_video(bench: Bench) -> Tensor:
    """The peer's rows; returns its target velocities, isolated from the audio."""
    model = random_transformer(bench.size.config, bench.device, bench.dtype)
    video_in = video_stream(bench, model.config, SIGMA)
    inputs = peer_inputs(bench, video_in, audio_stream(bench, model.config, SIGMA))
    peer = peer_of(model)

    def one(**extra: Any) -> Tensor:
        return peer(**inputs, isolate_modalities=True, **extra)[0]

    with bench.attempt("diffusers pass, eager"):
        bench.add("diffusers pass, eager", **timed(bench, one, warm=1, repeats=2))
    best = fastest_backend(bench, peer, one) if bench.on_gpu else "native"
    compile_peer(bench, peer, best)
    with bench.attempt(PASS):
        with peak(bench.device) as memory:
            found = timed(bench, one)
        bench.add(PASS, **found, **memory, backend=best)
    blocks = {"spatio_temporal_guidance_blocks": [bench.size.stg_block]}
    with bench.attempt(STEP):

        def step() -> None:
            for extra in ({}, {}, blocks):
                one(**extra)

        bench.add(STEP, **timed(bench, step, warm=1, repeats=3))
    theirs = one()[:, : bench.size.tokens].clone()
    with bench.attempt(JOINT):
        bench.add(JOINT, **timed(bench, lambda: peer(**inputs), repeats=3))
    return theirs


def ratios(bench: Bench, ms: float, row: str, passes: int) -> dict[str, float]:
    """How many times faster than the peer's row, and than as many of its pipeline's audio-video passes."""
    return {"times": bench.ms(row) / ms, "times_joint": passes * bench.ms(JOINT) / ms}


def compile_peer(bench: Bench, peer: LTX2VideoTransformer3DModel, backend: str) -> None:
    """Its compiled blocks; no whole graphs, as its perturbed attention branches on a tensor."""
    if bench.on_gpu:
        peer.set_attention_backend(backend)
        peer.compile_repeated_blocks()


def fastest_backend(bench: Bench, peer: LTX2VideoTransformer3DModel, one: Any) -> str:
    """The peer's fastest attention here, by two uncompiled passes each; those that do not run are noted."""
    times: dict[str, float] = {"native": float("inf")}
    for backend in BACKENDS:
        row = f"diffusers pass, eager, attention {backend}"
        with bench.attempt(row):
            peer.set_attention_backend(backend)
            found = timed(bench, one, warm=1, repeats=1)
            times[backend] = found["ms"]
            bench.add(row, **found)
    return min(times, key=lambda backend: times[backend])


def guided(stream: Stream, stg_block: int) -> tuple[Pass, ...]:
    """Conditional, unconditional, and the perturbed one, which shares the conditional's first blocks."""
    negative = replace(stream, context_BLD=stream.context_BLD.flip(1))
    return Pass(stream), Pass(negative), Pass(stream, stg_blocks=(stg_block,))


def levels(bench: Bench) -> list[float]:
    """Some of the schedule's noise levels, high to low."""
    all_ = sigmas(bench.size.steps).tolist()[:-1]
    return all_[:: max(1, len(all_) // 8)]


def ours(
    bench: Bench,
    config: TransformerConfig,
    kind: str,
    theirs: Tensor | None,
    exact: list[Tensor] | None = None,
) -> list[Tensor]:
    """Our rows in one precision; returns x0 over the schedule, for the other precision's error."""
    targets, name = bench.size.tokens, f"castsheet {{}}, {kind}"
    torch._dynamo.reset()  # lets go of what was compiled for the model before
    with peak(bench.device) as memory:
        model = random_transformer(config, bench.device, bench.dtype, fp8=kind == "fp8")
    bench.add(name.format("model made"), **memory)
    full = video_stream(bench, config, SIGMA)

    def velocity(stream: Stream) -> Tensor:
        return model(stream, targets=targets).video_BTC

    plain: Tensor | None = None
    if kind == "bf16":
        row = name.format("pass, plain and eager")
        with bench.attempt(row):
            bench.add(row, **timed(bench, lambda: velocity(full), warm=1, repeats=2))
            plain = velocity(full)
    make_fast(model)
    for reference in (None, 1):
        stream = full if reference is None else video_stream(bench, config, SIGMA, reference=1)
        still = "" if reference is None else " with a still reference"
        if reference is not None and kind == "bf16":
            continue  # compiles anew for a figure that the target does not ask
        row = name.format(f"pass{still}")
        with bench.attempt(row):
            with peak(bench.device) as memory:
                found = timed(bench, lambda stream=stream: velocity(stream))
            bench.add(row, **found, **ratios(bench, found["ms"], PASS, 1), **memory)
        row = name.format(f"guided step{still}")
        with bench.attempt(row):
            three = guided(stream, bench.size.stg_block)
            with peak(bench.device) as memory:
                found = timed(
                    bench, lambda three=three: model.forward_passes(three, targets=targets), repeats=3
                )
            bench.add(row, **found, **ratios(bench, found["ms"], STEP, 3), **memory)
    with bench.attempt(name.format("differences")):
        got = velocity(full)
        if plain is not None:
            bench.add(name.format("fast path against plain"), error=relative(got, plain))
        if theirs is not None:
            bench.add(name.format("against diffusers"), error=relative(got, theirs))
    return x0_over_schedule(bench, model, exact)


def x0_over_schedule(
    bench: Bench, model: Transformer, exact: list[Tensor] | None, row: str = "fp8 x0 error a pass, median"
) -> list[Tensor]:
    """x0 = x - sigma v of one pass at several levels; against `exact`, its relative errors as a row."""
    found, errors = [], {}
    for number, sigma in enumerate(levels(bench)):
        stream = video_stream(bench, model.config, sigma)
        x = stream.tokens_BTC[:, : bench.size.tokens].float()
        found.append(x - sigma * model(stream, targets=bench.size.tokens).video_BTC.float())
        if exact is not None:
            errors[f"{sigma:.3f}"] = relative(found[-1], exact[number])
    if errors:
        values = sorted(errors.values())
        middle = values[len(values) // 2]
        bench.add(row, error=middle, largest=values[-1], by_sigma=errors)
    return found
