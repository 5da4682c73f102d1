"""The HTTP API: ids only, versions, errors with remedies; and everything is the command line's own file."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from castsheet.authoring.library import Library
from castsheet.elements import Scene
from castsheet.jobs.shotlist import load_shots
from castsheet.sheet.manifest import Sheet
from castsheet.studio.routes.jobs import stream
from tests.studio.conftest import SMALL, asker
from tests.studio.running import PATIENCE_S

API = "/api/v1"
TRAVERSALS = (
    "..",
    "../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "..%5c..%5cboot.ini",
    "%2e%2e",
    "%00",
    "first%00.yaml",
    "//host/share",
    "C:%5c",
    "con",
    "/etc/passwd",
    "first.yaml",
    "FIRST",
    "~",
    "a" * 300,
)


def put_scene(client, name="first", **more):
    body = {"elements": [{"use": "hero"}], "action": "hero waves", **more}
    return client.put(f"{API}/scenes/{name}", json=body, headers={"if-none-match": "*"})


@pytest.mark.usefixtures("sheet")
def test_scenes_have_versions(client):
    """Red: of two people who edit one scene the second deletes the first one's work unseen."""
    read = client.get(f"{API}/scenes/first")
    etag, body = read.headers["etag"], {"elements": [{"use": "hero"}], "action": "hero jumps"}
    assert client.put(f"{API}/scenes/first", json=body).status_code == 428
    assert put_scene(client).status_code == 412
    changed = client.put(f"{API}/scenes/first", json=body, headers={"if-match": etag})
    assert changed.status_code == 200
    refused = client.put(f"{API}/scenes/first", json=body, headers={"if-match": etag})
    assert refused.status_code == 412
    assert refused.json()["remedy"]
    assert client.get(f"{API}/scenes/first").json()["action"] == "hero jumps"


@pytest.mark.usefixtures("sheet")
def test_files_are_the_command_lines_own(client, studio):
    """Red: what the page makes cannot be used without the page."""
    pins = {"hero/face": [0, 0, 0.4, 0.6]}
    etag = client.get(f"{API}/scenes/first").headers["etag"]
    shown = [{"use": "hero", "importance": 2}, {"use": "lamp"}]
    body = {"elements": shown, "action": "hero waves", "pins": pins}
    assert client.put(f"{API}/scenes/first", json=body, headers={"if-match": etag}).status_code == 200
    scene = Scene.load(studio.folder.scenes / "first.yaml")
    assert [one.id for one in scene.elements] == ["hero", "lamp"]
    assert scene.elements[0].importance == 2
    assert scene.settings["layout"]["pin"] == pins
    told = client.post(f"{API}/scenes/first/sheet").json()
    loaded = Sheet.load(studio.folder.sheets / f"{told['id']}.png")
    assert loaded.layout["pinned"] == ["hero/face"]
    rows = [{"id": "one", "action": "hero waves", "seed": 3}, {"id": "two", "action": "hero jumps"}]
    put = client.put(f"{API}/shots/act", json={"shots": rows, "takes": 2}, headers={"if-none-match": "*"})
    assert put.status_code == 200
    assert [(shot.id, shot.seed, shot.takes) for shot in load_shots(studio.folder.shots / "act.yaml")] == [
        ("one", 3, 2),
        ("two", None, 2),
    ]


@pytest.mark.usefixtures("sheet")
def test_a_puppet_is_told_on_the_page(client, studio):
    """Red: who is no human being can be told so everywhere but in the studio, or is lost by the next edit."""
    base = f"{API}/elements/hero/looks/default"
    etag = client.get(base).headers["etag"]
    assert client.get(base).json()["human"] is True
    answer = client.patch(base, json={"human": False}, headers={"if-match": etag})
    assert answer.json()["human"] is False
    etag = client.get(base).headers["etag"]
    client.patch(base, json={"description": "a grey puppet"}, headers={"if-match": etag})
    element = Library(studio.folder.library).load("hero").element
    assert (element.human, element.description) == (False, "a grey puppet")


@pytest.mark.usefixtures("sheet")
def test_what_the_page_does_not_know_stays(client, studio):
    """Red: saving a scene on the page loses what somebody wrote into the file by hand."""
    path = studio.folder.scenes / "first.yaml"
    path.write_text(path.read_text() + "settings:\n  steps: 7\n  layout: {cut: plain}\n")
    read = client.get(f"{API}/scenes/first")
    assert read.json()["settings"] == {"steps": 7}
    body = {"elements": [{"use": "hero"}], "action": "hero waves"}
    client.put(f"{API}/scenes/first", json=body, headers={"if-match": read.headers["etag"]})
    assert Scene.load(path).settings == {"steps": 7, "layout": {"cut": "plain"}}


