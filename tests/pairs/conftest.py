"""One paper film, looked at once for all tests of this folder."""

from __future__ import annotations

import base64
import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

from castsheet.pairs import tools
from castsheet.pairs.eyes import Eyes
from castsheet.pairs.find import Finding, find
from castsheet.pairs.records import Clips
from tests.doubles.paper_films import ANN, BOB, PaperFaces, Shot, write_film

CLIPS = Clips(192, 128, 25, 24.0)
SHOTS = [
    Shot(ANN, 0, (40, 80)),
    Shot(BOB, 0, (110, 150)),
    Shot(None, 0),
    Shot(ANN, 1, (90, 92), near=True),
    Shot(ANN, 1, (40, 100), "side"),
    Shot(BOB, 1, (100, 140)),
    Shot(BOB, 2, (100, 96), near=True),
    Shot(None, 1),
    Shot(ANN, 2, (150, 90)),
    Shot(None, 2),
    Shot(BOB, 0, (30, 80), "side"),
    Shot(BOB, 2, (60, 120)),
    Shot(ANN, 0, (40, 80)),
]
REPEAT = len(SHOTS) - 1
"""The last shot shows the first one again."""


def rows_of(out):
    """What a made set says of each of its pairs."""
    return [json.loads(line) for line in (out / "pairs.jsonl").read_text().splitlines()]


@pytest.fixture(scope="session")
def how():
    """How the tests look at paper films: without networks, in this process."""
    tools.FACES["paper"] = PaperFaces
    return Finding(CLIPS, "plain-1", Eyes(faces="paper"), 0)


@pytest.fixture(scope="session")
def films(tmp_path_factory):
    """A table of a paper film and of two files that are none; the first frames of the film's shots."""
    folder = tmp_path_factory.mktemp("films")
    starts = write_film(folder / "one.mp4", SHOTS)
    (folder / "empty.mp4").write_bytes(b"")
    rows = ["one.mp4,one,CC0-1.0,paper,,synthetic", "empty.mp4,empty,CC0-1.0,,,none", "one.mp4,bare,,,,none"]
    (folder / "films.csv").write_text("\n".join(["path,title,licence,credit,url,people", *rows]) + "\n")
    return folder / "films.csv", starts


@pytest.fixture(scope="session")
def found(films, how, tmp_path_factory):
    """What was found in it, the cast, and the work folder."""
    work = tmp_path_factory.mktemp("work") / "work"
    return (*find(films[0], work, how), work)


class _Server(BaseHTTPRequestHandler):
    """Answers as endpoints do, to what it is asked."""

    said = ""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.endswith("/chat/completions"):
            content = json.loads(body)["messages"][0]["content"]
            assert any(one["type"] == "image_url" for one in content)
            answer = {"choices": [{"message": {"content": self.said}}]}
        elif self.path.endswith("/embeddings"):
            answer = {"data": [{"embedding": [1.0, float(k)]} for k in range(len(json.loads(body)["input"]))]}
        else:
            assert b'name="mask"' in body
            held = io.BytesIO()
            Image.new("RGB", (32, 32), (9, 200, 9)).save(held, "PNG")
            answer = {"data": [{"b64_json": base64.b64encode(held.getvalue()).decode()}]}
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def served():
    """A server, and the name under which its model is asked for."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield _Server, f"endpoint:some-model@http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()
