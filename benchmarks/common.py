"""What all benchmarks share: random full-size models made on the device, inputs, timing, and the result file.

Times are medians of repeated runs between device events after warm-up. Weights are random with the size that
trained ones have (a matrix keeps its input's size), because zeros and constants run faster than real data.
A row that fails says why and the next one runs; the file is written after each row, and DIR/failures.txt
holds the whole tracebacks.

Legend: B batch (1), T tokens, C channels, L context tokens, D context channels.
"""

from __future__ import annotations

import faulthandler
import gc
import json
import math
import platform
import shutil
import signal
import statistics
import subprocess
import time
import traceback
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from castsheet.ltx import keys
from castsheet.ltx.keys import is_large
from castsheet.ltx.model.config import TransformerConfig
from castsheet.ltx.model.dit import Stream, Transformer
from castsheet.ltx.model.rope import audio_bounds, audio_tables, cross_tables, video_bounds, video_tables
from castsheet.ltx.model.scaled import ScaledLinear, quantise_rows
from castsheet.ltx.model.sequence import Sequence

ROOT = Path(__file__).resolve().parent
PACKAGES = ("torch", "triton", "diffusers", "transformers", "peft", "torchao", "castsheet")


@dataclass(frozen=True)
class Size:
    """A model and a clip to measure. `frames`, `rows`, `columns` are latent cells; 24 frames a second."""

    name: str
    config: TransformerConfig
    frames: int
    rows: int
    columns: int
    context: int
    audio_frames: int
    stg_block: int
    steps: int
    repeats: int

    @property
    def tokens(self) -> int:
        return self.frames * self.rows * self.columns


def _config(layers: int, heads: int, head_dim: int, channels: int) -> TransformerConfig:
    width = heads * head_dim
    return TransformerConfig(
        layers=layers,
        heads=heads,
        head_dim=head_dim,
        in_channels=channels,
        out_channels=channels,
        context_dim=width,
        audio=True,
        audio_heads=heads,
        audio_head_dim=head_dim // 2,
        audio_in_channels=channels,
        audio_out_channels=channels,
        audio_context_dim=width // 2,
    )


# 768x448, 121 frames; the release's own STG block; audio of the same five seconds.
FULL = Size("768x448x121, 22B", _config(48, 32, 128, 128), 16, 14, 24, 1024, 126, 28, 30, 5)
# The same widths and tokens in a few blocks and repeats: every kernel runs, in seconds; no figure to quote.
SMOKE = replace(
    FULL, name="smoke, 4 blocks", config=replace(FULL.config, layers=4), stg_block=2, steps=4, repeats=1
)
TINY = Size("tiny", _config(4, 4, 16, 16), 3, 2, 4, 8, 5, 2, 3, 2)
Mode = Literal["full", "smoke", "tiny"]
SIZES: dict[Mode, Size] = {"full": FULL, "smoke": SMOKE, "tiny": TINY}
FAILED = "failures.txt"


# What a row may end with: kernels that the machine lacks, compilers, memory, libraries of another version.
FAILURES = (
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ImportError,
    AssertionError,
    OSError,
)


