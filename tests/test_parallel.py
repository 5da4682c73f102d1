"""Two processes make one clip, over gloo: the same as one process."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist
from ltx_tiny import TARGET, randn, tiny_audio, tiny_transformer, tiny_video
from tiny_bundle import build_bundle, tiny_sheet

from castsheet.ltx.dit import Pass
from castsheet.processes import world
from castsheet.sampling.parallel import SharedPasses, share_out


def passes(audio: bool) -> tuple[Pass, ...]:
    config = tiny_transformer(audio=audio).config
    video = tiny_video(config, reference=1)
    sound = tiny_audio(config) if audio else None
    negative = replace(video, context_BLD=randn(*video.context_BLD.shape, seed=9))
    made = [Pass(video, sound), Pass(negative, sound), Pass(video, sound, stg_blocks=(1,))]
    return tuple([*made, Pass(video, sound, isolate=True)] if audio else made)


def work(rank: int, size: int, port: int, out: str) -> None:
    """One of the processes, started as torchrun would."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
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
        Path(out, f"{rank}.json").write_text(json.dumps(equal))
        dist.barrier()


def test_passes_on_several_processes_are_bitwise_those_of_one(tmp_path: Path) -> None:
    """Red: a pass ends at the wrong place, is lost, or is computed otherwise."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    children = [context.Process(target=work, args=(rank, 2, port, str(tmp_path))) for rank in (0, 1)]
    for child in children:
        child.start()
    for child in children:
        child.join(120)
        assert child.exitcode == 0
    for rank in (0, 1):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == [True] * (3 + 8)


def test_who_runs_what() -> None:
    """Red: the perturbed pass is parted from the one it shares its blocks with, or a process idles."""
    assert share_out(passes(False), 1) == [0, 0, 0]
    assert share_out(passes(False), 2) == [0, 1, 0]
    assert share_out(passes(True), 2) == [0, 1, 0, 1]
    assert share_out(passes(True), 4) == [0, 1, 0, 2]


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
    pair += [*line, "--out", str(tmp_path / "two.mp4")]
    for command in (alone, pair):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("two.mp4") == 1
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()
    shutil.rmtree(bundle)
