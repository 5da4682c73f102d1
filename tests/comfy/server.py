"""A real ComfyUI for the tests: started from a tree, spoken to over HTTP.

`CASTSHEET_COMFYUI` names the tree, `CASTSHEET_COMFYUI_PYTHON` the interpreter for it (default: this one).
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

TREE = os.environ.get("CASTSHEET_COMFYUI")
PYTHON = os.environ.get("CASTSHEET_COMFYUI_PYTHON", sys.executable)
PROBE = Path(__file__).parent / "probe"


@dataclass
class Run:
    """What became of a prompt.

    Attributes:
        error: the first line of the message of the node that failed; empty when all went well.
        cached: ids of nodes that were not run again.
    """

    id: str
    outputs: dict[str, Any]
    error: str
    cached: set[str]
    interrupted: bool


class Server:
    """A server with its own base folder."""

    def __init__(self, tree: Path, base: Path, *, probe: bool = True, args: tuple[str, ...] = ()) -> None:
        self.base, self.port = base, _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        for name in ("custom_nodes", "models/checkpoints", "input", "output", "temp", "user"):
            (base / name).mkdir(parents=True, exist_ok=True)
        subprocess.run([PYTHON, "-m", "castsheet.comfy", str(base)], check=True, capture_output=True)
        if probe:
            shutil.copytree(PROBE, base / "custom_nodes" / "probe", dirs_exist_ok=True)
        self.log = base / "server.log"
        command = [PYTHON, "main.py", "--cpu", "--port", str(self.port), "--base-directory", str(base)]
        command += ["--disable-auto-launch", "--database-url", f"sqlite:///{base}/comfy.db", *args]
        environment = {**os.environ, "CASTSHEET_CACHE": str(base / "cache"), "OMP_NUM_THREADS": "2"}
        self.process = subprocess.Popen(
            command, cwd=tree, stdout=self.log.open("w"), stderr=subprocess.STDOUT, env=environment
        )

    def wait(self, seconds: float = 180) -> Server:
        """Until it answers."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            try:
                self.get("/system_stats")
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.5)
            else:
                return self
        raise AssertionError(f"ComfyUI did not start:\n{self.log.read_text()[-3000:]}")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            return json.loads(answer.read())

    def text(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            return answer.read().decode()

    def post(self, path: str, body: Any) -> Any:
        data = json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                text = answer.read()
        except urllib.error.HTTPError as refused:
            text = refused.read()
        return json.loads(text) if text else {}

    def submit(self, graph: dict[str, Any], client: str = "tests") -> str:
        """Queue a prompt; its id."""
        answer = self.post("/prompt", {"prompt": graph, "client_id": client})
        assert "prompt_id" in answer, json.dumps(answer)[:2000]
        return answer["prompt_id"]

    def result(self, id: str, seconds: float = 600) -> Run:
        """Wait for a prompt to end."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            history = self.get(f"/history/{id}")
            if id in history and history[id]["status"].get("status_str"):
                return _run(id, history[id])
            time.sleep(0.1)
        raise AssertionError(f"no end after {seconds} s:\n{self.log.read_text()[-2000:]}")

    def run(self, graph: dict[str, Any], seconds: float = 600) -> Run:
        """Queue a prompt and wait; it has to succeed."""
        done = self.result(self.submit(graph), seconds)
        assert not done.error, done.error
        return done

    def probed(self, name: str) -> Any:
        """What a ProbeSave node wrote."""
        return torch.load(self.base / "output" / "probe" / f"{name}.pt", weights_only=False)


def _run(id: str, entry: dict[str, Any]) -> Run:
    messages = dict(reversed(entry["status"]["messages"]))
    error = messages.get("execution_error", {}).get("exception_message", "")
    cached = set(messages.get("execution_cached", {}).get("nodes", ()))
    return Run(id, entry["outputs"], error.strip(), cached, "execution_interrupted" in messages)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
