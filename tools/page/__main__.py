"""Check the types of the studio's page with TypeScript: `python -m tools.page`.

The page has no build step and needs none: TypeScript only reads. It is fetched with npm into
`out/typescript-VERSION`, once. Exit code 1 says that types are wrong, 3 that TypeScript cannot be had.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

VERSION = "7.0.2"
ROOT = Path(__file__).parents[2]
PAGE = ROOT / "src" / "castsheet" / "studio" / "page"
HERE = Path(__file__).parent
WRONG, NO_TYPESCRIPT = 1, 3


def compiler() -> Path | None:
    """TypeScript's program, fetched if it is not here; None where it cannot be fetched."""
    place = ROOT / "out" / f"typescript-{VERSION}"
    found = place / "node_modules" / ".bin" / "tsc"
    if found.exists():
        return found
    npm = shutil.which("npm")
    if npm is None:
        return None
    place.mkdir(parents=True, exist_ok=True)
    command = [npm, "install", "--silent", "--no-save", "--prefix", str(place), f"typescript@{VERSION}"]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=300)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return None
    return found if found.exists() else None


def mistakes(program: Path) -> list[str]:
    """What TypeScript finds wrong: file, line and message."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        # The vendored files have declarations in their place: minified code tells no types.
        shutil.copytree(HERE / "types", place, dirs_exist_ok=True)
        for path in PAGE.glob("*.js"):
            shutil.copyfile(path, place / path.name)
        shutil.copyfile(HERE / "tsconfig.json", place / "tsconfig.json")
        ended = subprocess.run(
            [str(program), "-p", str(place), "--pretty", "false"], capture_output=True, text=True, cwd=place
        )
    return ended.stdout.splitlines() if ended.returncode else []


def main() -> int:
    program = compiler()
    if program is None:
        sys.stdout.write("NO TYPESCRIPT: npm could not fetch it; the page's types were not checked\n")
        return NO_TYPESCRIPT
    found = mistakes(program)
    sys.stdout.write("\n".join(found or [f"TypeScript {VERSION}: the page's types fit"]) + "\n")
    return WRONG if found else 0


if __name__ == "__main__":
    sys.exit(main())
