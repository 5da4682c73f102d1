"""Pairs, sets, runs, views and first frames: the page's side of what the command line makes."""

from __future__ import annotations

import pytest
from PIL import Image

from castsheet.authoring.missing import missing
from castsheet.jobs.request import Request, run
from castsheet.jobs.watcher import Watcher
from castsheet.loading.options import Loading
from castsheet.machine.files import sha256
from castsheet.sheet.manifest import Sheet
from castsheet.studio.asked import RunChange
from castsheet.studio.bench import Bench
from castsheet.studio.desk import Stopped
from castsheet.train.config import load_config
from castsheet.train.presets import PRESETS
from tests.studio.conftest import DEMO, SMALL, asker, opened, stock
from tests.studio.laid import PAIR, lay_pairs

API = "/api/v1"


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """A studio with a small result of pairs, and the sheet that its pair has."""
    for studio in opened(tmp_path_factory.mktemp("taught")):
        sheet = stock(studio)
        lay_pairs(studio.folder.pairs / "first", Sheet.load(studio.folder.sheet(sheet)))
        yield studio, sheet


def worked(studio):
    """Let a worker's bench do the next job."""
    job = studio.queue.claim("bench")
    Bench(studio.folder, studio.queue, "mini", Loading(device="cpu")).work(job, lambda: False)
    return studio.queue.job(job.id)


def test_pairs_are_told(taught):
    """Red: the page shows no pair with its sheet and clip, no reasons, or a place on the disk."""
    client = asker(taught[0])
    (result,) = client.get(f"{API}/pairs").json()["results"]
    assert result["summary"]["pairs"]["accepted"] == 1
    told = client.get(f"{API}/pairs/first")
    assert str(taught[0].folder.root) not in told.text
    (pair,) = told.json()["pairs"]
    assert (pair["id"], pair["title"], pair["split"]) == (PAIR, "<b>A film</b>", "train")
    (rule,) = told.json()["rejects"]
    assert (rule["rule"], rule["meaning"], rule["count"]) == ("R30", "nothing moves", 2)
    assert [one["unit"] for one in rule["units"]] == ["w7", "w8"]
    base = f"{API}/pairs/first/{PAIR}"
    assert client.get(f"{base}/sheet").headers["content-type"] == "image/png"
    assert client.get(f"{base}/clip", headers={"range": "bytes=0-9"}).status_code == 206
    assert client.get(f"{API}/pairs/first", params={"part": "test"}).json()["count"] == 0
    for wrong in ("ab-0001w1", "..", "%2e%2e"):
        assert client.get(f"{API}/pairs/first/{wrong}/clip").status_code in (404, 422)


def test_pairs_become_a_set_and_a_run_an_adapter(taught):
    """Red: from pairs one does not get to a trained adapter on the page, or to another than by the
    command line's own files.
    """
    studio, sheet = taught
    client = asker(studio)
    assert client.post(f"{API}/sets/one", json={"pairs": "first"}).status_code == 201
    assert client.post(f"{API}/sets/one", json={"pairs": "none"}).status_code == 404
    assert worked(studio).state == "done"
    assert client.get(f"{API}/sets").json()["sets"] == [{"id": "one", "samples": 1}]
    body = {"preset": "mini", "set": "one", "held_out": "one", "steps": 2, "batch": 1, "save_every": 1}
    body |= {"samples": [{"sheet": sheet, "action": "hero waves"}], "sample_every": 0}
    new = {"if-none-match": "*"}
    assert client.put(f"{API}/runs/act", json={**body, "set": "none"}, headers=new).status_code == 404
    assert client.put(f"{API}/runs/act", json={**body, "preset": "none"}, headers=new).status_code == 422
    etag = client.put(f"{API}/runs/act", json=body, headers=new).headers["etag"]
    path = studio.folder.runs / "act.yaml"
    path.write_text(path.read_text() + "objective: {excerpt: 2, reference_frames: 1}\n")  # by hand
    stale = client.put(f"{API}/runs/act", json=body, headers={"if-match": etag})
    assert stale.status_code == 412
    etag = client.get(f"{API}/runs/act").headers["etag"]
    assert client.put(f"{API}/runs/act", json=body, headers={"if-match": etag}).status_code == 200
    config = load_config(path)
    assert (config.steps, config.batch, config.objective.excerpt) == (2, 1, 2)
    assert config.watch.samples[0].sheet.resolve() == studio.folder.sheet(sheet).resolve()
    client.post(f"{API}/runs/act/train")
    job = worked(studio)
    assert (job.state, job.result) == ("done", {"run": "act"}), job.error
    run = client.get(f"{API}/runs/act").json()
    assert (run["step"], run["finished"], run["checkpoints"]) == (2, True, [1, 2])
    assert run["held_out_loss"] > 0
    (drawn,) = {(one["sheet"], one["action"]) for one in run["samples"]}
    assert drawn == (sheet, "hero waves")
    curves = client.get(f"{API}/runs/act/curves").json()
    assert curves["loss"]["step"] == [1, 2]
    assert len(curves["held_out"]["value"]) >= 1
    assert client.get(f"{API}/runs/act/adapter").content
    (path.with_suffix("") / "samples").mkdir()
    Image.new("RGB", (8, 8)).save(path.with_suffix("") / "samples" / "000002_0.png")
    assert client.get(f"{API}/runs/act").json()["pictures"] == [{"step": 2, "number": 0}]
    assert client.get(f"{API}/runs/act/samples/2/0/image").headers["content-type"] == "image/png"
    assert client.get(f"{API}/runs/act/samples/3/0/image").status_code == 404
    _shot_with_it(studio, client, sheet)
    _stopped(studio, client, body)


