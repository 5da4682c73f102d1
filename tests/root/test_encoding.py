"""The picture track that is encoded in a thread: the plain path's file, or one error and nothing."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from castsheet.clip import Clip, ClipFiles
from castsheet.errors import NumericsError, OutputError
from castsheet.jobs.saving import save_somewhere
from castsheet.ltx.latents import decode
from castsheet.ltx.parts.vae import VideoVAE
from castsheet.media.encoding import Encoder, Track
from tests.doubles.ltx_tiny import randn
from tests.doubles.model_doubles import MINI_VAE
from tests.doubles.tiny_bundle import tiny_sheet
from tests.doubles.tiny_runs import ACTION

ENCODING = "castsheet-encode"


def noise(frames: int, width: int = 96, height: int = 64, seed: int = 0) -> np.ndarray:
    blocks = np.random.default_rng(seed).integers(0, 256, (frames, height // 8, width // 8, 3), np.uint8)
    return blocks.repeat(8, 1).repeat(8, 2)


def tracked(encoder: Encoder, frames: np.ndarray, runs: list[int]) -> Track:
    """A track that is given runs of these lengths; the last takes what is left."""
    track = encoder.track(24.0)
    for some in np.split(frames, np.cumsum(runs)):
        track.add(some)
    track.end(frames)
    return track


def running() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith(ENCODING)]


def pictures(files: ClipFiles) -> list[bytes]:
    return [files.video.read_bytes(), files.contact.read_bytes()]


@pytest.mark.parametrize("runs", [[], [1], [16, 16, 5], [1] * 39], ids=str)
@pytest.mark.parametrize("sound", [False, True])
def test_a_tracked_clip_is_the_plain_one(tmp_path: Path, runs: list[int], sound: bool) -> None:
    """Red: the thread's file differs from what the same frames give without a thread."""
    frames = noise(40)
    wave = np.random.default_rng(1).uniform(-0.3, 0.3, (40_000, 2)).astype(np.float32) if sound else None
    rate = 24_000 if sound else None
    plain = Clip(frames, 24.0, wave, rate).save(tmp_path / "clip.mp4")
    expected = pictures(plain)
    with Encoder() as encoder:
        clip = Clip(frames, 24.0, wave, rate, track=tracked(encoder, frames, runs))
        assert pictures(clip.save(tmp_path / "again.mp4")) == expected
        # A clip may be saved more than once: as a take, and as the chosen one.
        assert pictures(clip.save(tmp_path / "once more.mp4")) == expected
    assert not running()


def test_a_run_is_encoded_as_it_is_decoded(castsheet, tmp_path: Path) -> None:
    """Red: `generate` writes another file than the API's plain call."""
    plain = castsheet(tiny_sheet(), ACTION, seed=3).save(tmp_path / "plain.mp4")
    run = castsheet.prepare(tiny_sheet(), ACTION, settings=castsheet.settings(), seed=3)
    with Encoder() as encoder:
        clip = castsheet.make(run, encoder=encoder)
        assert clip.track is not None
        assert clip.track.holds(clip.frames, 24.0, 14)
        assert pictures(clip.save(tmp_path / "tracked.mp4")) == pictures(plain)


def test_on_a_cpu_there_is_no_thread(castsheet) -> None:
    """Red: on two cores decoding waits for the encoder's threads, many times as long as encoding takes."""
    with castsheet.encoder() as encoder:
        assert encoder is None
        assert not running()


def test_a_track_of_something_else_is_not_written(tmp_path: Path) -> None:
    """Red: frames that somebody changed are saved as they were before, or in another quality."""
    frames, others = noise(9), noise(9, seed=5)
    expected = [
        pictures(Clip(others, 24.0).save(tmp_path / "others.mp4")),
        pictures(Clip(frames, 12.0).save(tmp_path / "slower.mp4")),
        pictures(Clip(frames, 24.0).save(tmp_path / "coarse.mp4", crf=30)),
    ]
    with Encoder() as encoder:
        track = tracked(encoder, frames, [4])
        found = [
            pictures(Clip(others, 24.0, track=track).save(tmp_path / "1.mp4")),
            pictures(Clip(frames, 12.0, track=track).save(tmp_path / "2.mp4")),
            pictures(Clip(frames, 24.0, track=track).save(tmp_path / "3.mp4", crf=30)),
        ]
    assert found == expected


