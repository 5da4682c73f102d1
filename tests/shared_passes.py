"""What each of two processes does in `test_parallel`; apart, so that they import no more than they need."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist
from ltx_tiny import TARGET, randn, tiny_audio, tiny_transformer, tiny_video

from castsheet.ltx.dit import Pass
from castsheet.processes import world
from castsheet.sampling.parallel import SharedPasses


def passes(audio: bool) -> tuple[Pass, ...]:
    config = tiny_transformer(audio=audio).config
    video = tiny_video(config, reference=1)
    sound = tiny_audio(config) if audio else None
    negative = replace(video, context_BLD=randn(*video.context_BLD.shape, seed=9))
    made = [Pass(video, sound), Pass(negative, sound), Pass(video, sound, stg_blocks=(1,))]
    return tuple([*made, Pass(video, sound, isolate=True)] if audio else made)


def compare(out: Path) -> None:
    """Write whether every pass, shared out over the processes, is bitwise what this one computes alone."""
    with torch.no_grad(), world(torch.device("cpu")) as where:
        run = SharedPasses(where)
        equal = []
        for audio in (False, True):
            model, asked = tiny_transformer(audio=audio), passes(audio)
            alone = model.forward_passes(asked, keep=TARGET)
            for left, right in zip(run(model, asked, keep=TARGET), alone, strict=True):
                equal.append(torch.equal(left.video_BTC, right.video_BTC))
                if audio:
                    equal.append(torch.equal(left.audio_BTC, right.audio_BTC))
        (out / f"{where.rank}.json").write_text(json.dumps(equal))
        dist.barrier()
