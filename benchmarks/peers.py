"""Castsheet against diffusers, in one process, on the same weights.

    python benchmarks/peers.py            about 6 minutes on a GPU (needs diffusers 0.42.1)
    python benchmarks/peers.py --tiny     seconds on a CPU

The peer is diffusers' LTX2VideoTransformer3DModel with its own best settings: blocks compiled as its
documentation says, its fastest attention backend on this machine (each is timed). It is given our tensors
without a copy, so that both compute the same thing; the difference of the results is a row. It has no call
without audio: its video-only form still runs the audio stack on five seconds of dummy sound, and computes
modulation for each token. That is how a user of it runs this model, so it is timed so.

Expected on a GPU, ms: diffusers eager 1000, compiled 600 to 750; Castsheet bf16 1.33x its best, fp8 1.7x; a
guided step (it runs three whole passes) 2.1x in fp8; audio-video bf16 1.2x.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from common import Bench, audio_stream, peak, random_transformer, relative, start, timed, video_stream
from diffusers import LTX2VideoTransformer3DModel
from torch import Tensor

from castsheet.ltx.config import TransformerConfig
from castsheet.ltx.dit import Pass, Stream, Transformer
from castsheet.ltx.fast import attention_kernels, prepare
from castsheet.ltx.keys import transformer_to_diffusers
from castsheet.ltx.rope import audio_bounds, video_bounds

SIGMA = 0.7
BACKENDS = ("native", "_native_cudnn", "_native_flash", "_flash_3")


def main() -> None:
    bench, _ = start("peers")
    config = bench.size.config
    with torch.no_grad():
        both = random_transformer(config, bench.device, bench.dtype)
        video, audio = video_stream(bench, config, SIGMA), audio_stream(bench, config, SIGMA)
        theirs = diffusers_rows(bench, both, video, audio)
        ours_audio_video(bench, both, video, audio, theirs)
        del both
        ours_video_only(bench, config, theirs["isolated"])


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
        )
    # diffusers' own loader brings the tables to the model's dtype, and mixed ones would widen its blocks.
    dtype = model.patchify_proj.weight.dtype
    state = {transformer_to_diffusers(name): tensor.to(dtype) for name, tensor in model.state_dict().items()}
    peer.load_state_dict(state, strict=True, assign=True)
    return peer.eval().requires_grad_(False)


def peer_inputs(bench: Bench, video: Stream, audio: Stream) -> dict[str, Any]:
    """The same step in diffusers' words: timesteps a token, times 1000; coordinates instead of tables."""
    size = bench.size
    counts = torch.tensor(video.segments, device=bench.device)
    per_token = video.timesteps_BS.repeat_interleave(counts, dim=1) * 1000
    clip = video_bounds(size.frames, size.rows, size.columns, 24.0, device=bench.device)
    return {
        "hidden_states": video.tokens_BTC,
        "audio_hidden_states": audio.tokens_BTC,
        "encoder_hidden_states": video.context_BLD,
        "audio_encoder_hidden_states": audio.context_BLD,
        "timestep": per_token,
        "audio_timestep": audio.timesteps_BS.expand(-1, audio.tokens_BTC.shape[1]) * 1000,
        "sigma": video.sigma_B * 1000,
        "audio_sigma": audio.sigma_B * 1000,
        "video_coords": torch.cat([clip, clip], dim=1)[None],
        "audio_coords": audio_bounds(size.audio_frames, device=bench.device)[None],
        "use_cross_timestep": True,
        "return_dict": False,
    }


def diffusers_rows(bench: Bench, model: Transformer, video: Stream, audio: Stream) -> dict[str, Tensor]:
    """Time the peer; returns its video outputs, isolated from the audio and joint with it."""
    peer, inputs = peer_of(model), peer_inputs(bench, video, audio)
    on_gpu = bench.device.type == "cuda"
    bench.add(
        "diffusers, video-only, eager",
        **timed(bench, lambda: peer(**inputs, isolate_modalities=True), warm=1, repeats=3),
    )
    best = fastest_backend(bench, peer, inputs) if on_gpu else "native"
    peer.set_attention_backend(best)
    if on_gpu:
        peer.compile_repeated_blocks(fullgraph=True)
    with peak(bench.device) as memory:
        found = timed(bench, lambda: peer(**inputs, isolate_modalities=True))
    bench.add(f"diffusers, video-only, best ({best}, compiled)", **found, **memory)
    blocks = [bench.size.stg_block]

    def step() -> None:
        for extra in ({}, {}, {"spatio_temporal_guidance_blocks": blocks}):
            peer(**inputs, isolate_modalities=True, **extra)

    bench.add("diffusers, guided step, best", **timed(bench, step, warm=1, repeats=3))
    bench.add("diffusers, audio-video, best", **timed(bench, lambda: peer(**inputs), repeats=3))
    isolated = peer(**inputs, isolate_modalities=True)[0].clone()
    return {"isolated": isolated, "joint": peer(**inputs)[0].clone()}


def fastest_backend(bench: Bench, peer: LTX2VideoTransformer3DModel, inputs: dict[str, Any]) -> str:
    """The peer's fastest attention here, by one uncompiled pass each; those that do not run are noted."""
    times: dict[str, float] = {}
    for backend in BACKENDS:
        try:
            peer.set_attention_backend(backend)
            found = timed(bench, lambda: peer(**inputs, isolate_modalities=True), warm=1, repeats=2)
        except (RuntimeError, ValueError, ImportError) as error:
            bench.add(f"diffusers attention {backend}", failed=str(error).splitlines()[0][:160])
            continue
        times[backend] = found["ms"]
        bench.add(f"diffusers attention {backend}, eager", **found)
    return min(times, key=lambda backend: times[backend])


def ours_audio_video(
    bench: Bench, model: Transformer, video: Stream, audio: Stream, theirs: dict[str, Tensor]
) -> None:
    prepare(model)
    keep = bench.size.tokens
    with attention_kernels(bench.device):
        found = timed(bench, lambda: model(video, audio, av_timesteps="cross", keep=keep))
        bench.add("castsheet, audio-video, bf16", **found)
        got = model(video, audio, av_timesteps="cross", keep=keep).video_BTC
    bench.add("audio-video, difference from diffusers", error=relative(got, theirs["joint"][:, :keep]))


def ours_video_only(bench: Bench, config: TransformerConfig, theirs: Tensor) -> None:
    keep, config = bench.size.tokens, config.video_only()
    # Context and tokens are drawn as for the peer: the generator's order does not hang on the audio half.
    video = video_stream(bench, config, SIGMA)
    negative = replace(video, context_BLD=video.context_BLD.flip(1))
    step = (Pass(video), Pass(negative), Pass(video, stg_blocks=(bench.size.stg_block,)))
    for kind in ("bf16", "fp8"):
        model = prepare(random_transformer(config, bench.device, bench.dtype, fp8=kind == "fp8"))
        with attention_kernels(bench.device):
            with peak(bench.device) as memory:
                found = timed(bench, lambda model=model: model(video, keep=keep))
            bench.add(f"castsheet, video-only, {kind}", **found, **memory)
            found = timed(bench, lambda model=model: model.forward_passes(step, keep=keep), repeats=3)
            bench.add(f"castsheet, guided step, {kind}", **found)
            got = model(video, keep=keep).video_BTC
        bench.add(f"video-only {kind}, difference from diffusers", error=relative(got, theirs[:, :keep]))
        del model


if __name__ == "__main__":
    main()
