"""What the studio's processes open, remove, run and connect to, over a film-maker's day.

    python -m tools.studio.audit

A hook of Python's own auditing (`sys.addaudithook`) is put into every process that the studio starts: web
process, worker, and the children that read uploads. Printed is what lies outside of the data folder. Allowed
there is what every Python program reads (its own code and libraries, the system's settings), the folder for
temporary files, and the cache of cut-outs and prompts.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from castsheet.studio.client import Client
from tests.studio.conftest import DEMO, SMALL
from tests.studio.running import Running
from tools.studio.kills import until

HOOK = """
import json, os, sys
_log = os.open(os.environ["STUDIO_AUDIT"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
_kinds = ("open", "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.chmod",
          "shutil.rmtree", "shutil.copyfile", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn",
          "socket.connect", "socket.sendto", "socket.getaddrinfo", "sqlite3.connect", "socket.bind")
def _hook(event, given):
    if event in _kinds:
        told = [repr(one) if isinstance(one, (bytes, tuple)) else one for one in given]
        os.write(_log, (json.dumps([os.getpid(), event, told], default=str) + "\\n").encode())
sys.addaudithook(_hook)
"""
READS = ("/proc/", "/sys/", "/dev/", "/etc/", "/usr/", "/lib", "/var/lib/dpkg", "/opt/")
"""Where every program of this system reads: devices, settings, shared libraries."""

NETWORK = ("socket.connect", "socket.sendto", "socket.getaddrinfo")
RUNS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn")


def day(client: Client, place: Path) -> None:
    """A film-maker's day: cast, scene, sheet, takes, list, gallery, team, training pages."""
    until(lambda: client.get("/system")["model"])
    for name, file, kind in (("hero", "hero-front", "character"), ("lamp", "prop", "prop")):
        client.add_picture(name, DEMO / f"{file}.png", kind=kind)
    picture = client.get("/elements")["elements"][0]["pictures"][0]["id"]
    base = f"/elements/hero/looks/default/pictures/{picture}"
    client.save(f"{base}/cutout", place / "cutout.png")
    client.post(f"{base}/approve")
    client.post("/undo", {"id": client.get("/undo")["undo"]["id"]})
    body = {"elements": [{"use": "hero"}, {"use": "lamp"}], "action": "hero waves"}
    client.put("/scenes/first", body, version=None)
    sheet = client.post("/scenes/first/sheet")["id"]
    client.post(f"/sheets/{sheet}/mend")
    asked = {"sheet": sheet, "scene": "first", "settings": SMALL}
    jobs = [client.post("/jobs", asked)["jobs"][0]["id"]]
    client.put("/shots/act", {"shots": [{"id": "one", "action": "hero waves"}]}, version=None)
    fill = {"views": ["back"], "settings": {"steps": 1}}
    jobs.append(client.post("/elements/hero/looks/default/fill", fill)["jobs"][0]["id"])
    states = [job["state"] for job in client.wait(jobs, 600)]
    assert states == ["done", "done"], states
    take = client.get("/takes")["takes"][0]["id"]
    for part in ("judgement", "sidecar"):
        client.get(f"/takes/{take}/{part}")
    client.save(f"/takes/{take}/video", place / "take.mp4")
    client.post(f"/takes/{take}/frames", {})
    client.post("/people", {"name": "anna"})
    for path in ("/runs", "/sets", "/pairs", "/log", "/presets", "/system", "/shots", "/frames"):
        client.get(path)


def lines(log: Path) -> Iterator[tuple[int, str, list[Any]]]:
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        process, event, given = json.loads(line)
        yield process, event, given


def strange(log: Path, data: Path, ours: tuple[str, ...]) -> dict[str, set[str]]:
    """What lies outside: writes, reads, programs and connections."""
    found: dict[str, set[str]] = {"written": set(), "read": set(), "run": set(), "called": set()}
    for _, event, given in lines(log):
        if event in NETWORK:
            found["called"].add(f"{event} {given[1:]}")
        elif event in RUNS:
            found["run"].add(" ".join(map(str, given[1] if isinstance(given[1], list) else given[:2])))
        elif event not in ("sqlite3.connect", "socket.bind"):
            _judge(found, event, given, data, ours)
    return found


def _judge(
    found: dict[str, set[str]], event: str, given: list[Any], data: Path, ours: tuple[str, ...]
) -> None:
    """File one event on a file under what it does, if it lies outside."""
    changes = event != "open" or bool(int(given[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
    for path in given[:2] if event in ("os.rename", "os.link", "shutil.copyfile") else given[:1]:
        if not isinstance(path, str) or not path.startswith("/") or path.startswith(str(data)):
            continue
        if changes and not path.startswith((*ours, "/dev/", "/proc/self/")):
            found["written"].add(f"{event} {path}")
        if not changes and not path.startswith((*ours, *READS, sys.prefix, sys.base_prefix)):
            found["read"].add(path)


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        place = Path(name).resolve()
        (place / "hook").mkdir()
        (place / "hook" / "sitecustomize").with_suffix(".py").write_text(HOOK)
        (place / "temporary").mkdir()
        code = Path(__file__).parents[2]
        path = os.pathsep.join([str(place / "hook"), str(code / "src"), str(code)])
        environment = {
            "PYTHONPATH": path,
            "STUDIO_AUDIT": str(place / "log"),
            "TMPDIR": str(place / "temporary"),
        }
        environment |= {"CASTSHEET_CACHE": str(place / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}
        # Torch, which this process has loaded for its helpers, names its own place here. A shell does not.
        os.environ.pop("TORCHINDUCTOR_CACHE_DIR", None)
        with Running(place / "film", **environment) as running:
            day(Client.open(running.folder), place)
        ours = (str(place / "temporary"), str(place / "cache"), str(place / "hook"), str(code))
        found = strange(place / "log", place / "film", ours)
        total = sum(1 for _ in lines(place / "log"))
        processes = len({process for process, _, _ in lines(place / "log")})
    sys.stdout.write(f"{total} events of {processes} processes\n")
    for kind, listed in found.items():
        sys.stdout.write(f"{kind} outside: {len(listed)}\n")
        for one in sorted(listed):
            sys.stdout.write(f"  {one}\n")
    allowed = all("castsheet.studio." in one for one in found["run"])
    return 0 if allowed and not found["written"] and not found["read"] and not found["called"] else 1


if __name__ == "__main__":
    sys.exit(main())
