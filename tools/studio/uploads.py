"""Send forty hostile or odd files to a studio that runs, and watch the memory of its web process.

python -m tools.studio.uploads [--rounds 2]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from castsheet.studio.client import Client, Refused
from tests.studio.running import Running
from tools.studio.hostile import all_files, clean
from tools.studio.load import memory

MOST_MIB = 50


def send(client: Client, name: str, content: bytes, place: Path) -> tuple[int, str]:
    """The status of an upload, and what to do about it."""
    file = place / "sent.png"
    file.write_bytes(content)
    try:
        client.add_picture(name, file, kind="prop")
    except Refused as refused:
        return refused.status, refused.remedy
    return 201, ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    rounds, wrong = parser.parse_args().rounds, 0
    files = all_files()
    with tempfile.TemporaryDirectory() as name, Running(Path(name) / "film") as running:
        client, place = Client.open(running.folder), Path(name)
        send(client, "first", next(content for _, content, taken in files if taken), place)
        before = most = memory(running.pid)
        for turn in range(rounds):
            for number, (label, content, taken) in enumerate(files):
                begun = time.perf_counter()
                status, remedy = send(client, f"x{turn}-{number}", content, place)
                seconds = time.perf_counter() - begun
                answers = client.get("/health")["state"] == "up"
                right = answers and (status == 201 if taken else status in (413, 422) and bool(remedy))
                wrong += not right
                most = max(most, memory(running.pid))
                told = (
                    f"{'ok ' if right else 'NOT'} {status} {label} ({len(content):,} bytes, {seconds:.1f} s)"
                )
                sys.stdout.write(f"{told}\n")
                sys.stdout.flush()
        kept = clean(running.folder / "library")
    grown = most - before
    sys.stdout.write(f"{len(files)} files, {rounds} rounds, {wrong} wrong; pictures are clean: {kept}\n")
    sys.stdout.write(f"web process: {before:.1f} MiB before, {most:.1f} MiB at most, {grown:.1f} MiB more\n")
    return 0 if wrong == 0 and kept and grown < MOST_MIB else 1


if __name__ == "__main__":
    sys.exit(main())