@dataclass
class Bench:
    """One section's run: where, at which size, and what has been measured so far."""

    name: str
    device: torch.device
    size: Size
    output: Path
    commit: str
    mode: Mode = "full"
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.device.type == "cuda" else torch.float32

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    def add(self, row: str, **values: Any) -> None:
        """Note and print one row; the file is written each time, so that a run cut short keeps its rows."""
        self.rows.append({"row": row, **values})
        shown = ", ".join(f"{key} {_short(value)}" for key, value in values.items())
        print(f"[{time.strftime('%H:%M:%S')}] {self.name}: {row}: {shown}", flush=True)
        self.write()

    @contextmanager
    def attempt(self, row: str) -> Iterator[None]:
        """Inside, a failure becomes a row that says so; memory is given back either way."""
        try:
            yield
        except FAILURES as error:
            reason = (str(error).strip().splitlines() or [""])[0][:200]
            self.add(row, failed=f"{type(error).__name__}: {reason}")
            with (self.output / FAILED).open("a", encoding="utf-8") as file:
                file.write(f"== {self.name}: {row}\n{traceback.format_exc()}\n")
            traceback.clear_frames(error.__traceback__)  # they hold the model
        if self.on_gpu:
            gc.collect()
            torch.cuda.empty_cache()

    def ms(self, row: str) -> float:
        """The median of a row measured before; NaN where it failed."""
        return next((one["ms"] for one in self.rows if one["row"] == row and "ms" in one), math.nan)

    def write(self) -> Path:
        """Write the results so far."""
        record = {
            "benchmark": self.name,
            "size": self.size.name,
            "commit": self.commit,
            "device": torch.cuda.get_device_name(self.device) if self.on_gpu else _processor(),
            "date": time.strftime("%Y-%m-%d"),
            "versions": {name: _version(name) for name in PACKAGES}
            | {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version() if self.on_gpu else None},
            "rows": self.rows,
        }
        self.output.mkdir(parents=True, exist_ok=True)
        suffix = "" if self.mode == "full" else f"-{self.mode}"
        path = self.output / f"{self.name}{suffix}.json"
        path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        return path


@contextmanager
def reported(section: str, output: Path) -> Iterator[None]:
    """Inside, a crash writes its traceback to failures.txt; so does SIGUSR1, which then changes nothing."""
    output.mkdir(parents=True, exist_ok=True)
    with (output / FAILED).open("a", encoding="utf-8") as file:
        faulthandler.enable(file)
        faulthandler.register(signal.SIGUSR1, file)
        try:
            yield
        except BaseException:
            file.write(f"== {section}, as a whole\n{traceback.format_exc()}\n")
            raise
        finally:
            faulthandler.unregister(signal.SIGUSR1)
            faulthandler.disable()


def open_bench(name: str, output: Path, *, mode: Mode = "full", commit: str | None = None) -> Bench:
    """A section's bench: on the GPU where there is one, else on the CPU; toy size always on the CPU."""
    device = torch.device("cuda" if torch.cuda.is_available() and mode != "tiny" else "cpu")
    torch.manual_seed(0)
    return Bench(name, device, SIZES[mode], output, commit or current_commit(), mode)


def random_transformer(
    config: TransformerConfig, device: torch.device, dtype: torch.dtype, *, fp8: bool = False
) -> Transformer:
    """A model of random weights made on the device, tensor by tensor; the same ones in either precision."""
    with torch.device("meta"):
        model = Transformer(config)
        if fp8:
            for name, layer in list(model.named_modules()):
                if is_large(name):
                    plain = cast(nn.Linear, layer)
                    scaled = ScaledLinear(plain.in_features, plain.out_features, plain.bias is not None)
                    model.set_submodule(name, scaled)
    for name, parameter in list(model.named_parameters()):
        if name.endswith("weight_scale"):
            continue  # made with its weight
        path, _, leaf = name.rpartition(".")
        holder = model.get_submodule(path)
        value = _random(name, tuple(parameter.shape), device, dtype)
        if isinstance(holder, ScaledLinear) and leaf == "weight":
            value, scale = quantise_rows(value)
            holder.weight_scale = nn.Parameter(scale, requires_grad=False)
        setattr(holder, leaf, nn.Parameter(value, requires_grad=False))
    return model.eval()


