"""The same questions to the studio and to other local servers: first page, and what a hostile page gets.

    python -m tools.studio.peers                                   the studio
    python -m tools.studio.peers --comfyui FOLDER --python PYTHON  ComfyUI, from its folder
    python -m tools.studio.peers --gradio PYTHON                   a text box of Gradio

Six requests are sent that only a hostile page, or somebody without a token, would make; each must be refused
(a status from 400 on). They are sent by hand: a browser would send the very same. ComfyUI gets some jobs as
well, is killed while the first one runs, and is asked for them when it stands again.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.studio.running import Running
from tools.studio.start import spent

PATIENCE_S = 300.0
EVIL = "evil.test"
JOBS = 5
_NOISE = {"width": 4096, "height": 4096, "batch_size": 4, "color": 0}
_SLOW = {  # ComfyUI's own nodes, without a model: seconds of writing pictures
    "1": {"class_type": "EmptyImage", "inputs": _NOISE},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "kept"}},
}
_APP = "import gradio as g; g.Interface(str, 'text', 'text').launch(server_port={port}, quiet=True)"


@dataclass(frozen=True)
class Peer:
    """A server that runs, and a request of its own that reads and one that changes something.

    Attributes:
        page: the path of its first page. reads, changes: paths. body: of the change, JSON.
        seconds, cpu: until the first page, by the clock and of a processor.
        session: the cookie that a browser of its user has; a hostile page's requests carry it.
    """

    name: str
    port: int
    page: str
    reads: str
    changes: str
    body: str
    seconds: float = 0.0
    cpu: float = 0.0
    session: str = ""


def ask(peer: Peer, method: str, path: str, headers: dict[str, str], body: str = "") -> int:
    """The status of a request, with a Host that may be a lie."""
    return asked(peer, method, path, headers, body).status


def asked(
    peer: Peer, method: str, path: str, headers: dict[str, str], body: str = ""
) -> http.client.HTTPResponse:
    """The answer to a request."""
    connection = http.client.HTTPConnection("127.0.0.1", peer.port, timeout=PATIENCE_S)
    connection.putrequest(method, path, skip_host=True)
    told = {"Host": f"127.0.0.1:{peer.port}", "Content-Length": str(len(body)), **headers}
    for name, value in told.items():
        connection.putheader(name, value)
    connection.endheaders(body.encode())
    answer = connection.getresponse()
    connection.close()
    return answer


def hostile(peer: Peer) -> dict[str, int]:
    """The statuses that hostile requests get."""
    plain, rebound = {"Content-Type": "text/plain"}, f"{EVIL}:{peer.port}"
    foreign = {**plain, "Origin": f"http://{EVIL}", "Sec-Fetch-Site": "cross-site"}
    sandboxed = {**plain, "Origin": "null", "Sec-Fetch-Site": "cross-site"}
    lied = {"Host": rebound, "Origin": f"http://{rebound}", "Sec-Fetch-Site": "same-origin"}
    json_ = {"Content-Type": "application/json"}
    with_session = {"Cookie": peer.session} if peer.session else {}
    foreign, sandboxed, lied = (one | with_session for one in (foreign, sandboxed, lied))
    return {
        "another page's form": ask(peer, "POST", peer.changes, foreign, peer.body),
        "a sandboxed frame (Origin: null)": ask(peer, "POST", peer.changes, sandboxed, peer.body),
        "a rebound name changes": ask(peer, "POST", peer.changes, {**lied, **json_}, peer.body),
        "a rebound name reads": ask(peer, "GET", peer.reads, {"Host": rebound, **with_session}),
        "another page embeds": ask(peer, "GET", peer.reads, {"Sec-Fetch-Site": "cross-site", **with_session}),
        "no token": ask(peer, "GET", peer.reads, {}),
    }


def free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def started(peer: Peer, command: list[str], where: Path) -> Iterator[Peer]:
    """Start a server; it counts as up when it answers its page with 200."""
    begun = time.perf_counter()
    process = subprocess.Popen(command, cwd=where, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while time.perf_counter() - begun < PATIENCE_S:
            try:
                if ask(peer, "GET", peer.page, {}) == 200:
                    break
            except OSError:
                time.sleep(0.05)
        else:
            raise SystemExit(f"{peer.name} does not answer; start it by hand and see why")
        yield replace(peer, seconds=time.perf_counter() - begun, cpu=spent(process.pid))
    finally:
        process.kill()
        process.wait()


@contextmanager
def studio() -> Iterator[Peer]:
    """The studio; its first page is that of the token that opens once."""
    with tempfile.TemporaryDirectory() as name:
        begun = time.perf_counter()
        with Running(Path(name) / "film") as running:
            found = re.search(r":(\d+)(/\S*)", running.address)
            assert found is not None
            peer = Peer("Castsheet Studio", int(found[1]), "/", "/api/v1/jobs", "/api/v1/queue/pause", "")
            session = str(asked(peer, "GET", found[2], {}).headers["set-cookie"]).split(";")[0]
            assert ask(peer, "GET", "/", {"Cookie": session}) == 200
            seconds, cpu = time.perf_counter() - begun, spent(running.pid)
            yield replace(peer, seconds=seconds, cpu=cpu, session=session)


def comfyui(folder: Path, python: str) -> Iterator[Peer]:
    """ComfyUI as its README starts it, on the processor, with a base folder of its own.

    It yields the first start, then tells what a kill leaves of its jobs.
    """
    port = free()
    with tempfile.TemporaryDirectory() as base:
        for name in ("custom_nodes", "models/checkpoints", "input", "output", "temp", "user"):
            (Path(base) / name).mkdir(parents=True)
        program = str((folder / "main").with_suffix(".py"))
        command = [python, program, "--cpu", "--port", str(port), "--base-directory", base]
        command += ["--disable-auto-launch", "--database-url", f"sqlite:///{base}/comfy.db"]
        own = Peer("ComfyUI", port, "/", "/history", "/queue", json.dumps({"clear": True}))
        with started(own, command, folder) as peer:
            yield peer
            for number in range(JOBS):
                _queue(peer, number)
        with started(own, command, folder) as peer:  # `started` ends a server by SIGKILL
            queue, history = _json(peer, "/queue"), _json(peer, "/history")
            there = len(queue["queue_running"]) + len(queue["queue_pending"])
            sys.stdout.write(f"  {JOBS} jobs before a kill; after it {there} queued or running, ")
            sys.stdout.write(f"{len(history)} in its history\n")


def _queue(peer: Peer, number: int) -> None:
    """Ask ComfyUI for a job that lasts; jobs that are alike would be taken from its cache."""
    graph = json.loads(json.dumps(_SLOW))
    graph["1"]["inputs"]["color"] = number
    told = {"Content-Type": "application/json"}
    status = ask(peer, "POST", "/prompt", told, json.dumps({"prompt": graph}))
    assert status == 200, status


def _json(peer: Peer, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{peer.port}{path}", timeout=PATIENCE_S) as answer:
        return json.load(answer)


def gradio(python: str) -> Iterator[Peer]:
    """A text box of Gradio with its queue."""
    port = free()
    body = json.dumps({"data": ["x"], "fn_index": 0, "session_hash": "s"})
    own = Peer("Gradio", port, "/", "/config", "/gradio_api/queue/join", body)
    with started(own, [python, "-c", _APP.format(port=port)], Path.cwd()) as peer:
        yield peer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--comfyui", type=Path)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--gradio")
    given = parser.parse_args()
    with studio() as own:
        tell(own)
    for peers in (
        comfyui(given.comfyui, given.python) if given.comfyui else iter(()),
        gradio(given.gradio) if given.gradio else iter(()),
    ):
        for peer in peers:
            tell(peer)


def tell(peer: Peer) -> None:
    """Print what a server answered."""
    found = hostile(peer)
    passed = sum(status >= 400 for status in found.values())
    told = f"first page after {peer.seconds:.1f} s, {peer.cpu:.1f} s of a processor"
    load = f"load {os.getloadavg()[0]:.0f}"
    sys.stdout.write(f"{peer.name}: {told}, {load}; {passed} of {len(found)} refused\n")
    for name, status in found.items():
        sys.stdout.write(f"  {status} {name}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
