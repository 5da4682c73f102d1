"""An OpenAI-compatible server on loopback, for tests: answers what it is told, remembers what it got."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Fake:
    """Answers in order, the last one again and again; each is a JSON object, or (status, bytes)."""

    answers: list = field(default_factory=list)
    base: str = ""
    paths: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)

    def json(self, index: int = -1) -> dict:
        return json.loads(self.bodies[index])


def chat(text: str) -> dict:
    """What a chat model's answer looks like."""
    return {"choices": [{"message": {"role": "assistant", "content": text}}]}


@contextmanager
def serving(*answers: object) -> Iterator[Fake]:
    """A running server."""
    fake = Fake(list(answers))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            fake.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            fake.paths.append(self.path)
            fake.keys.append(self.headers.get("Authorization"))
            answer = fake.answers.pop(0) if len(fake.answers) > 1 else fake.answers[0]
            status, content = answer if isinstance(answer, tuple) else (200, json.dumps(answer).encode())
            self.send_response(status)
            if status == 302:
                self.send_header("Location", f"{fake.base}/elsewhere")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        fake.base = f"http://127.0.0.1:{server.server_port}/v1"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield fake
        server.shutdown()
        thread.join()
