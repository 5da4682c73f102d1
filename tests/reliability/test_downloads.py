"""Class 8: downloads that always end: what the server says, what is here already, and two at once."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from huggingface_hub import constants, hf_api, utils

from castsheet.cli import main
from tests.doubles.killed import begin, end, moments, run, steps, tree
from tests.loading.test_download import ADAPTER, CHECKPOINT, Handler, Hub, hub

PLACE = "/{repo_id}/resolve/{revision}/{filename}"
ONLY = ("--only", "adapter")
DATA = b"adapter" * 1000
Answer = Callable[[Handler], None]


@pytest.fixture
def here(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The hub library, in this process, speaks to the server."""
    address = f"http://127.0.0.1:{hub.port}"
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + PLACE)
    monkeypatch.setattr(constants, "AGENT_HARNESSES_PATH", str(tmp_path / "hf" / ".agent_harnesses.json"))
    monkeypatch.setattr(utils._detect_agent, "_registry", None)
    monkeypatch.setattr(hf_api.HfApi, "__init__", _plain(hf_api.HfApi.__init__, address))
    utils.close_session()
    yield tmp_path
    utils.close_session()


def _plain(original: Callable[..., None], address: str) -> Callable[..., None]:
    return lambda self, **named: original(self, **{"endpoint": address, **named})


class Ran:
    """What a download said, and its exit code."""

    def __init__(self, code: int, err: str) -> None:
        self.code, self.err = code, err

    def refused(self, *words: str) -> bool:
        return self.code == 2 and "fix: " in self.err and all(word in self.err for word in words)


@pytest.fixture
def download(here: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    def call(*words: str) -> Ran:
        with pytest.raises(SystemExit) as left:
            main(["download", "--to", str(here / "models"), *words])
        return Ran(int(left.value.code or 0), capsys.readouterr().err)

    return call


def target(here: Path) -> Path:
    return here / "models" / Path(ADAPTER.file or "").name


def answering(monkeypatch: pytest.MonkeyPatch, part: str, body: bytes, **headers: str) -> None:
    """The server answers `body` to every request whose path has `part` in it."""
    usual = Handler.answer

    def answer(self: Handler, method: str) -> None:
        if part in urlsplit(self.path).path:
            self.send(body, method, {name.replace("_", "-"): value for name, value in headers.items()})
        else:
            usual(self, method)

    monkeypatch.setattr(Handler, "answer", answer)


def entries(*changes: dict) -> bytes:
    first = {"type": "file", "path": "config.json", "size": 2, "oid": "0" * 40}
    return json.dumps([{**first, **change} for change in changes]).encode()


TREES = {
    "HTML": b"<html>captive portal</html>",
    "null": b"null",
    "numbers": b"[1, 2]",
    "no size": json.dumps([{"type": "file", "path": "config.json", "oid": "0" * 40}]).encode(),
    "deep": b"[" * 100_000,
    "a surrogate": b'[{"type": "file", "path": "\\ud800.json", "size": 2, "oid": "00"}]',
    "a NUL": entries({"path": "a\0.json"}),
    "a way out": entries({"path": "../../a.json"}),
}


@pytest.mark.parametrize("tree", TREES)
def test_answers_that_are_no_listing(
    monkeypatch: pytest.MonkeyPatch, here: Path, download: Callable[..., Ran], tree: str
) -> None:
    """Red: a mirror's page or a damaged listing ends in a traceback of the hub library."""
    answering(monkeypatch, "/api/models/", TREES[tree])
    result = download("--only", "text_encoder")
    assert result.refused(), result.err
    assert not (here / "models").exists() or not any((here / "models").rglob("*"))


def test_a_list_of_agents_that_is_damaged(
    monkeypatch: pytest.MonkeyPatch, download: Callable[..., Ran]
) -> None:
    """Red: one bad answer, which the hub library keeps for a day, makes every command a traceback."""
    answering(monkeypatch, "/api/agent-harnesses", b'["a"]')
    first = download(*ONLY)
    assert first.code == 0 or first.refused("agent_harnesses"), first.err


ETAGS = ("../../../evil", "", "x" * 300, "W/odd")


@pytest.mark.parametrize("etag", ETAGS)
def test_hashes_of_an_unknown_kind_are_told(
    monkeypatch: pytest.MonkeyPatch, here: Path, download: Callable[..., Ran], etag: str
) -> None:
    """Red: an etag becomes a path, or bytes that nobody verified pass for verified ones."""
    answering(monkeypatch, f"/{ADAPTER.repo}/resolve/", DATA, ETag=f'"{etag}"', X_Repo_Commit="0" * 40)
    result = download(*ONLY)
    if result.code == 0:
        assert "not verified" in result.err
        assert target(here).read_bytes() == DATA
    else:
        assert result.refused(), result.err
    assert not list(here.glob("**/*evil*"))


def test_a_part_that_is_too_long_is_begun_anew(here: Path, download: Callable[..., Ran]) -> None:
    """Red: after a server has once sent too much, every further run fails in the same way."""
    digest = hashlib.sha256(DATA).hexdigest()
    target(here).parent.mkdir(parents=True)
    (target(here).parent / f".{target(here).name}.{digest[:16]}.part").write_bytes(b"x" * (len(DATA) + 5))
    assert download(*ONLY).code == 0
    assert target(here).read_bytes() == DATA


def test_a_file_of_the_right_size_is_looked_into(here: Path, hub: Hub, download: Callable[..., Ran]) -> None:
    """Red: a damaged or foreign file of the right size counts as downloaded, or is replaced without a word;
    or every run hashes 46 GB."""
    target(here).parent.mkdir(parents=True)
    target(here).write_bytes(b"x" * len(DATA))
    assert download(*ONLY).refused("--overwrite")
    assert target(here).read_bytes() == b"x" * len(DATA)
    assert download(*ONLY, "--overwrite").code == 0
    assert target(here).read_bytes() == DATA
    record = target(here).with_name(f".{target(here).name}.castsheet")
    assert json.loads(record.read_text())["etag"] == hashlib.sha256(DATA).hexdigest()
    record.unlink()
    hub.asked.clear()
    assert download(*ONLY).code == 0
    assert record.is_file()
    assert not hub.gets("/cdn/")


def test_a_new_version_replaces_our_own_file_and_no_other(
    here: Path, hub: Hub, download: Callable[..., Ran]
) -> None:
    """Red: an update of the hub's file needs --overwrite, or replaces a file that somebody put there."""
    assert download(*ONLY).code == 0
    hub.files[ADAPTER.repo][ADAPTER.file] = DATA + b"2"
    assert download(*ONLY).code == 0
    assert target(here).read_bytes() == DATA + b"2"
    target(here).write_bytes(b"somebody's")
    assert download(*ONLY).refused("move it away")
    assert target(here).read_bytes() == b"somebody's"


@pytest.mark.parametrize(
    "words",
    [
        ("--repo", "adapter=a b/c"),
        ("--repo", "adapter=../../x"),
        ("--file", "adapter=a\nb"),
        ("--file", "adapter=/"),
        ("--file", "adapter=\udcff"),
        ("--file", "adapter=../../evil"),
    ],
)
def test_names_that_are_none(here: Path, download: Callable[..., Ran], words: tuple[str, str]) -> None:
    """Red: a mistyped repository or file ends in a traceback, or in a file outside of the folder."""
    assert download(*ONLY, *words).refused()
    assert not (here / "models").exists()


@pytest.mark.parametrize("address", ["http://[::1", "http://127.0.0.1:999999"])
def test_addresses_that_are_none(
    monkeypatch: pytest.MonkeyPatch, download: Callable[..., Ran], address: str
) -> None:
    """Red: a typing error in HF_ENDPOINT ends in a traceback."""
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + PLACE)
    assert download(*ONLY).refused("HF_ENDPOINT")