@pytest.mark.usefixtures("sheet")
def test_a_planted_fault_is_found_and_mended(client):
    """Red: the page shows no findings, or "mend" does nothing."""
    etag = client.get(f"{API}/scenes/first").headers["etag"]
    elements = [{"use": name} for name in ("hero", "lamp", "barn")]
    body = {"elements": elements, "action": "hero waves", "pins": {"hero/face": [0.05, 0.05, 0.31, 0.5]}}
    client.put(f"{API}/scenes/first", json=body, headers={"if-match": etag})
    told = client.post(f"{API}/scenes/first/sheet").json()
    assert ("S07", True) in {(one["rule"], one["mends"]) for one in told["findings"]}
    mended = client.post(f"{API}/sheets/{told['id']}/mend").json()
    assert mended["done"]
    assert mended["findings"] == []


def test_jobs_are_checked_when_they_are_asked_for(client, studio, sheet):
    """Red: a wrong seed or setting is found an hour later, when its turn comes (InvokeAI#7607)."""
    good = {"sheet": sheet, "action": "hero waves", "takes": 2, "seed": 5, "settings": SMALL}
    jobs = client.post(f"{API}/jobs", json=good).json()["jobs"]
    assert [job["request"]["seed"] for job in jobs] == [5, 6]
    for wrong in (
        {"seed": -1},
        {"seed": "7"},
        {"seed": 1.5},
        {"takes": 0},
        {"settings": {"steps": 0}},
        {"settings": {"colour": 1}},
        {"settings": {"further_adapters": {"/etc/passwd": 1.0}}},
        {"settings": {"further_adapters": {"../other.safetensors": 1.0}}},
        {"adapter": "../act"},
        {"adapter": "none"},
        {"preset": "none"},
        {"action": "  "},
        {"sheet": "0" * 16},
        {"sheet": "../x"},
        {"source": "/etc/passwd"},
    ):
        answer = client.post(f"{API}/jobs", json={**good, **wrong})
        assert answer.status_code in (404, 422), wrong
        assert answer.json()["remedy"]
    assert len(studio.queue.jobs()) == 2


def test_a_scene_is_settled_when_it_is_asked_for(client, studio, sheet):
    """Red: a later edit of the scene changes jobs that wait."""
    path = studio.folder.scenes / "first.yaml"
    path.write_text(path.read_text() + "settings: {steps: 7, seed: 11}\n")
    (job,) = client.post(f"{API}/jobs", json={"sheet": sheet, "scene": "first"}).json()["jobs"]
    assert job["request"]["settings"] == {"steps": 7}
    assert job["request"]["seed"] == 11
    assert job["request"]["action"] == "hero waves"


def test_posts_are_idempotent(client, studio, sheet):
    """Red: a repeated request makes the clips twice."""
    body, key = {"sheet": sheet, "action": "hero waves"}, {"idempotency-key": "one"}
    first = client.post(f"{API}/jobs", json=body, headers=key).json()
    assert client.post(f"{API}/jobs", json=body, headers=key).json() == first
    assert client.post(f"{API}/jobs", json={**body, "seed": 3}, headers=key).status_code == 409
    assert len(studio.queue.jobs()) == 1


@pytest.mark.usefixtures("sheet")
def test_of_two_changes_of_one_version_one_is_refused(studio):
    """Red: two people who save at the same moment overwrite each other, and nobody is told."""
    etag = asker(studio).get(f"{API}/scenes/first").headers["etag"]
    together = threading.Barrier(8)

    def save(number):
        client = asker(studio)
        together.wait(PATIENCE_S)
        body = {"elements": [{"use": "hero"}], "action": f"hero waves {number}"}
        answer = client.put(f"{API}/scenes/first", json=body, headers={"if-match": etag})
        return answer.status_code, answer.headers.get("etag"), body["action"]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(save, range(8)))
    assert sorted(status for status, _, _ in found) == [200] + 7 * [412]
    ((_, told, action),) = [one for one in found if one[0] == 200]
    now = asker(studio).get(f"{API}/scenes/first")
    assert (now.headers["etag"], now.json()["action"]) == (told, action)


