"""Workers that die, and studios that die: what was asked for is made all the same, and to the same bytes."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from pathlib import Path

import pytest

from castsheet.errors import CastsheetError
from castsheet.loading.options import Loading
from castsheet.machine.files import sha256
from castsheet.studio.bench import Bench
from castsheet.studio.client import Client, Refused
from castsheet.studio.queue import Queue
from castsheet.studio.store import Store
from castsheet.studio.worker import Worker, placed
from tests.studio.conftest import SMALL, opened, stock
from tests.studio.running import PATIENCE_S, Running


def until(told, what):
    """Wait for something, and say what did not come."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if found := told():
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what} did not come")


def _example(folder, place, monkeypatch):
    """The example of docs/studio.md, as it stands there."""
    text = (Path(__file__).parents[2] / "docs" / "studio.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (place / "film").symlink_to(folder)
    (place / "take.mp4").unlink()
    monkeypatch.chdir(place)
    exec(code, {})
    assert (place / "take.mp4").read_bytes()[4:8] == b"ftyp"


def test_a_killed_worker_and_a_killed_studio_lose_nothing(tmp_path, monkeypatch):
    """Red: a crash of the worker, or of the web process, loses a job or changes a clip; or the example of
    the documents does not run.
    """
    for studio in opened(tmp_path):
        sheet, folder = stock(studio), studio.folder.root
    with Running(folder) as running:
        client = Client.open(folder)
        until(lambda: client.get("/system")["model"], "the model")
        body = {"sheet": sheet, "action": "hero waves", "seed": 4, "settings": {**SMALL, "steps": 4}}
        (job,) = client.post("/jobs", {**body, "takes": 1}, key="one")["jobs"]
        until(lambda: client.get(f"/jobs/{job['id']}")["step"] >= 1, "the first step")
        os.kill(running.worker(), signal.SIGKILL)
        again = until(lambda: (one := client.get(f"/jobs/{job['id']}"))["losses"] == 1 and one, "the loss")
        assert "SIGKILL" in again["message"] or again["state"] != "queued"
        until(lambda: client.get(f"/jobs/{job['id']}")["step"] >= 1, "the second try")
        running.kill()
        running.start()
        client = Client.open(folder)
        (same,) = client.post("/jobs", {**body, "takes": 1}, key="one")["jobs"]
        assert same["id"] == job["id"]  # the call was kept over the crash
        (undisturbed,) = client.post("/jobs", body)["jobs"]
        ended = client.wait([job["id"], undisturbed["id"]], PATIENCE_S)
        assert [one["state"] for one in ended] == ["done", "done"], ended
        hashes = {client.get(f"/takes/{one['id']}")["video"]["sha256"] for one in ended}
        assert len(hashes) == 1
        saved = client.save(f"/takes/{job['id']}/video", tmp_path / "take.mp4")
        assert saved.read_bytes()[4:8] == b"ftyp"
        with pytest.raises(Refused) as refused:
            client.post(f"/jobs/{job['id']}/cancel")
        assert refused.value.status == 409
        _example(folder, tmp_path, monkeypatch)
    with pytest.raises(CastsheetError, match="no studio runs"):
        Client.open(folder)


def test_jobs_spread_over_workers(studio, sheet):
    """Red: with several GPUs one worker makes everything, a job is made twice, or a clip depends on who made
    it. The workers are two of the studio's own, on the processor.
    """
    wanted = {"sheet": sheet, "action": "hero waves", "seed": 4, "settings": SMALL}
    studio.queue.add("take", [(f"take {number}", wanted) for number in range(4)])
    owners = {}

    class Watched(Queue):
        def publish(self, job, put):
            ((owner,),) = self.store.rows("SELECT owner FROM jobs WHERE id = ?", job.id)
            owners.setdefault(job.id, []).append(owner)
            return super().publish(job, put)

    stores = [Store(studio.folder.queue) for _ in range(2)]
    workers = []
    for number, store in enumerate(stores):
        queue = Watched(store)
        bench = Bench(studio.folder, queue, "mini", Loading(device="cpu"))
        workers.append(Worker(bench, queue, f"worker-{number}"))
    threads = [threading.Thread(target=worker.run) for worker in workers]
    for thread in threads:
        thread.start()
    until(lambda: len(studio.queue.jobs(("done", "failed"))) == 4, "the takes")
    for worker, thread, store in zip(workers, threads, stores, strict=True):
        worker.ending.set()
        thread.join()
        store.close()
    assert len(studio.queue.jobs(("done",))) == 4
    assert {len(found) for found in owners.values()} == {1}
    assert {owner for (owner,) in owners.values()} == {"worker-0", "worker-1"}
    assert len({sha256(studio.folder.takes / job / "take.mp4") for job in owners}) == 1


@pytest.mark.parametrize(
    ("device", "cards", "places"),
    [
        ("auto", 2, ["cuda:0", "cuda:1", "cuda:0"]),
        ("cuda", 4, ["cuda:0", "cuda:1", "cuda:2"]),
        ("auto", 1, ["auto"] * 3),
        ("cpu", 4, ["cpu"] * 3),
        ("cuda:1", 4, ["cuda:1"] * 3),
    ],
)
def test_each_worker_has_its_own_gpu(device, cards, places):
    """Red: of several GPUs all workers take the first one, or one that the user named is not taken."""
    assert [placed(Loading(device=device), number, cards).device for number in range(3)] == places


def test_a_result_that_is_there_is_not_made_twice(made):
    """Red: a worker killed between the rename and the queue's commit makes its take anew, or loses it."""
    (job,) = made.queue.jobs(("done",))
    with made.queue.store.change() as sql:
        sql.execute("UPDATE jobs SET state = 'queued', ended = NULL, result = NULL WHERE id = ?", (job.id,))
    claimed = made.queue.claim("next")
    Bench(made.folder, made.queue, "no such model", Loading()).work(claimed, lambda: False)
    assert made.queue.job(job.id).state == "done"


def test_a_job_that_cannot_be_made_says_why(studio):
    """Red: an error ends the worker, or the page shows no remedy."""
    request = {"sheet": "0" * 16, "action": "hero waves", "seed": 1, "settings": SMALL}
    studio.queue.add("take", [("a sheet that has gone", request)])
    bench = Bench(studio.folder, studio.queue, "mini", Loading(device="cpu"))
    bench.work(studio.queue.claim("w"), lambda: False)
    (job,) = studio.queue.jobs(("failed",))
    assert job.error["what"]
    assert job.error["remedy"]
    assert Queue(Store(studio.folder.queue)).job(job.id).error == job.error