def test_a_bundle_that_the_user_changed_stays(here: Path, download: Callable[..., Ran]) -> None:
    """Red: a second download throws away the settings that a user wrote into bundle.json."""
    bundle = here / "models" / "bundle.json"
    assert download().code == 0
    assert download().code == 0
    content = {**json.loads(bundle.read_text()), "preset": {"steps": 8}}
    bundle.write_text(json.dumps(content))
    assert download().refused("--overwrite")
    assert json.loads(bundle.read_text()) == content


def test_two_downloads_of_one_target(here: Path, hub: Hub) -> None:
    """Red: two processes write into one part, and 46 GB have to be fetched again."""
    words = ("download", "--to", str(here / "models"), "--only", "checkpoint")
    sys.stdout.flush()
    children = [begin(words, here, name=str(number)) for number in range(2)]
    ended = [end(*child) for child in children]
    assert [one.code for one in ended] == [0, 0], ended
    assert len(hub.gets("/cdn/")) == 1
    models = here / "models"
    name = CHECKPOINT.file
    assert sorted(path.name for path in models.iterdir()) == sorted([name, f".{name}.castsheet"])


def test_a_killed_download_goes_on(here: Path) -> None:
    """Red: after a kill a file is half there, downloaded twice, or something stays beside it for ever."""
    words = ("download", "--to", str(here / "models"), *ONLY)
    names, ended = steps(words, here)
    assert ended.code == 0, ended.said
    whole = tree(here / "models")
    for at, after in moments(names)[::5]:
        shutil.rmtree(here / "models")
        run(words, here, at=at, after=after)
        ended = run(words, here)
        assert ended.code == 0, ended.said
        found = tree(here / "models")
        # The record beside the file holds the time at which it was written.
        assert set(found) == set(whole)
        assert target(here).read_bytes() == DATA
