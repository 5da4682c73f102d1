"""A guided step's passes shared out over processes, each with the whole model: two GPUs of one host.

The conditional pass and the perturbed one stay together, for they share their first blocks; the unconditional
one goes elsewhere. So two processes take 1.41 passes' time instead of 2.41, and each pass is computed exactly
as one process computes it. Only velocities travel, a megabyte a step; every process then takes the same step.

    torchrun --nproc-per-node 2 -m castsheet.cli generate cast.png --action "..."
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.distributed as dist

from castsheet.ltx.dit import Output, Pass, Transformer
from castsheet.processes import World


class SharedPasses:
    """Runs a step's passes in all processes of `world`; each gets every output."""

    def __init__(self, world: World) -> None:
        self.world = world

    def __call__(
        self, transformer: Transformer, passes: Sequence[Pass], **options: Any
    ) -> tuple[Output, ...]:
        """What `Transformer.forward_passes` gives; all processes call with the same passes."""
        owners = share_out(passes, self.world.size)
        mine = [one for one, owner in zip(passes, owners, strict=True) if owner == self.world.rank]
        computed = iter(transformer.forward_passes(mine, **options) if mine else ())
        outputs: list[Output] = []
        for one, owner in zip(passes, owners, strict=True):
            own = (
                next(computed) if owner == self.world.rank else _empty(transformer, one, options.get("keep"))
            )
            video_BTC, audio_BTC = own.video_BTC.contiguous(), own.audio_BTC
            dist.broadcast(video_BTC, owner)
            if audio_BTC is not None:
                audio_BTC = audio_BTC.contiguous()
                dist.broadcast(audio_BTC, owner)
            outputs.append(Output(video_BTC, audio_BTC))
        return tuple(outputs)


def share_out(passes: Sequence[Pass], processes: int) -> list[int]:
    """The process of each pass: passes of the same inputs together, the largest groups first."""
    groups: list[list[int]] = []
    for number, one in enumerate(passes):
        twin = next((group for group in groups if passes[group[0]].same_inputs(one)), None)
        if twin is None:
            groups.append([number])
        else:
            twin.append(number)
    load, owners = [0] * processes, [0] * len(passes)
    for group in sorted(groups, key=len, reverse=True):
        process = load.index(min(load))
        load[process] += len(group)
        for number in group:
            owners[number] = process
    return owners


def _empty(transformer: Transformer, one: Pass, keep: int | None) -> Output:
    """Room for a pass that another process computes."""
    config, like = transformer.config, transformer.patchify_proj.weight
    batch, tokens = one.video.tokens_BTC.shape[:2]
    video_BTC = like.new_empty(batch, keep or tokens, config.out_channels)
    if one.audio is None:
        return Output(video_BTC)
    return Output(video_BTC, like.new_empty(batch, one.audio.tokens_BTC.shape[1], config.audio_out_channels))
