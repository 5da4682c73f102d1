"""Several processes make one clip, over gloo: the same as one process."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from ltx_tiny import TARGET, randn, randomise, tiny_audio, tiny_config, tiny_video
from tiny_bundle import build_bundle, tiny_sheet

from benchmarks.common import open_bench
from benchmarks.parallel import bench_of, parallel
from castsheet.clip import read_video
from castsheet.errors import SettingsError
from castsheet.ltx.bias import TokenBias
from castsheet.ltx.dit import Output, Pass, Transformer
from castsheet.ltx.fast import compile_blocks
from castsheet.ltx.reuse import KeptRows
from castsheet.ltx.sequence import Shards
from castsheet.processes import World, world
from castsheet.sampling.denoiser import run_alone
from castsheet.sampling.parallel import SPLITS, SharedPasses, groups, share_out


def passes(audio: bool, strength: float = 1.0) -> tuple[Pass, ...]:
    config = model_of(audio).config
    video = tiny_video(config, reference=1)
    strengths = torch.ones(video.tokens_BTC.shape[1])
    strengths[TARGET : TARGET + 3] = strength
    video = replace(video, bias_TT=TokenBias.of(strengths, TARGET))
    sound = tiny_audio(config) if audio else None
    negative = replace(video, context_BLD=randn(*video.context_BLD.shape, seed=9))
    made = [Pass(video, sound), Pass(negative, sound), Pass(video, sound, stg_blocks=(1,))]
    return tuple([*made, Pass(video, sound, isolate=True)] if audio else made)


def model_of(audio: bool) -> Transformer:
    """Four heads: one for each of four processes, and no even number for each of three."""
    config = replace(tiny_config(audio=audio), heads=4, head_dim=8, audio_heads=4, audio_head_dim=4)
    model = Transformer(config)
    randomise(model)
    return model.eval()


def away(left: Output, right: Output) -> float:
    """The largest relative difference of two outputs."""
    pairs = [(left.video_BTC, right.video_BTC), (left.audio_BTC, right.audio_BTC)]
    return max(float((a - b).norm() / b.norm()) for a, b in pairs if a is not None and b is not None)


def work(rank: int, size: int, port: int, out: str) -> None:
    """One of the processes, started as torchrun would."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    found: dict[str, float] = {}
    with torch.no_grad(), world(torch.device("cpu")) as where:
        for split, audio, strength in itertools.product(SPLITS, (False, True), (1.0, 1.5)):
            model, asked = model_of(audio), passes(audio, strength)
            alone = model.forward_passes(asked, keep=TARGET)
            got = SharedPasses(where, split)(model, asked, keep=TARGET)
            pairs = zip(got, alone, strict=True)
            found[f"{split} {audio} {strength}"] = max(away(left, right) for left, right in pairs)
        three = dist.new_group([0, 1, 2])
        if rank < 3:
            found["uneven"] = uneven(rank, three)
        found["kept"] = kept(where)
        dist.barrier()
        bench = open_bench("parallel", Path(out), mode="tiny", commit="abc")
        parallel(bench_of(bench, where), where, "bf16")
    Path(out, f"{rank}.json").write_text(json.dumps(found))


def uneven(rank: int, group: dist.ProcessGroup) -> float:
    """Three processes: 8 reference tokens and 4 heads do not divide; compiled, as on a GPU."""
    model, video = model_of(audio=False), passes(audio=False, strength=0.5)[0].video
    shards = Shards.of(video.segments, rank, 3, group)
    whole = model(video, keep=TARGET).video_BTC
    compile_blocks(model, backend="aot_eager")
    own = model(video.shard(shards), keep=shards.here(TARGET)).video_BTC
    return float((own - whole[:, rank * 8 : rank * 8 + 8]).norm() / own.norm())


