"""What this machine has, what it can run, and what is missing for the rest."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from castsheet import __version__
from castsheet.embedded import WEIGHTS
from castsheet.loading.download import GIB, SOURCES
from castsheet.ltx.family import PublishedFile, Role

MINI_BUNDLE = WEIGHTS / "bundle.json"
DEFAULT_FOLDER = Path("models/ltx-2.3")

# Parameter counts of LTX-2.3 22B and its text encoder; two bytes each in bf16.
VIDEO_DENOISER = 13_124_316_288
AUDIO_VIDEO_DENOISER = 18_988_838_144
VIDEO_VAE = 318_936_897 + 407_169_072
CONNECTORS = 1_612_546_304 + 770_707_456
GEMMA = 12_200_000_000

# Room beside the weights for activations at 768x448x121, for the VAE's decoding and for the driver.
WORKING_GIB = 6.0
# Measured by the vendor's recipe: rank 128, gradient checkpointing, video stream only.
TRAINING_GIB = 42.0
MINI_GIB = 2.0

REQUIRED = (
    "torch",
    "diffusers",
    "transformers",
    "safetensors",
    "accelerate",
    "huggingface-hub",
    "av",
    "numpy",
    "pillow",
    "pydantic",
    "pyyaml",
    "rich",
    "typer",
)
OPTIONAL = {"moderngl": "mini", "peft": "dev"}
CPU_FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16")

State = Literal["present", "partial", "absent"]


@dataclass(frozen=True)
class Gpu:
    """One accelerator; memory in GiB."""

    name: str
    memory_gib: float
    free_gib: float
    bf16: bool
    fp8: bool


@dataclass(frozen=True)
class Machine:
    """Hardware as seen by this process; sizes in GiB, None where the system does not tell."""

    system: str
    cpu: str
    cores: int
    features: tuple[str, ...]
    ram_gib: float | None
    ram_free_gib: float | None
    disk_free_gib: float
    gpus: tuple[Gpu, ...]


@dataclass(frozen=True)
class Package:
    """An installed or missing package; `extra` names the optional group that brings it."""

    name: str
    version: str | None
    extra: str | None


@dataclass(frozen=True)
class ModelFile:
    """One of the 22B model's files, looked for in a folder."""

    role: Role
    repo: str
    file: str
    page: str
    bytes: int
    state: State
    path: str


@dataclass(frozen=True)
class Ability:
    """Something castsheet does: whether the hardware fits, and whether the files are here as well."""

    what: str
    fits: bool
    ready: bool
    why: str


@dataclass(frozen=True)
class Diagnosis:
    """Everything that `castsheet doctor` prints."""

    version: str
    python: str
    machine: Machine
    packages: tuple[Package, ...]
    folder: str
    models: tuple[ModelFile, ...]
    abilities: tuple[Ability, ...]
    steps: tuple[str, ...]


def diagnose(folder: Path = DEFAULT_FOLDER) -> Diagnosis:
    """Look at this machine, and at `folder` for the 22B model's files."""
    machine = inspect_machine(folder)
    models = tuple(find_model(source, folder) for source in SOURCES.values())
    return Diagnosis(
        version=__version__,
        python=platform.python_version(),
        machine=machine,
        packages=tuple(_package(name, None) for name in REQUIRED)
        + tuple(_package(name, extra) for name, extra in OPTIONAL.items()),
        folder=str(folder),
        models=models,
        abilities=abilities(machine, models),
        steps=steps(models, folder, machine.disk_free_gib),
    )


def inspect_machine(folder: Path) -> Machine:
    """Hardware of this machine; `folder` chooses the disk whose free space is told."""
    nearest = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    cpu, features = _cpu()
    return Machine(
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        cpu=cpu,
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        features=features,
        ram_gib=_pages_gib("SC_PHYS_PAGES"),
        ram_free_gib=_ram_free_gib(),
        disk_free_gib=round(shutil.disk_usage(nearest).free / GIB, 1),
        gpus=_gpus(),
    )


def find_model(source: PublishedFile, folder: Path) -> ModelFile:
    """Whether a source's file (or folder of files) is complete below `folder`."""
    place = folder / source.folder / (source.file or "")
    if source.file:
        parts = list(place.parent.glob(f".{source.file}.*.part"))
        whole = place.is_file() and place.stat().st_size > 0
        state: State = "present" if whole else "partial" if parts else "absent"
    else:
        state = _encoder_state(place)
    name = source.file or f"{source.folder}/ ({', '.join(source.patterns)})"
    return ModelFile(source.role, source.repo, name, source.page, source.bytes, state, str(place))