def _random(name: str, shape: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    generator = torch.Generator(device).manual_seed(zlib.crc32(name.encode()))
    if keys.is_table(name):
        return torch.randn(shape, generator=generator, device=device) / math.sqrt(shape[1])
    value = torch.empty(shape, device=device, dtype=dtype).normal_(generator=generator)
    if "norm" in name:
        return value * 0.1 + 1
    return value * (0.02 if len(shape) == 1 else 1 / math.sqrt(shape[1]))


def video_stream(
    bench: Bench, config: TransformerConfig, sigma: float, *, reference: int | None = None, seed: int = 0
) -> Stream:
    """[target | clean reference]; `reference` counts latent frames, None is the clip's length."""
    size, device = bench.size, bench.device
    frames = size.frames if reference is None else reference
    bounds = video_bounds(size.frames, size.rows, size.columns, 24.0)
    if frames:
        bounds = torch.cat([bounds, video_bounds(frames, size.rows, size.columns, 24.0)], dim=1)
    tokens = bounds.shape[1]
    segments = (size.tokens, tokens - size.tokens) if frames else (size.tokens,)
    generator = torch.Generator(device).manual_seed(seed)
    normal = {"generator": generator, "device": device}
    rope = video_tables(config, bounds, bench.dtype).to(device)
    cross_rope = cross_tables(config, bounds, bench.dtype).to(device) if config.audio else None
    return Stream(
        tokens_BTC=torch.randn(1, tokens, config.in_channels, **normal).to(bench.dtype),
        context_BLD=torch.randn(1, size.context, config.context_dim, **normal).to(bench.dtype),
        sequence=Sequence(segments, rope, cross_rope, marked=size.rows * size.columns),
        timesteps_BS=torch.tensor([[sigma, 0.0]], device=device)[:, : len(segments)],
        sigma_B=torch.tensor([sigma], device=device),
    )


def audio_stream(bench: Bench, config: TransformerConfig, sigma: float, *, seed: int = 1) -> Stream:
    """The audio stream beside `video_stream`."""
    frames, device = bench.size.audio_frames, bench.device
    normal = {"generator": torch.Generator(device).manual_seed(seed), "device": device}
    bounds = audio_bounds(frames)
    rope = audio_tables(config, bounds, bench.dtype).to(device)
    return Stream(
        tokens_BTC=torch.randn(1, frames, config.audio_in_channels, **normal).to(bench.dtype),
        context_BLD=torch.randn(1, bench.size.context, config.audio_context_dim, **normal).to(bench.dtype),
        sequence=Sequence((frames,), rope, cross_tables(config, bounds, bench.dtype).to(device)),
        timesteps_BS=torch.tensor([[sigma]], device=device),
        sigma_B=torch.tensor([sigma], device=device),
    )


def timed(
    bench: Bench, run: Callable[[], Any], *, warm: int = 2, repeats: int | None = None
) -> dict[str, float]:
    """Median, fastest and slowest milliseconds of `run`, and the first call's seconds (with compiling)."""
    begun = time.perf_counter()
    run()
    _wait(bench.device)
    first = time.perf_counter() - begun
    for _ in range(warm - 1):
        run()
    times = [_once(bench.device, run) for _ in range(repeats or bench.size.repeats)]
    return {"ms": statistics.median(times), "min": min(times), "max": max(times), "first_s": first}


def _once(device: torch.device, run: Callable[[], Any]) -> float:
    if device.type != "cuda":
        begun = time.perf_counter()
        run()
        return (time.perf_counter() - begun) * 1e3
    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    before.record()
    run()
    after.record()
    torch.cuda.synchronize(device)
    return before.elapsed_time(after)


@contextmanager
def peak(device: torch.device) -> Iterator[dict[str, float]]:
    """Inside, watch device memory; afterwards the dictionary holds the highest GiB allocated and reserved."""
    found: dict[str, float] = {}
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    yield found
    _wait(device)
    if device.type == "cuda":
        found["peak_gib"] = torch.cuda.max_memory_allocated(device) / 2**30
        found["reserved_gib"] = torch.cuda.max_memory_reserved(device) / 2**30


def relative(got: Tensor, wanted: Tensor) -> float:
    """Norm of the difference over the norm; NaN stays NaN."""
    return float((got.float() - wanted.float()).norm() / wanted.float().norm())


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _processor() -> str:
    """The processor's own name."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text(encoding="utf-8").splitlines() if cpu.is_file() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{name or platform.processor() or 'CPU'}, {torch.get_num_threads()} threads"


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def current_commit() -> str:
    """The commit that is checked out; "unknown" in a copy without .git."""
    if shutil.which("git") is None:
        return "unknown"
    found = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"