def kept(where: World) -> float:
    """Two steps, of which the second finds the reference's rows of the first."""
    model, asked = model_of(audio=False), passes(audio=False)
    outputs = []
    for run in (run_alone, SharedPasses(where)):
        rows = KeptRows(2)
        run(model, asked, keep=TARGET, kept=rows)
        rows.advance()
        outputs.append(run(model, asked, keep=TARGET, kept=rows))
    return max(away(left, right) for left, right in zip(*outputs, strict=True))


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What four processes found, and the benchmark that they ran."""
    out: Path = tmp_path_factory.mktemp("four")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.parallel"])
    children = [context.Process(target=work, args=(rank, 4, port, str(out))) for rank in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join(120)
        assert child.exitcode == 0
    each = [json.loads((out / f"{rank}.json").read_text()) for rank in range(4)]
    return each, json.loads((out / "parallel-4-tiny.json").read_text())


def test_passes_on_several_processes_are_bitwise_those_of_one(found) -> None:
    """Red: a pass ends at the wrong place, is lost, or is computed otherwise."""
    for one in found[0]:
        assert all(value == 0 for name, value in one.items() if name.startswith("passes"))


def test_a_sequence_over_several_processes_is_that_of_one(found) -> None:
    """Red: rows or heads change places, a bias meets other tokens than its own, or audio sees half a clip."""
    for one in found[0]:
        shared = {name: value for name, value in one.items() if not name.startswith("passes")}
        assert len(shared) >= 9
        assert max(shared.values()) <= 1e-5


def test_the_benchmark_compares_every_way_with_one_process(found) -> None:
    """Red: minutes on two GPUs end without a figure, or a way that changes the clip goes unseen."""
    rows = found[1]["rows"]
    assert [row["row"] for row in rows] == [
        "a guided step in one process, bf16",
        "a guided step over 4 processes, passes, bf16",
        "a guided step over 4 processes, sequence, bf16",
        "a guided step over 4 processes, auto, bf16",
    ]
    assert all(row["speed_up"] > 0 and row["error"] <= 1e-5 for row in rows[1:])


def test_who_runs_what() -> None:
    """Red: the perturbed pass is parted from the one it shares its blocks with, or a process idles."""
    assert share_out(passes(False), 1) == [0, 0, 0]
    assert share_out(passes(False), 2) == [0, 1, 0]
    assert share_out(passes(True), 2) == [0, 1, 0, 1]
    assert share_out(passes(True), 4) == [0, 1, 0, 2]


def test_how_processes_are_grouped() -> None:
    """Red: processes idle, or a sequence is shared out where passes need no talk."""
    three, four = passes(False), passes(True)
    assert [groups(three, count, "auto") for count in (1, 2, 3, 4, 6, 8)] == [1, 2, 1, 2, 2, 2]
    assert [groups(four, count, "auto") for count in (2, 3, 4, 6)] == [2, 3, 2, 3]
    assert groups(three, 8, "sequence") == 1
    assert groups(three, 8, "passes") == 8


def test_too_many_processes_for_a_sequence_are_refused() -> None:
    """Red: a process is left without heads or tokens, and the run ends in a shape error."""
    shared = SharedPasses(World(0, 5, torch.device("cpu")), "sequence")
    with pytest.raises(SettingsError, match="over 5 processes"):
        shared(model_of(False), passes(False), keep=TARGET)
    with pytest.raises(ValueError, match="cannot be shared out"):
        Shards.of((24, 3), 0, 4)


def test_a_matrix_of_biases_and_half_a_segment_are_refused() -> None:
    """Red: a bias is read at the wrong rows, or rows are dropped that somebody keeps."""
    video = tiny_video(model_of(False).config, reference=1)
    shards = Shards.of(video.segments, 0, 2)
    assert video.shard(shards).segments == (12, 4)  # a half of each segment, not all of it
    with pytest.raises(ValueError, match="TokenBias"):
        replace(video, bias_TT=torch.zeros(32, 32)).shard(shards)
    with pytest.raises(ValueError, match="only whole segments"):
        shards.here(5)


def test_generate_under_torchrun(tmp_path: Path) -> None:
    """Red: two processes write over each other, or their clip is not that of one."""
    bundle = build_bundle(tmp_path / "bundle")
    sheet = tiny_sheet().save(tmp_path / "cast.png")[0]
    line = ["castsheet.cli", "generate", str(sheet), "--action", "hero walks left past the barn", "--model"]
    line += [str(bundle), "--device", "cpu", "--dtype", "fp32", "--guidance", "3", "--stg-scale", "1"]
    line += ["--cache-dir", str(tmp_path / "cache"), "--force"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    alone = [sys.executable, "-m", *line, "--out", str(tmp_path / "one.mp4")]
    pair = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    pair += [*line, "--out", str(tmp_path / "two.mp4"), "--split", "sequence"]
    for command in (alone, pair):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("two.mp4") == 1
    one, two = (read_video(tmp_path / f"{name}.mp4")[0].astype(int) for name in ("one", "two"))
    assert abs(one - two).mean() < 0.5  # rounding, then a lossy codec
    shutil.rmtree(bundle)
