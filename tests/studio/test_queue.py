"""The queue: whatever happens in whatever order, no job is lost and none is published twice."""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path

import pytest

from castsheet.studio.job import Lost
from castsheet.studio.moves import ENDED, LEASED, MOVES
from castsheet.studio.problems import Conflict
from castsheet.studio.queue import KEPT_EVENTS, LEASE_S, LOSSES_MAX, Queue
from castsheet.studio.store import Store


class Clock:
    def __init__(self):
        self.now = 1_000_000.0

    def __call__(self):
        return self.now


def fresh():
    clock = Clock()
    return Queue(Store(Path(":memory:")), clock), clock


def ask(queue, count=1):
    return queue.add("take", [(f"take {n}", {"n": n}) for n in range(count)])


class World:
    """Three workers, of which some sleep through their leases, and a model of what must hold."""

    def __init__(self, seed):
        self.queue, self.clock = fresh()
        self.dice = random.Random(seed)
        self.known, self.published, self.claims = set(), {}, []

    def step(self):
        self.clock.now += self.dice.random()
        moves = (self.ask, self.claim, self.claim, self.claim, self.tell, self.publish, self.fail, self.stop)
        more = (self.cancel, self.retry, self.lose, self.sleep, self.place, self.hold, self.pending)
        with suppress(Lost, Conflict):
            self.dice.choice((*moves, *more))()
        # A claim, once over, stays over: old claims are tried for ever, as a worker that wakes late does.
        self.claims = self.claims[-60:]

    def ask(self):
        if len(self.known) < 400:
            self.known |= {job.id for job in ask(self.queue, self.dice.randint(1, 3))}

    def claim(self):
        job = self.queue.claim(f"w{self.dice.randint(0, 2)}")
        if job is not None:
            self.claims.append(job)

    def some(self):
        return self.dice.choice(self.claims) if self.claims else None

    def any(self):
        return self.dice.choice(sorted(self.known)) if self.known else None

    def tell(self):
        if job := self.some():
            self.queue.tell(job, 1, 10, "sampling")

    def publish(self):
        if job := self.some():

            def put():
                self.published.setdefault(job.id, []).append(job.attempt)
                return {"take": job.id}

            self.queue.publish(job, put)

    def fail(self):
        if job := self.some():
            self.queue.fail(job, "no", "yes")

    def stop(self):
        if job := self.some():
            self.queue.stopped(job)

    def cancel(self):
        if job := self.any():
            self.queue.cancel(job)

    def retry(self):
        if job := self.any():
            self.queue.retry(job)

    def lose(self):
        self.queue.lost(f"w{self.dice.randint(0, 2)}", "it was killed")

    def sleep(self):
        if self.dice.random() < 0.2:
            self.clock.now += LEASE_S + 1
        self.queue.expire()

    def place(self):
        if job := self.any():
            self.queue.place(job, self.dice.randint(0, 5))

    def hold(self):
        self.queue.pause(self.dice.random() < 0.3)

    def pending(self):
        if self.dice.random() < 0.05:
            self.queue.cancel_pending()

    def check(self):
        jobs = {job.id: job for job in self.queue.jobs()}
        assert set(jobs) == self.known
        done = {name for name, job in jobs.items() if job.state == "done"}
        assert done == set(self.published)
        assert all(len(times) == 1 for times in self.published.values())
        assert all((job.ended is not None) == (job.state in ENDED) for job in jobs.values())
        assert all(job.losses < LOSSES_MAX or job.state == "quarantined" for job in jobs.values())
        assert all(job.error is not None for job in jobs.values() if job.state == "quarantined")


def test_ten_thousand_steps():
    """Red: some order of claims, losses, cancels and late workers loses a job or publishes one twice."""
    ended = set()
    for seed in range(10):
        world = World(seed)
        for number in range(1000):
            world.step()
            if number % 50 == 0:
                world.check()
        world.check()
        ended |= {job.state for job in world.queue.jobs()}
    assert ended >= set(ENDED)  # the walk has been everywhere


def test_a_late_worker_publishes_nothing():
    """Red: a worker that slept through its lease writes over its successor's result."""
    queue, clock = fresh()
    ask(queue)
    late = queue.claim("late")
    clock.now += LEASE_S + 1
    assert [job.state for job in queue.expire()] == ["queued"]
    successor = queue.claim("successor")
    assert successor.id == late.id
    with pytest.raises(Lost):
        queue.publish(late, lambda: pytest.fail("it was published"))
    assert queue.publish(successor, lambda: {"take": late.id}).state == "done"


def test_a_job_that_kills_its_workers_is_set_aside_and_named():
    """Red: one poisonous job kills every worker for ever, or nobody learns which job it was."""
    queue, _ = fresh()
    bad, good = ask(queue, 2)
    for _ in range(LOSSES_MAX):
        assert queue.claim("w").id == bad.id
        queue.lost("w", "its worker was ended by SIGKILL")
    aside = queue.job(bad.id)
    assert aside.state == "quarantined"
    assert aside.label in aside.error["what"]
    assert "SIGKILL" in aside.error["what"]
    assert queue.claim("w").id == good.id
    assert queue.retry(bad.id).losses == 0


def test_cancelling_what_waits_leaves_what_runs():
    """Red: cancelling the rest of the queue stops the clip that is nearly done (InvokeAI#5566)."""
    queue, _ = fresh()
    ask(queue, 3)
    running = queue.claim("w")
    assert queue.cancel_pending() == 2
    assert queue.tell(running, 1, 2, "") is False
    assert queue.publish(running, dict).state == "done"


def test_the_same_call_adds_once():
    """Red: a page that repeats a request after a lost answer pays for the clips twice."""
    queue, _ = fresh()
    first = queue.add("take", [("a", {"n": 1})], key="k")
    assert queue.add("take", [("a", {"n": 1})], key="k")[0].id == first[0].id
    assert len(queue.jobs()) == 1
    with pytest.raises(Conflict):
        queue.add("take", [("a", {"n": 2})], key="k")


def test_order_and_places():
    """Red: jobs run in another order than the page shows."""
    queue, _ = fresh()
    a, b, c = ask(queue, 3)
    queue.place(c.id, 0)
    assert [job.id for job in queue.jobs(("queued",))] == [c.id, a.id, b.id]
    assert queue.claim("w").id == c.id
    queue.pause(True)
    assert queue.claim("w") is None
    queue.pause(False)
    assert queue.claim("w").id == a.id


def test_moves_are_a_closed_table():
    """Red: a state has no way out that the page offers, or a leased job cannot be given back."""
    assert MOVES["done"] == frozenset()
    assert all("queued" in MOVES[state] for state in ENDED if state != "done")
    assert all(MOVES[state] & set(ENDED) for state in LEASED)


def test_a_stream_that_was_away_too_long_is_told():
    """Red: a page that slept through many events believes that it knows the queue."""
    queue, _ = fresh()
    ask(queue, KEPT_EVENTS + 600)
    assert queue.events(0) is None
    last = queue.last_event()
    assert queue.events(last) == []
    assert queue.events(last + 5) is None  # the queue's file was replaced
    assert [number for number, _, _ in queue.events(last - 2)] == [last - 1, last]


def test_the_file_survives(tmp_path):
    """Red: a restart forgets the queue, or forgets that it is held."""
    first = Queue(Store(tmp_path / "q.sqlite"))
    ask(first, 2)
    first.pause(True)
    running_before = first.store
    running_before.close()
    again = Queue(Store(tmp_path / "q.sqlite"))
    assert [job.label for job in again.jobs()] == ["take 0", "take 1"]
    assert again.paused