def _shot_with_it(studio, client, sheet):
    """Takes with and without the run's adapter, by one warm worker; then the run is trained anew."""
    body = {"sheet": sheet, "action": "hero waves", "seed": 3, "settings": SMALL}
    refused = client.post(f"{API}/jobs", json={**body, "adapter": "none"})
    assert refused.status_code == 404, refused.json()
    adapter = studio.folder.adapter("act")
    bench = Bench(studio.folder, studio.queue, "mini", Loading(device="cpu"))
    takes = []
    for more in ({}, {"adapter": "act"}, {}):
        client.post(f"{API}/jobs", json={**body, **more})
        job = studio.queue.claim("bench")
        bench.work(job, lambda: False)
        assert studio.queue.job(job.id).state == "done", studio.queue.job(job.id).error
        takes.append((job.id, client.get(f"{API}/takes/{job.id}").json()["video"]["sha256"]))
    assert takes[0][1] == takes[2][1] != takes[1][1]
    told = client.get(f"{API}/takes/{takes[1][0]}/sidecar").json()["provenance"]["model"]
    assert told["used_as_trained"] == adapter.name
    assert sha256(adapter) in {one["sha256"] for one in told["adapters"]}
    out = studio.folder.root / "by-hand.mp4"
    request = Request(
        source=studio.folder.sheet(sheet), out=out, action="hero waves", seed=3, settings=SMALL, force=True
    )
    files = run(request.model_copy(update={"trained": (adapter, None)}), Watcher())
    assert sha256(files["clip"]) == takes[1][1]
    rows = {"shots": [{"id": "one", "action": "hero waves", "seed": 3}]}
    client.put(f"{API}/shots/taught", json=rows, headers={"if-none-match": "*"})
    client.post(f"{API}/shots/taught/make", json={"sheet": sheet, "adapter": "act"})
    waits = studio.queue.claim("bench")
    assert waits.request["adapter_sha256"] == sha256(adapter)
    adapter.write_bytes(adapter.read_bytes() + b" ")
    bench.work(waits, lambda: False)
    failed = studio.queue.job(waits.id)
    assert failed.state == "failed"
    assert "with changes" in failed.error["remedy"]


def _stopped(studio, client, body):
    """A run that is cancelled writes a checkpoint first."""
    client.put(
        f"{API}/runs/long", json={**body, "steps": 500, "save_every": 500}, headers={"if-none-match": "*"}
    )
    client.post(f"{API}/runs/long/train")
    job = studio.queue.claim("bench")
    bench = Bench(studio.folder, studio.queue, "mini", Loading(device="cpu"))
    path = studio.folder.runs / "long.yaml"
    path.write_text(path.read_text() + "objective: {excerpt: 2, reference_frames: 1}\n")
    with pytest.raises(Stopped):
        bench.work(job, lambda: (path.with_suffix("") / "log.jsonl").is_file())
    assert client.get(f"{API}/runs/long").json()["checkpoints"]
    assert studio.queue.stopped(job).state == "queued"
    studio.queue.cancel(job.id)


def test_presets_of_runs_are_those_of_training():
    """Red: the page offers a preset that training does not know, or lacks one."""
    schema = RunChange.model_json_schema()["properties"]["preset"]["enum"]
    assert set(schema) == set(PRESETS)


def test_missing_views_are_made(studio):
    """Red: the page cannot let the model make what a look lacks, or takes such a picture for a photo."""
    client = asker(studio)
    base = f"{API}/elements/hero/looks/default"
    content = (DEMO / "hero-front.png").read_bytes()
    assert client.post(f"{base}/fill", json={}).status_code == 404
    client.post(f"{base}/pictures", params={"view": "front"}, content=content)
    lacks = client.get(base).json()["missing"]
    assert lacks == list(missing(studio.library.load("hero").element))
    asked = {"views": ["back"], "settings": {"steps": 1}}
    assert client.post(f"{base}/fill", json=asked).status_code == 201
    assert client.post(f"{base}/fill", json={"settings": {"steps": 0}}).status_code == 422
    job = worked(studio)
    assert (job.state, job.result) == ("done", {"element": "hero", "look": "default"}), job.error
    made = next(one for one in client.get(base).json()["pictures"] if one["view"] == "back")
    assert made["unsure"]
    assert "look at it" in made["reason"]
    with studio.queue.store.change() as sql:  # its worker was killed before the queue heard of it
        sql.execute("UPDATE jobs SET state = 'queued', ended = NULL WHERE id = ?", (job.id,))
    assert worked(studio).state == "done"
    assert len(client.get(base).json()["pictures"]) == 2


def test_a_first_frame(taught):
    """Red: a clip does not start with the picture that was given, or goes on from another frame."""
    studio, sheet = taught
    client = asker(studio)
    picture = (DEMO / "place.png").read_bytes()
    frame = client.post(f"{API}/frames", content=picture).json()["id"]
    assert client.get(f"{API}/frames").json()["frames"] == [frame]
    assert client.get(f"{API}/frames/{frame}/image").headers["content-type"] == "image/png"
    assert client.post(f"{API}/frames", content=b"no picture").status_code == 422
    body = {"sheet": sheet, "action": "hero waves", "settings": SMALL, "first_frame": frame}
    assert client.post(f"{API}/jobs", json={**body, "first_frame": "0" * 16}).status_code == 404
    client.post(f"{API}/jobs", json=body)
    job = worked(studio)
    assert job.state == "done", job.error
    told = client.get(f"{API}/takes/{job.id}/sidecar").json()
    assert told["provenance"]["first_frame"]
    last = client.post(f"{API}/takes/{job.id}/frames", json={}).json()["id"]
    assert last != frame
    assert client.post(f"{API}/takes/{job.id}/frames", json={"frame": 99}).status_code == 404