@pytest.mark.parametrize("name", TRAVERSALS)
def test_no_name_leads_out_of_the_folder(client, studio, name):
    """Red: a name in an address reads, writes or deletes a file elsewhere (InvokeAI CVE-2024-11042)."""
    before = sorted(path for path in studio.folder.root.parent.rglob("*"))
    body = {"elements": [{"use": "hero"}]}
    new = {"if-none-match": "*"}
    for method, path, more in (
        ("GET", f"scenes/{name}", {}),
        ("PUT", f"scenes/{name}", {"json": body, "headers": new}),
        ("DELETE", f"scenes/{name}", {}),
        ("GET", f"sheets/{name}/image", {}),
        ("GET", f"takes/{name}/video", {}),
        ("GET", f"elements/{name}/looks/default", {}),
        ("DELETE", f"elements/{name}/looks/{name}", {}),
        ("POST", f"elements/{name}/looks/default/pictures?kind=prop", {"content": b"x"}),
        ("PUT", f"shots/{name}", {"json": {"shots": [{"id": "a", "action": "b"}]}, "headers": new}),
        ("GET", f"shots/act/results/{name}/video", {}),
    ):
        if name == "con" and method in ("PUT", "POST"):
            continue  # a fine name here, and no device
        answer = client.request(method, f"{API}/{path}", **more)
        assert answer.status_code in (404, 405, 422), (method, path, answer.status_code)
    assert sorted(path for path in studio.folder.root.parent.rglob("*")) == before


def test_nothing_outside_the_folder_is_touched(client, sheet, tmp_path):
    """Red: an ordinary day at the API opens files elsewhere for writing, or a connection to somewhere."""
    touched, calling = [], []
    watching = True

    def hook(event, told):
        if not watching:
            return
        if event == "open" and isinstance(told[0], str | os.PathLike) and told[2] & (os.O_WRONLY | os.O_RDWR):
            touched.append(os.fspath(told[0]))
        if event == "socket.connect":
            calling.append(told[1])

    sys.addaudithook(hook)
    client.post(f"{API}/scenes/first/sheet")
    client.post(f"{API}/jobs", json={"sheet": sheet, "action": "hero waves"})
    client.get(f"{API}/elements")
    put_scene(client, "second")
    client.delete(f"{API}/elements/lamp/looks/default")
    watching = False
    allowed = (str(tmp_path), os.environ["CASTSHEET_CACHE"], "/dev/null")
    assert not [path for path in touched if not str(path).startswith(allowed)]
    assert not calling


@pytest.mark.usefixtures("sheet")
def test_texts_are_texts(client):
    """Red: a name or a prompt with markup is taken for markup, or a long one is taken at all."""
    for text in (
        "<img src=x onerror=alert(1)>",
        "\u202egnp.exe",
        "a\nb",
        "{{7*7}}",
        "'; DROP TABLE jobs; --",
    ):
        etag = client.get(f"{API}/scenes/first").headers["etag"]
        body = {"elements": [{"use": "hero"}], "title": text[:300], "action": text}
        answer = client.put(f"{API}/scenes/first", json=body, headers={"if-match": etag})
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json"
        assert answer.json()["action"] == text.strip()
    long = {"elements": [{"use": "hero"}], "action": "x" * 10_000}
    etag = client.get(f"{API}/scenes/first").headers["etag"]
    assert client.put(f"{API}/scenes/first", json=long, headers={"if-match": etag}).status_code == 422


def test_a_page_that_is_cut_off_misses_nothing(studio):
    """Red: after a broken connection the page shows another queue than there is."""
    dice, queue = random.Random(5), studio.queue
    state, last = {}, 0

    async def read(since, count):
        got = []
        async for text in stream(queue, since):
            if text.startswith("id: "):
                got.append(text)
            if len(got) == count or not text.startswith(("id: ", "retry")):
                break
        return got

    for _ in range(200):
        for _ in range(dice.randint(1, 4)):
            waiting = queue.jobs(("queued",))
            if waiting and dice.random() < 0.6:
                queue.cancel(dice.choice(waiting).id)
            else:
                queue.add("take", [("x", {})])
        behind = queue.last_event() - last
        for text in asyncio.run(read(last, dice.randint(1, behind))):
            lines = dict(line.split(": ", 1) for line in text.strip().splitlines())
            last = int(lines["id"])
            if lines["event"] == "job":
                job = json.loads(lines["data"])
                state[job["id"]] = job["state"]
    for text in asyncio.run(read(last, queue.last_event() - last)) if queue.last_event() > last else ():
        lines = dict(line.split(": ", 1) for line in text.strip().splitlines())
        if lines["event"] == "job":
            job = json.loads(lines["data"])
            state[job["id"]] = job["state"]
    assert state == {job.id: job.state for job in queue.jobs(limit=10_000)}
