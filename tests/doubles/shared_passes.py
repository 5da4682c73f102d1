"""What each of the processes in `test_parallel` does; apart, so that they import no more than they need."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist

from benchmarks.common import open_bench
from benchmarks.parallel import bench_of, parallel
from castsheet.ltx.family import DEFAULT
from castsheet.ltx.model.bias import TokenBias
from castsheet.ltx.model.dit import Output, Pass, Transformer
from castsheet.ltx.model.reuse import RowCache
from castsheet.ltx.model.shards import Shards
from castsheet.ltx.speed.fast import compile_blocks
from castsheet.machine.processes import World, world
from castsheet.sampling.denoiser import run_alone
from castsheet.sampling.parallel import SharedPasses
from castsheet.sampling.split import SPLITS
from tests.doubles.ltx_tiny import (
    TARGET,
    laid_out,
    randn,
    randomise,
    tiny_audio,
    tiny_config,
    tiny_video,
    with_large_marker,
)


def passes(audio: bool, strength: float = 1.0) -> tuple[Pass, ...]:
    config = model_of(audio).config
    video = tiny_video(config, reference=1)
    strengths = torch.ones(video.tokens_BTC.shape[1])
    strengths[TARGET : TARGET + 3] = strength
    video = laid_out(video, bias=TokenBias.of(strengths, TARGET))
    sound = tiny_audio(config) if audio else None
    negative = replace(video, context_BLD=randn(*video.context_BLD.shape, seed=9))
    made = [Pass(video, sound), Pass(negative, sound), Pass(video, sound, stg_blocks=(1,))]
    return tuple([*made, Pass(video, sound, isolate=True)] if audio else made)


def model_of(audio: bool, family: str = DEFAULT.name) -> Transformer:
    """Four heads: one for each of four processes, and no even number for each of three."""
    config = tiny_config(audio=audio, family=family)
    model = Transformer(replace(config, heads=4, head_dim=8, audio_heads=4, audio_head_dim=4))
    randomise(model)
    return with_large_marker(model.eval())


def away(left: Output, right: Output) -> float:
    """The largest relative difference of two outputs."""
    pairs = [(left.video_BTC, right.video_BTC), (left.audio_BTC, right.audio_BTC)]
    return max(float((a - b).norm() / b.norm()) for a, b in pairs if a is not None and b is not None)


def compare(out: Path) -> None:
    """What one of four processes finds; and the benchmark of it."""
    found: dict[str, float] = {}
    with torch.no_grad(), world(torch.device("cpu")) as where:
        for split, audio, strength in itertools.product(SPLITS, (False, True), (1.0, 1.5)):
            # The marker of LTX-2.5 lies in some processes' rows only.
            family = "ltx-2.5" if strength != 1 else DEFAULT.name
            model, asked = model_of(audio, family), passes(audio, strength)
            alone = model.forward_passes(asked, targets=TARGET)
            got = SharedPasses(where, split)(model, asked, targets=TARGET)
            pairs = zip(got, alone, strict=True)
            found[f"{split} {audio} {strength}"] = max(away(left, right) for left, right in pairs)
        three = dist.new_group([0, 1, 2])
        if where.rank < 3:
            found["uneven"] = uneven(where.rank, three)
        found["kept"] = kept(where)
        dist.barrier()
        bench = open_bench("parallel", out, mode="tiny", commit="abc")
        parallel(bench_of(bench, where), where, "bf16")
    (out / f"{where.rank}.json").write_text(json.dumps(found))


def uneven(rank: int, group: dist.ProcessGroup) -> float:
    """Three processes: 8 reference tokens and 4 heads do not divide; compiled, as on a GPU."""
    model, video = model_of(audio=False), passes(audio=False, strength=0.5)[0].video
    shards = Shards.of(video.sequence.segments, rank, 3, group)
    whole = model(video, targets=TARGET).video_BTC
    compile_blocks(model, backend="aot_eager")
    own = model(video.shard(shards), targets=shards.here(TARGET)).video_BTC
    return float((own - whole[:, rank * 8 : rank * 8 + 8]).norm() / own.norm())


def kept(where: World) -> float:
    """Two steps, of which the second finds the reference's rows of the first."""
    model, asked = model_of(audio=False), passes(audio=False)
    outputs = []
    for run in (run_alone, SharedPasses(where)):
        rows = RowCache(2)
        run(model, asked, targets=TARGET, cache=rows)
        rows.begin(1)
        outputs.append(run(model, asked, targets=TARGET, cache=rows))
    return max(away(left, right) for left, right in zip(*outputs, strict=True))
