"""Schemathesis over the live API, stateful, with the token and without it.

    python -m tools.studio.fuzz [--examples 50] [--phases coverage,fuzzing,stateful]

The server is the studio's own, on a free port, over a folder with a cast, a scene, pairs and a run, without a
worker. The stream of events is left out, because it never ends. With the token no answer may be a 5xx, and
each must be one that the API declares. Without it, every answer must be a refusal.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from castsheet.sheet.manifest import Sheet
from castsheet.studio.app import application, guarded
from castsheet.studio.serve import Place, hosts
from castsheet.studio.state import Studio
from castsheet.studio.tokens import Tokens
from tests.studio.conftest import opened, stock
from tests.studio.laid import lay_pairs, lay_run

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
ENDLESS = "/api/v1/events"
REFUSED = frozenset((401, 403, 405, 413, 421))


class Counted:
    """Counts statuses on their way out."""

    def __init__(self, app: ASGIApp) -> None:
        self._app, self.found = app, Counter[int]()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.found[message["status"]] += 1
            await send(message)

        await self._app(scope, receive, sent)


@contextmanager
def served(studio: Studio, front: int | None = None) -> Iterator[tuple[str, Counted]]:
    """The studio's own server, without a worker: its address, and what it answered.

    Args:
        front: the port of something between it and who asks.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    asked_at = port if front is None else front
    tokens = Tokens(studio.queue.store, studio.folder.private / "token", asked_at)
    own = Studio(studio.folder, studio.queue, tokens)
    app = Counted(guarded(own, hosts(Place(), asked_at)))
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="error", access_log=False, timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{port}", app
    server.should_exit = True
    thread.join(20)
    listener.close()


def fuzz(address: str, schema: Path, token: str | None, examples: int, phases: str) -> tuple[int, str]:
    """Run Schemathesis; its exit code, and what it printed."""
    command = [sys.executable, "-m", "schemathesis.cli", "run", str(schema), "--url", address]
    command += ["--phases", phases, "--max-examples", str(examples), "--checks", ",".join(CHECKS)]
    command += ["--exclude-path", ENDLESS, "--suppress-health-check", "all", "--seed", "7", "--no-color"]
    if token is not None:
        command += ["--header", f"Authorization: Bearer {token}"]
    with tempfile.TemporaryDirectory() as place:  # it keeps examples where it runs
        ended = subprocess.run(command, capture_output=True, text=True, cwd=place)
    return ended.returncode, ended.stdout + ended.stderr


def attack(folder: Path, examples: int, phases: str) -> list[str]:
    """Fuzz a new studio in a folder, with its token and without; what was wrong."""
    wrong = []
    for studio in opened(folder):
        sheet = Sheet.load(studio.folder.sheet(stock(studio)))
        lay_pairs(studio.folder.pairs / "first", sheet, frames=25)
        lay_run(studio.folder.runs, "act")
        schema = folder / "openapi.json"
        schema.write_text(json.dumps(application(studio).openapi()))
        token = (studio.folder.private / "token").read_text().strip()
        for secret in (token, None):
            with served(studio) as (address, app):
                code, told = fuzz(address, schema, secret, examples, phases)
            name = "with the token" if secret else "without it"
            sys.stdout.write(
                f"{name}: {sum(app.found.values())} answers, {dict(sorted(app.found.items()))}\n"
            )
            faults = [status for status in app.found if status >= 500]
            open_ = [] if secret else [status for status in app.found if status not in REFUSED]
            if code or faults or open_ or not app.found:
                wrong.append(f"{name}: exit code {code}, statuses {faults + open_}\n{told}")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=50)
    parser.add_argument("--phases", default="coverage,fuzzing,stateful")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        wrong = attack(Path(name), given.examples, given.phases)
    sys.stdout.write("\n".join(wrong or ["nothing was wrong"]) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
