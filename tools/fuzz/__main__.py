"""`python -m tools.fuzz TARGET --seconds 600`: fuzz a reader; found inputs go to tools/fuzz/corpus/TARGET.

With `atheris` installed (no requirement of the project) its engine is used, else the small loop of `loop.py`.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.util
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tools.fuzz.loop import Findings, fuzz, try_input
from tools.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
_MEMORY = Path("/dev/shm")


def start(name: str) -> list[bytes]:
    """The target's good files, and what was found earlier."""
    kept = sorted((CORPUS / name).glob("*")) if (CORPUS / name).is_dir() else []
    return [*TARGETS[name].seeds(), *(path.read_bytes() for path in kept)]


def _with_atheris(name: str, folder: Path, seconds: float) -> Findings:
    """Run libFuzzer's engine in this process; it leaves the process, so the findings are told at exit."""
    atheris = importlib.import_module("atheris")
    target, found = TARGETS[name], Findings()
    with atheris.instrument_imports(include=["castsheet", "yaml"]):
        try_input(target, start(name)[0], folder, found)  # imports what the target needs
    seeds = folder / "seeds"
    seeds.mkdir()
    for number, data in enumerate(start(name)):
        (seeds / str(number)).write_bytes(data)
    until = time.monotonic() + seconds
    read = folder / "read"
    read.mkdir()

    def one(data: bytes) -> None:
        try_input(target, data, read, found)
        if time.monotonic() > until:
            _tell(name, found, keep=True)
            shutil.rmtree(folder, ignore_errors=True)
            os._exit(1 if found.crashes else 0)

    words = folder / "words"
    words.write_bytes(
        b"".join(b'"' + b"".join(b"\\x%02x" % byte for byte in one) + b'"\n' for one in target.words)
    )
    listed = [f"-dict={words}"] if target.words else []
    limits = ["-max_len=65536", "-timeout=60", "-rss_limit_mb=4096", "-malloc_limit_mb=4096"]
    atheris.Setup([sys.argv[0], *limits, *listed, str(seeds)], one)
    atheris.Fuzz()
    return found


def _tell(name: str, found: Findings, *, keep: bool) -> None:
    sys.stdout.write(f"{name}: {found.inputs:,} inputs, {len(found.crashes)} crashes\n")
    for place, data in found.crashes.items():
        sys.stdout.write(f"  {place}\n")
        if keep:
            path = CORPUS / name / hashlib.sha256(data).hexdigest()[:12]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    sys.stdout.flush()


def main() -> int:
    """Exit code 1 where something was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    sys.argv = sys.argv[:1]
    folder = Path(tempfile.mkdtemp(prefix="fuzz-", dir=_MEMORY if _MEMORY.is_dir() else None))
    try:
        if importlib.util.find_spec("atheris") is not None:
            found = _with_atheris(asked.target, folder, asked.seconds)
        else:
            found = fuzz(
                TARGETS[asked.target], start(asked.target), folder, seconds=asked.seconds, seed=asked.seed
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _tell(asked.target, found, keep=True)
    return 1 if found.crashes else 0


if __name__ == "__main__":
    sys.exit(main())