def test_a_clip_outlives_the_thread(tmp_path: Path) -> None:
    """Red: a clip that is saved after its thread was told to end is lost."""
    frames = noise(600)
    with Encoder() as encoder:
        clip = Clip(frames, 24.0, track=tracked(encoder, frames, list(range(10, 590, 10))))
    assert clip.track is not None
    assert not clip.track.holds(frames, 24.0, 14)  # some was dropped, so this is asked of the plain path
    assert clip.save(tmp_path / "a.mp4").video.read_bytes()[4:8] == b"ftyp"


def test_what_the_thread_raises_is_raised_once_and_typed(tmp_path: Path) -> None:
    """Red: an encoder that fails in its thread leaves a traceback, half a file or a command that waits."""
    frames = np.zeros((3, 2, 16_400, 3), np.uint8)  # x264 ends at 16,384
    with pytest.raises(OutputError, match="cannot encode") as plain:
        Clip(frames, 24.0).save(tmp_path / "a.mp4")
    with Encoder() as encoder:
        clip = Clip(frames, 24.0, track=tracked(encoder, frames, [2]))
        with pytest.raises(OutputError, match="cannot encode") as threaded:
            save_somewhere(clip, tmp_path / "a.mp4", overwrite=False)
    assert threaded.value.what == plain.value.what
    assert list(tmp_path.iterdir()) == []
    assert not running()


@torch.no_grad()
def test_decoding_that_fails_ends_the_thread() -> None:
    """Red: a decoder that runs away in the middle of a clip leaves the encoder running."""
    torch.manual_seed(0)
    vae = VideoVAE(MINI_VAE).eval()
    vae.tile(True)
    latents = randn(1, vae.channels, 9, 2, 2, seed=1)
    latents[:, :, -1] = torch.nan
    seen: list[int] = []
    with Encoder() as encoder:
        track = encoder.track(24.0)

        def taken(run: np.ndarray) -> None:
            track.add(run)
            seen.append(len(run))

        with pytest.raises(NumericsError, match="the picture"):
            decode(vae, latents, 0, taken)
    assert sum(seen) == 9 + 5 * 8  # what was finished before was on its way
    assert not running()


@torch.no_grad()
@pytest.mark.parametrize("tiling", [False, True])
def test_the_thread_holds_no_frames_of_its_own(tiling: bool) -> None:
    """Red: frames that wait for the encoder are copies, and a long clip is in memory twice."""
    torch.manual_seed(0)
    vae = VideoVAE(MINI_VAE).eval()
    vae.tile(tiling)
    latents = randn(1, vae.channels, 9, 2, 2, seed=1)
    runs: list[np.ndarray] = []
    frames = decode(vae, latents, 0, runs.append)
    assert len(frames) == 65
    assert max(map(len, runs)) <= 16
    assert all(np.shares_memory(run, frames) for run in runs)
    assert np.array_equal(np.concatenate(runs), frames)


def test_ctrl_c_ends_the_wait_and_drops_what_is_queued(tmp_path: Path) -> None:
    """Red: Ctrl-C waits until the whole clip is encoded, or leaves a file."""
    program = (
        "import sys, numpy as np\n"
        "from castsheet.clip import Clip\n"
        "from castsheet.media.encoding import Encoder\n"
        "from castsheet.machine.stopping import stoppable\n"
        "frames = np.random.default_rng(0).integers(0, 256, (64, 448, 768, 3), np.uint8)\n"
        "try:\n"
        "    with stoppable(), Encoder() as encoder:\n"
        "        track = encoder.track(24.0)\n"
        "        for start in [*range(0, 64, 8)] * 40:\n"
        "            track.add(frames[start : start + 8])\n"
        "        track.end(frames)\n"
        "        print('queued', flush=True)\n"
        "        Clip(frames, 24.0, track=track).save(sys.argv[1])\n"
        "finally:\n"
        "    print('whole' if track.holds(frames, 24.0, 14) else 'dropped')\n"
    )
    begun = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "a.mp4")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert begun.stdout is not None
    assert begun.stdout.readline() == "queued\n"
    begun.send_signal(signal.SIGINT)
    assert begun.communicate(timeout=60) == ("dropped\n", "")  # 2,560 frames of noise would take minutes
    assert begun.returncode == 130
    assert list(tmp_path.iterdir()) == []
