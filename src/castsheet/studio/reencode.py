"""A picture that was sent in, read in a process of its own with limits, and written anew as PNG.

    python -m castsheet.studio.reencode IN OUT

Only pixels come through: no metadata (a phone's GPS position), no second format in the same file, no colour
profile, upright. The process may take 3 GiB and 20 seconds of a processor; if it dies, the web process
goes on.
"""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path

from castsheet.errors import CastsheetError, ImageError
from castsheet.media.formats import open_picture
from castsheet.media.pictures import load_image

MOST_PIXELS = 64_000_000
MEMORY = 3 << 30
SECONDS = 20
_LARGEST = 512 << 20
_REMEDY = "send a PNG or JPEG picture of at most 64 million pixels"


def reencode(source: Path, target: Path) -> None:
    """Write the picture of a file as PNG, in a child process with limits.

    Raises:
        ImageError: it is no picture, is too large, or the child was ended by its limits.
    """
    command = [sys.executable, "-m", "castsheet.studio.reencode", str(source), str(target)]
    try:
        ended = subprocess.run(
            command, capture_output=True, timeout=2 * SECONDS, stdin=subprocess.DEVNULL, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ImageError("the picture took too long to read", remedy=_REMEDY) from error
    if ended.returncode == 0 and target.is_file():
        return
    try:
        told = json.loads(ended.stdout)
        what, remedy = str(told["what"]), str(told["remedy"])
    except (ValueError, KeyError, TypeError):
        what, remedy = "the picture took more memory or time than one may", _REMEDY
    raise ImageError(
        what.replace(f"{source} ", "the picture ").replace(str(source), "the picture"), remedy=remedy
    )


def _limit() -> None:
    if sys.platform == "win32":
        return
    import resource

    for kind, most in (
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_CPU, SECONDS),
        (resource.RLIMIT_FSIZE, _LARGEST),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (most, most))


def _write(source: Path, target: Path) -> None:
    with source.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with open_picture(file, source) as opened:
            width, height = opened.size
    if width * height > MOST_PIXELS:
        raise ImageError(f"{source} is {width}x{height}", remedy=_REMEDY)
    picture = load_image(source)
    if picture.getchannel("A").getextrema() == (255, 255):
        picture = picture.convert("RGB")
    picture.info.clear()
    picture.save(target, format="PNG", compress_level=3)


def main() -> int:
    _limit()
    try:
        _write(Path(sys.argv[1]), Path(sys.argv[2]))
    except CastsheetError as error:
        sys.stdout.write(json.dumps({"what": error.what, "remedy": error.remedy}))
        return 1
    except MemoryError:
        sys.stdout.write(json.dumps({"what": "the picture takes too much memory", "remedy": _REMEDY}))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