def abilities(machine: Machine, models: tuple[ModelFile, ...]) -> tuple[Ability, ...]:
    """What runs here. Needs are computed from parameter counts, in bf16; see the constants above."""
    here = all(model.state == "present" for model in models)
    largest = max((gpu.memory_gib for gpu in machine.gpus if gpu.bf16), default=0.0)
    vram = f"the largest GPU has {largest:.0f} GiB" if largest else "no GPU with bf16 found"

    def on_gpu(what: str, needed: float) -> Ability:
        fits = largest >= needed
        return Ability(what, fits, fits and here, f"needs {needed:.0f} GiB of GPU memory; {vram}")

    mini = MINI_BUNDLE.is_file()
    enough = machine.ram_gib is None or machine.ram_gib >= MINI_GIB
    return (
        Ability(
            "mini, the embedded model (CPU is enough)",
            enough,
            enough and mini,
            f"needs {MINI_GIB:.0f} GiB RAM" if mini else "its weights are missing from this installation",
        ),
        # The text encoder leaves before the denoiser comes, so the larger of the two decides.
        on_gpu("the 22B model's text encoder, once for each new prompt", _gib(GEMMA + CONNECTORS) + 1),
        on_gpu("LTX-2.3 22B, video, bf16", _gib(VIDEO_DENOISER + VIDEO_VAE) + WORKING_GIB),
        on_gpu("LTX-2.3 22B, video and sound, bf16", _gib(AUDIO_VIDEO_DENOISER + VIDEO_VAE) + WORKING_GIB),
        on_gpu("training a rank-128 adapter for the 22B model", TRAINING_GIB),
    )


def steps(models: tuple[ModelFile, ...], folder: Path, disk_free_gib: float) -> tuple[str, ...]:
    """What to do, in order, until the 22B model runs from `folder`."""
    run = f"castsheet generate SCENE.yaml --model {folder} -o clip.mp4"
    missing = [model for model in models if model.state != "present"]
    if not missing:
        return (run,)
    needed = sum(model.bytes for model in missing) / GIB
    space = f"castsheet download --to {folder}   ({needed:.0f} GiB to fetch, {disk_free_gib:.0f} GiB free)"
    pages = (f"accept the licence at {model.page}" for model in missing)
    return (*pages, "hf auth login   (a read token of the same account)", space, run)


def _encoder_state(folder: Path) -> State:
    """A Gemma folder is complete with its config, a tokenizer and every shard that its index names."""
    shards = {path.name for path in folder.glob("*.safetensors")}
    index = folder / "model.safetensors.index.json"
    wanted = {"model.safetensors"}
    if index.is_file():
        try:
            wanted = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, AttributeError, TypeError):
            return "partial"
    tokenizer = any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model"))
    if (folder / "config.json").is_file() and tokenizer and wanted <= shards:
        return "present"
    return "partial" if folder.is_dir() and any(folder.iterdir()) else "absent"


def _package(name: str, extra: str | None) -> Package:
    try:
        return Package(name, metadata.version(name), extra)
    except metadata.PackageNotFoundError:
        return Package(name, None, extra)


def _gib(parameters: int) -> float:
    return 2 * parameters / GIB


def _pages_gib(name: str) -> float | None:
    names = getattr(os, "sysconf_names", {})
    if name not in names or "SC_PAGE_SIZE" not in names:
        return None
    return round(os.sysconf(name) * os.sysconf("SC_PAGE_SIZE") / GIB, 1)


def _ram_free_gib() -> float | None:
    """What programs can still take; on Linux with the file cache, which SC_AVPHYS_PAGES leaves out."""
    table = Path("/proc/meminfo")
    if not table.is_file():
        return _pages_gib("SC_AVPHYS_PAGES")
    for line in table.read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return round(int(line.split()[1]) * 1024 / GIB, 1)
    return None


def _cpu() -> tuple[str, tuple[str, ...]]:
    table = Path("/proc/cpuinfo")
    if not table.is_file():
        return platform.processor() or platform.machine(), ()
    fields: dict[str, str] = {}
    for line in table.read_text(encoding="utf-8", errors="replace").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    flags = (fields.get("flags") or fields.get("Features") or "").split()
    name = fields.get("model name") or platform.machine()
    return name, tuple(feature for feature in CPU_FEATURES if feature in flags)


def _gpus() -> tuple[Gpu, ...]:
    if importlib.util.find_spec("torch") is None:
        return ()
    import torch

    found = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        about = torch.cuda.get_device_properties(index)
        free, total = torch.cuda.mem_get_info(index)
        capability = (about.major, about.minor)
        found.append(
            Gpu(
                about.name,
                round(total / GIB, 1),
                round(free / GIB, 1),
                bf16=capability >= (8, 0),
                fp8=capability >= (8, 9),
            )
        )
    return tuple(found)
