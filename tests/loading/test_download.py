"""The downloader against a small server that speaks the hub's protocol on loopback."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from huggingface_hub import constants

from castsheet.errors import DownloadError
from castsheet.loading.bundle import Bundle
from castsheet.loading.download import MAX_FILE, SOURCES, RemoteFile, check_space

SRC = Path(__file__).parents[2] / "src"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
CHECKPOINT, ADAPTER, ENCODER = (SOURCES[role] for role in ("checkpoint", "adapter", "text_encoder"))
# The hub library hands on data in blocks of 10 MB; an interruption must come after the first.
BIG = bytes(range(256)) * (24 << 12)
BLOCK = 10 << 20


@dataclass
class Hub:
    """What the server has, how it misbehaves, and what it was asked."""

    files: dict[str, dict[str, bytes]]
    gated: set[str] = field(default_factory=set)
    stop_after: int | None = None  # bytes after which the first answer ends
    stall: threading.Event | None = None  # hold the connection open at that point instead of closing it
    damaged: bool = False
    port: int = 0
    asked: list[tuple[str, str, str | None, str | None, str]] = field(default_factory=list)

    def gets(self, part: str) -> list[tuple[str, str, str | None, str | None, str]]:
        return [entry for entry in self.asked if entry[0] == "GET" and part in entry[1]]


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _blob(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_args):
        pass

    def do_HEAD(self):
        self.answer("HEAD")

    def do_GET(self):
        self.answer("GET")

    def answer(self, method):
        path = urlsplit(self.path).path
        host = self.headers["Host"].split(":")[0]
        self.hub.asked.append((method, path, self.headers["Range"], self.headers["Authorization"], host))
        if path.startswith("/api/models/"):
            return self.listing(path.removeprefix("/api/models/").removesuffix("/tree/main"))
        if path.startswith("/cdn/"):
            return self.content(path.removeprefix("/cdn/"), method)
        repo, _, name = path.strip("/").partition("/resolve/main/")
        if repo in self.hub.gated:
            return self.plain(403, {"X-Error-Code": "GatedRepo"})
        if repo not in self.hub.files:
            return self.plain(401, {"X-Error-Code": "RepoNotFound"})
        if name not in self.hub.files[repo]:
            return self.plain(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
        return self.resolve(repo, name, method)

    def resolve(self, repo, name, method):
        data = self.hub.files[repo][name]
        if name.endswith(".json"):
            return self.send(data, method, {"ETag": f'"{_blob(data)}"', "X-Repo-Commit": COMMIT})
        # Large files live on another host, which must never see the user's token.
        return self.plain(
            302,
            {
                "Location": f"http://localhost:{self.hub.port}/cdn/{repo}/{name}",
                "X-Repo-Commit": COMMIT,
                "X-Linked-Size": str(len(data)),
                "X-Linked-Etag": f'"{_sha(data)}"',
            },
        )

    def content(self, path, method):
        repo = next(repo for repo in self.hub.files if path.startswith(f"{repo}/"))
        data = self.hub.files[repo][path.removeprefix(f"{repo}/")]
        return self.send(bytes(len(data)) if self.hub.damaged else data, method, {})

    def listing(self, repo):
        entries = [
            {"type": "file", "path": name, "size": len(data), "oid": _blob(data)}
            for name, data in self.hub.files[repo].items()
        ]
        entries.append({"type": "directory", "path": "figures", "oid": COMMIT})
        self.send(json.dumps(entries).encode(), "GET", {"Content-Type": "application/json"})

    def plain(self, status, headers):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": "0"}.items():
            self.send_header(name, value)
        self.end_headers()

    def send(self, data, method, headers):
        start = int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if self.headers["Range"] else 200)
        if self.headers["Range"]:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        for name, value in {**headers, "Content-Length": str(len(data) - start)}.items():
            self.send_header(name, value)
        self.end_headers()
        if method == "HEAD":
            return
        if self.hub.stop_after is not None and len(data) > self.hub.stop_after:
            self.wfile.write(data[start : self.hub.stop_after])
            self.hub.stop_after = None
            if self.hub.stall:
                self.hub.stall.wait(30)
            self.close_connection = True
            return
        self.wfile.write(data[start:])


@pytest.fixture
def hub():
    """A server with a small file in place of each of the model's files."""
    encoder = {
        "config.json": b'{"model_type": "gemma3"}',
        "model.safetensors": b"gemma" * 100,
        "tokenizer.model": b"pieces",
        "README.md": b"not wanted",
    }
    state = Hub(
        {
            CHECKPOINT.repo: {CHECKPOINT.file: BIG},
            ADAPTER.repo: {ADAPTER.file: b"adapter" * 1000},
            ENCODER.repo: encoder,
        }
    )
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("HubHandler", (Handler,), {"hub": state}))
    server.daemon_threads = True
    state.port = server.server_port
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield state
    server.shutdown()
    server.server_close()


