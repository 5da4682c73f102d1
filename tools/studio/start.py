"""Time from `castsheet studio` to the first page, in seconds of the clock and of a processor.

    python -m tools.studio.start [--times 5]

The page counts as there when it was answered with all its modules. On a machine that does other work as well,
the processor's seconds are the better figure: the web process uses one core, and the worker another one.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
import urllib.request
from http.cookiejar import CookieJar
from pathlib import Path

from tests.studio.running import Running

PAGE = Path(__file__).parents[2] / "src" / "castsheet" / "studio" / "page"
_TICK = os.sysconf("SC_CLK_TCK")


def spent(pid: int) -> float:
    """Seconds of a processor that a process has used, without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def once(folder: Path) -> tuple[float, float, bool]:
    """Seconds by the clock, seconds of a processor, and whether the model was open by then."""
    begun = time.perf_counter()
    with Running(folder) as studio:
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        with opener.open(studio.address) as answer:
            assert b"app.js" in answer.read()
        base = studio.address.split("?")[0]
        for path in PAGE.glob("*.js"):
            with opener.open(f"{base}page/{path.name}") as answer:
                answer.read()
        clock, cpu = time.perf_counter() - begun, spent(studio.pid)
        with opener.open(f"{base}api/v1/system") as answer:
            opened = b'"model":null' not in answer.read()
    return clock, cpu, opened


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5)
    times = parser.parse_args().times
    with tempfile.TemporaryDirectory() as place:
        found = [once(Path(place) / f"film{number}") for number in range(times)]
    clock, cpu = [one[0] for one in found], [one[1] for one in found]
    sys.stdout.write(f"clock: median {statistics.median(clock):.2f} s, least {min(clock):.2f} s\n")
    sys.stdout.write(f"processor: median {statistics.median(cpu):.2f} s, most {max(cpu):.2f} s\n")
    sys.stdout.write(f"load of the machine: {os.getloadavg()[0]:.1f}\n")


if __name__ == "__main__":
    main()
