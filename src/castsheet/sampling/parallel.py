"""A guided step shared by several processes, each with the whole model, on the GPUs of one host.

Processes form groups. A pass belongs to one group, and the group's processes share its sequence
(ltx/model/shards.py). The conditional and the perturbed pass stay together because they share their first
blocks; the unconditional pass goes to another group. A guided step costs 2.41 passes. With two groups the
slower one computes 1.41 of them; if each group has four processes, every process computes 0.35.

Passes on several groups give the same bits as in one process, and only velocities are sent. A shared sequence
gives the same within rounding, and needs a fast link between the GPUs.

    torchrun --nproc-per-node 2 -m castsheet.cli generate cast.png --action "..."
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch.distributed as dist

from castsheet.errors import SettingsError
from castsheet.ltx.model.dit import Output, Pass, Stream, Transformer
from castsheet.ltx.model.shards import Shards
from castsheet.machine.processes import World
from castsheet.sampling.split import Split


class SharedPasses:
    """Runs a step's passes in all processes of `world`; each gets every output.

    Args:
        split: "passes": every process is its own group; if there are more processes than independent passes,
            the extra ones idle. "sequence": all processes are one group. "auto": as many groups as divide
            the processes evenly and each have a pass; more groups send less.
    """

    def __init__(self, world: World, split: Split = "auto") -> None:
        self.world, self.split = world, split
        self._passes = 0  # of the last step
        self._groups: dict[int, dist.ProcessGroup | None] = {}  # this process's, by their number

    def __call__(
        self,
        transformer: Transformer,
        passes: tuple[Pass, ...],
        *,
        targets: int | None = None,
        **options: Any,
    ) -> tuple[Output, ...]:
        """The outputs of `Transformer.forward_passes`. All processes must call this with the same passes.

        Raises:
            SettingsError: blocks are reused over steps; or rows are, and the steps differ in their passes:
                other processes hold them.
            SettingsError: the sequence is too short, or the heads too few, for this many processes.
        """
        if options.get("residuals") is not None:
            raise SettingsError(
                "several processes share a clip, and each would decide for itself when blocks are reused",
                remedy="set residual_threshold to 0",
            )
        kept = options.get("cache")
        if kept is not None and kept.every > 1 and self._passes not in (0, len(passes)):
            raise SettingsError(
                "several processes keep a reference's rows, and not every step is guided",
                remedy="set reference_every to 1, or leave guidance_every and guidance_interval as they are",
            )
        self._passes = len(passes)
        count = groups(passes, self.world.size, self.split)
        size = self.world.size // count
        owners = share_out(passes, count)
        group = self.world.rank // size
        mine = tuple(one for one, owner in zip(passes, owners, strict=True) if owner == group)
        shards = self._shards(transformer, passes[0].video, count) if size > 1 else None
        own = iter(_run(transformer, mine, shards, targets, options))
        outputs = []
        for one, owner in zip(passes, owners, strict=True):
            output = _empty(transformer, one, targets)
            if owner == group:
                _put(next(own), output, shards)
            outputs.append(output)
        # One process computed the value and the others hold zeros: the sum is exact.
        for output in outputs:
            dist.all_reduce(output.video_BTC)
            if output.audio_BTC is not None:
                dist.all_reduce(output.audio_BTC)
        return tuple(outputs)

    def _shards(self, transformer: Transformer, video: Stream, count: int) -> Shards:
        size = self.world.size // count
        config = transformer.config
        least = min(
            *video.sequence.segments, config.heads, config.audio_heads if config.audio else config.heads
        )
        if size > least:
            raise SettingsError(
                f"a sequence over {size} processes: the model's heads, or a segment of tokens, are {least}",
                remedy="start fewer processes, or choose --split passes",
            )
        if count not in self._groups:
            ranks = [list(range(first, first + size)) for first in range(0, self.world.size, size)]
            made = [dist.new_group(one) for one in ranks]  # torch wants every process to make every group
            self._groups[count] = made[self.world.rank // size]
        return Shards.of(video.sequence.segments, self.world.rank % size, size, self._groups[count])


def groups(passes: tuple[Pass, ...], processes: int, split: Split) -> int:
    """How many groups the processes form; see `SharedPasses`."""
    if split != "auto":
        return processes if split == "passes" else 1
    apart = len(set(share_out(passes, processes)))
    return max(count for count in range(1, apart + 1) if processes % count == 0)


def share_out(passes: tuple[Pass, ...], groups: int) -> list[int]:
    """The group of each pass. Passes with the same inputs stay together; the largest sets come first."""
    alike: list[list[int]] = []
    for number, one in enumerate(passes):
        twin = next((some for some in alike if passes[some[0]].same_inputs(one)), None)
        if twin is None:
            alike.append([number])
        else:
            twin.append(number)
    load, owners = [0] * groups, [0] * len(passes)
    for some in sorted(alike, key=len, reverse=True):
        group = load.index(min(load))
        load[group] += len(some)
        for number in some:
            owners[number] = group
    return owners


def _run(
    transformer: Transformer,
    passes: tuple[Pass, ...],
    shards: Shards | None,
    targets: int | None,
    options: dict[str, Any],
) -> tuple[Output, ...]:
    """The outputs of these passes, or this process's rows of them."""
    if not passes:
        return ()
    if shards is None:
        return transformer.forward_passes(passes, targets=targets, **options)
    # Passes with one stream must get one shard object: shared blocks are recognised by its identity.
    streams = {id(one.video): one.video.shard(shards) for one in passes}
    parts = tuple(replace(one, video=streams[id(one.video)]) for one in passes)
    here = None if targets is None else shards.here(targets)
    return transformer.forward_passes(parts, targets=here, **options)


def _put(part: Output, whole: Output, shards: Shards | None) -> None:
    """Write the rows that this process computed to their places in the whole output."""
    if shards is None:
        whole.video_BTC.copy_(part.video_BTC)
    else:
        shards.put(part.video_BTC, whole.video_BTC, 1)
    if whole.audio_BTC is not None and part.audio_BTC is not None and (shards is None or shards.rank == 0):
        whole.audio_BTC.copy_(part.audio_BTC)


def _empty(transformer: Transformer, one: Pass, targets: int | None) -> Output:
    """Zeros for a pass's outputs."""
    config, like = transformer.config, transformer.patchify_proj.weight
    batch, tokens = one.video.tokens_BTC.shape[:2]
    video_BTC = like.new_zeros(batch, targets or tokens, config.out_channels)
    if one.audio is None:
        return Output(video_BTC)
    return Output(video_BTC, like.new_zeros(batch, one.audio.tokens_BTC.shape[1], config.audio_out_channels))