def _start(hub: Hub, tmp_path: Path, *arguments: str, **extra: str) -> subprocess.Popen[str]:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")},
        "PYTHONPATH": str(SRC),
        "HF_ENDPOINT": f"http://127.0.0.1:{hub.port}",
        "HF_HOME": str(tmp_path / "hf"),
        "HF_TOKEN": "hf_test",
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        **extra,
    }
    to = str(tmp_path / "models")
    command = [sys.executable, "-m", "castsheet.cli", "download", "--to", to, *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True)


def _run(hub: Hub, tmp_path: Path, *arguments: str, **extra: str) -> tuple[int, str, str]:
    process = _start(hub, tmp_path, *arguments, **extra)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def test_everything_arrives_and_makes_a_bundle(hub, tmp_path):
    """Red: the 22B model cannot be fetched by one command, or `--model FOLDER` does not find what it
    fetched; or the user's token is sent to the host that stores the files."""
    code, out, err = _run(hub, tmp_path)
    assert code == 0, err
    models = tmp_path / "models"
    assert (models / CHECKPOINT.file).read_bytes() == BIG
    assert (models / "gemma-3-12b" / "tokenizer.model").read_bytes() == b"pieces"
    assert not (models / "gemma-3-12b" / "README.md").exists()
    assert not list(models.rglob("*.part"))
    bundle = Bundle.load(models)
    assert bundle.checkpoint.name == CHECKPOINT.file
    assert [path.name for path in bundle.adapters] == [ADAPTER.file]
    assert "bundle" in out
    # The hub library may ask for things of its own, without the token.
    at_hub = {entry[3] for entry in hub.asked if "/resolve/" in entry[1] or "/tree/" in entry[1]}
    at_store = {entry[3] for entry in hub.asked if entry[4] == "localhost"}
    assert at_hub == {"Bearer hf_test"}
    assert at_store == {None}

    hub.asked.clear()
    code, out, _ = _run(hub, tmp_path)
    assert code == 0
    assert "0.00 GiB to fetch" in out
    assert not hub.gets("/cdn/")


def test_a_cut_connection_is_resumed(hub, tmp_path):
    """Red: a connection that breaks at 99 % costs the whole 46 GB, or the pieces are joined wrongly."""
    hub.stop_after = BLOCK + 100_000
    code, _, err = _run(hub, tmp_path, "--only", "checkpoint")
    assert code == 0, err
    assert [entry[2] for entry in hub.gets("/cdn/")] == [None, f"bytes={BLOCK}-"]
    assert (tmp_path / "models" / CHECKPOINT.file).read_bytes() == BIG


def test_an_interrupted_download_continues_in_the_next_run(hub, tmp_path):
    """Red: Ctrl-C leaves a file that looks finished, or throws away what was already here."""
    hub.stop_after, hub.stall = BLOCK + 100_000, threading.Event()
    process = _start(hub, tmp_path, "--only", "checkpoint")
    folder = tmp_path / "models"
    deadline = time.monotonic() + 300
    while not any(part.stat().st_size >= BLOCK for part in folder.glob(".*.part")):
        assert time.monotonic() < deadline, process.poll()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=300)
    hub.stall.set()
    assert process.returncode == 130
    assert not (folder / CHECKPOINT.file).exists()

    hub.asked.clear()
    code, out, err = _run(hub, tmp_path, "--only", "checkpoint")
    assert code == 0, err
    assert "continue" in out
    assert [entry[2] for entry in hub.gets("/cdn/")] == [f"bytes={BLOCK}-"]
    assert (folder / CHECKPOINT.file).read_bytes() == BIG
    assert not list(folder.glob(".*.part"))


