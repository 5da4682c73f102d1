"""MiB that a program and all its dependencies take on the disk, by the files that its packages list.

    PYTHON -m tools.studio.sizes castsheet[studio]
    PYTHON tools/studio/sizes.py -r requirements.txt

It is run by the Python of the environment that is measured, and uses the standard library alone.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

_NAME = re.compile(r"\s*([A-Za-z0-9._-]+)\s*(?:\[([^\]]*)\])?([^;]*)(?:;(.*))?")


def needed(wanted: list[str]) -> dict[str, Distribution]:
    """The packages that some requirements lead to, as far as they are installed."""
    found: dict[str, Distribution] = {}
    todo = [(line, frozenset[str]()) for line in wanted]
    done: set[tuple[str, str]] = set()
    while todo:
        line, asked = todo.pop()
        fits = _NAME.match(line)
        if fits is None or not _applies(fits[4] or "", asked):
            continue
        name = re.sub(r"[-_.]+", "-", fits[1]).lower()
        extras = frozenset(one.strip() for one in (fits[2] or "").split(",") if one.strip())
        if (name, ",".join(sorted(extras))) in done:
            continue
        done.add((name, ",".join(sorted(extras))))
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            continue
        todo += [(each, extras) for each in found[name].requires or []]
    return found


def _applies(marker: str, extras: frozenset[str]) -> bool:
    """Whether a marker may hold. Only extras are looked at: what is not installed is not counted anyhow."""
    wanted = re.findall(r"extra\s*==\s*['\"]([^'\"]+)['\"]", marker)
    return not wanted or any(one in extras for one in wanted)


def mib(found: Distribution) -> float:
    """Size of a package's files that are there."""
    sizes = 0
    for file in found.files or []:
        path = Path(str(found.locate_file(file)))
        if path.is_file():
            sizes += path.stat().st_size
    return sizes / (1 << 20)


def main() -> None:
    wanted = sys.argv[1:]
    if wanted[:1] == ["-r"]:
        lines = Path(wanted[1]).read_text(encoding="utf-8").splitlines()
        wanted = [line for line in lines if line.strip() and not line.startswith("#")]
    sizes = {name: mib(one) for name, one in needed(wanted).items()}
    for name, size in sorted(sizes.items(), key=lambda one: -one[1])[:12]:
        sys.stdout.write(f"{size:8.1f} {name}\n")
    torch = sum(size for name, size in sizes.items() if name == "torch" or name.startswith("nvidia"))
    sys.stdout.write(
        f"{sum(sizes.values()):8.1f} in all, {len(sizes)} packages; {torch:.1f} of it is torch\n"
    )


if __name__ == "__main__":
    main()