def test_damaged_bytes_are_refused(hub, tmp_path):
    """Red: a file that was damaged on its way loads, and the model makes noise."""
    hub.damaged = True
    code, _, err = _run(hub, tmp_path, "--only", "adapter")
    assert code == 2
    assert "hash" in err
    assert "fix:" in err
    assert [path for path in (tmp_path / "models").rglob("*") if path.is_file()] == []


def test_a_gated_repository_names_the_licence_and_the_login(hub, tmp_path):
    """Red: a user who has not accepted the licence gets a traceback instead of the page to accept it on."""
    hub.gated.add(ADAPTER.repo)
    code, _, err = _run(hub, tmp_path)
    assert code == 2
    assert ADAPTER.page in err
    assert "hf auth login" in err
    assert "Traceback" not in err
    # Nothing of the other 70 GB was fetched before the refusal was known.
    assert not hub.gets("/cdn/")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--file", "adapter=gone.safetensors", "--only", "adapter"), ("gone.safe", "--file adapter=")),
        (("--repo", "adapter=nobody/nothing", "--only", "adapter"), ("nobody/nothing", "--repo adapter=")),
        (("--only", "soundtrack"), ("soundtrack", "text_encoder")),
        (("--repo", "adapter"), ("ROLE=VALUE",)),
    ],
)
def test_what_is_not_there_is_named(hub, tmp_path, arguments, words):
    """Red: a mistyped repository, file or role ends in a traceback or does not say which option mends it."""
    code, _, err = _run(hub, tmp_path, *arguments)
    assert code == 2
    assert err.startswith("error: ")
    assert all(word in err for word in words), err


def test_no_network_and_offline_mode(hub, tmp_path):
    """Red: without a network the user sees the transport library's insides."""
    code, _, err = _run(hub, tmp_path, "--only", "adapter", HF_ENDPOINT="http://127.0.0.1:9")
    assert code == 2
    assert "connection failed" in err
    code, _, err = _run(hub, tmp_path, "--only", "adapter", HF_HUB_OFFLINE="1")
    assert code == 2
    assert "HF_HUB_OFFLINE" in err


def test_dry_run_fetches_nothing(hub, tmp_path):
    """Red: asking what would be downloaded downloads it, or leaves files."""
    code, out, err = _run(hub, tmp_path, "--dry-run")
    assert code == 0, err
    assert CHECKPOINT.file in out
    assert not hub.gets("/cdn/")
    assert not (tmp_path / "models").exists()


def test_a_full_disk_is_noticed_before_the_first_byte(tmp_path):
    """Red: a 46 GB download fails after an hour because the disk was too small from the start."""
    free = shutil.disk_usage(tmp_path).free
    count = free // MAX_FILE + 1
    files = [
        RemoteFile(CHECKPOINT, "x", "http://unused", MAX_FILE, "0" * 64, tmp_path / f"{i}.safetensors")
        for i in range(count)
    ]
    with pytest.raises(DownloadError) as caught:
        check_space(files, tmp_path / "not" / "yet" / "there")
    assert "--to" in caught.value.remedy
    files[0].path.write_bytes(b"")
    files[0].part.write_bytes(b"12345")
    assert files[0].missing_bytes == MAX_FILE - 5


def test_a_file_that_the_hub_will_not_send_is_refused_first(tmp_path):
    """Red: a file above 50 GB ends in the hub library's ValueError, after the other files were fetched."""
    huge = RemoteFile(CHECKPOINT, "x", "http://unused", MAX_FILE + 1, "0" * 64, tmp_path / "x.safetensors")
    assert huge.size > 50 * 1000**3 == constants.MAX_HTTP_DOWNLOAD_SIZE
    with pytest.raises(DownloadError, match="50 GB") as caught:
        check_space([huge], tmp_path)
    assert "--file checkpoint=" in caught.value.remedy
    assert CHECKPOINT.repo in caught.value.remedy
